/** Runs: a run as it trains, or the runs of a folder side by side. */
import { html } from "./vendor/preact-htm.js";
import { Drawn } from "./drawn.js";
import { useFollowing } from "./follow.js";
import { useModel } from "./keeping.js";
import { t } from "./messages.js";
import {
  between,
  duration,
  figureName,
  figureText,
  isOver,
  large,
  settingText,
  Status,
  Table,
  toGo,
  words,
} from "./runtable.js";
import { set, useStore } from "./store.js";
import { count, Trouble } from "./ui.js";

export function Runs() {
  useFollowing();
  const table = useStore((state) => state.table);
  const error = useStore((state) => state.runsError);
  if (!table) return html`<${Trouble} error=${error} />`;
  return html`<div class="runs">
    <${Trouble} error=${error} />
    ${table.single && table.runs.length === 1
      ? html`<${RunFacts} run=${table.runs[0]} />`
      : html`<${Table} table=${table} />`}
    <${Drawn} />
    <${Pair} table=${table} />
    <${Samples} />
  </div>`;
}

/** A run alone: how far it is, and how good. */
function RunFacts({ run }) {
  const figures = Object.entries(run.figures).slice(0, 4);
  return html`<section aria-label=${run.name}>
    <p class="lead">
      <${Status} run=${run} />
      ${t(toGo(run) ? "progress" : "stepsTaken", {
        step: count(run.step),
        steps: count(toGo(run)),
        time: duration(run.seconds),
        parameters: run.parameters ? large(run.parameters) : "–",
      })}
      ${run.best_step !== null &&
      html` ${t(isOver(run) ? "best" : "bestSoFar", { step: count(run.best_step) })}`}
    </p>
    <dl class="figures">
      ${figures.map(
        ([name, figure]) =>
          html`<div key=${name}>
            <dt>${figureName(name)}</dt>
            <dd>${figureText(figure)} <small>${between(figure)}</small></dd>
          </div>`,
      )}
    </dl>
  </section>`;
}

/** Two chosen runs: what was set otherwise, and the way to read with both. */
function Pair({ table }) {
  const chosen = useStore((state) => state.chosen);
  const models = useStore((state) => state.models);
  const pair = table.runs.filter((run) => chosen.includes(run.name));
  if (pair.length !== 2) return null;
  pair.sort((a, b) => chosen.indexOf(a.name) - chosen.indexOf(b.name));
  const names = [...new Set(pair.flatMap((run) => Object.keys(run.settings)))].filter(
    (name) => settingText(name, pair[0]) !== settingText(name, pair[1]),
  );
  const both = pair.every((run) => models.some(({ name, task }) => name === run.name && !task));
  const read = () => {
    set({ other: pair[1].name });
    useModel(pair[0].name);
    location.hash = "read";
  };
  return html`<section class="pair">
    <div class="bar-of-choices">
      <h2>${t("differ")}</h2>
      <span class="spring"></span>
      ${both && html`<button type="button" class="primary" onClick=${read}>${t("readBoth")}</button>`}
    </div>
    <table>
      <thead>
        <tr>
          <th scope="col"><span class="unseen">${t("setting")}</span></th>
          ${pair.map((run) => html`<th scope="col" key=${run.name}>${run.name}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${names.map(
          (name) => html`<tr key=${name}>
            <th scope="row">${words(name)}</th>
            ${pair.map((run) => html`<td key=${run.name}>${settingText(name, run)}</td>`)}
          </tr>`,
        )}
      </tbody>
    </table>
  </section>`;
}

/** What the first chosen run wrote as it learned, the newest first. */
function Samples() {
  const name = useStore((state) => state.chosen[0]);
  const records = useStore((state) => state.followed[name]?.records);
  const samples = (records ?? []).filter((record) => record.kind === "sample").reverse();
  if (!samples.length) return null;
  return html`<section class="samples">
    <h2>${t("samples", { run: name })}</h2>
    ${samples.slice(0, 12).map(
      (sample) =>
        html`<figure key=${sample.step}>
          <figcaption>${t("step", { step: count(sample.step) })}</figcaption>
          <blockquote><b>${sample.prompt}</b>${sample.text}</blockquote>
        </figure>`,
    )}
  </section>`;
}
