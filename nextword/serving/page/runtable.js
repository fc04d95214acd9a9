/** The table of runs: what each is, how good, and in what it differs from the others. */
import { html } from "./vendor/preact-htm.js";
import { t } from "./messages.js";
import { set, useStore } from "./store.js";
import { count, fixed } from "./ui.js";

const MOST_SETTINGS = 6; // columns of the table
const MOST_CHOSEN = 6;
const MAIN = ["bits_per_byte", "accuracy", "macro F1", "F1", "chrF", "ROUGE-L", "loss"];

/** Return the name of the figure by which runs are told apart at a glance. */
const mainOf = (run) =>
  MAIN.find((name) => name in run.figures) ?? Object.keys(run.figures)[0] ?? null;

export const figureText = ({ value }) => (Math.abs(value) >= 100 ? fixed(value, 1) : fixed(value, 3));
export const between = ({ interval }) => (interval ? interval.map((end) => fixed(end, 3)).join(" – ") : "");
const FIGURES = { bits_per_byte: "figure.bits", perplexity: "figure.perplexity", loss: "loss" };

/** Return what a figure is called; those of tasks have names of their own. */
export const figureName = (name) => (FIGURES[name] ? t(FIGURES[name]) : words(name));
export const words = (name) => name.replaceAll("_", " ");

export function duration(seconds) {
  if (!seconds) return "–";
  if (seconds < 90) return t("seconds", { n: Math.round(seconds) });
  if (seconds < 5400) return t("minutes", { n: Math.round(seconds / 60) });
  return t("hours", { n: fixed(seconds / 3600, 1) });
}

export const large = (number) =>
  number >= 1e9 ? `${fixed(number / 1e9, 1)} G` : number >= 1e6 ? `${fixed(number / 1e6, 1)} M` : count(number);

export const isOver = (run) => run.status.startsWith("finished");

/** How many steps a run is to have, 0 where that is not known: what was planned at first is a guess
 * where time is what is given, and one that is over has the steps that it has. */
export const toGo = (run) =>
  isOver(run) || run.settings.budget || !(run.planned_steps >= run.step) ? 0 : run.planned_steps;

export function Status({ run }) {
  const kind = run.status.split(":")[0];
  const share = toGo(run) ? ` ${Math.floor((run.step / toGo(run)) * 100)} %` : "";
  return html`<span class=${`status ${kind}`} title=${run.error ?? run.status}
    >${t(`status.${kind}`)}${kind === "running" ? share : ""}</span
  >`;
}

export function Table({ table }) {
  const chosen = useStore((state) => state.chosen);
  const settings = table.differing.slice(0, MOST_SETTINGS);
  const scales = scalesOf(table.runs);
  const toggle = (name) =>
    set({
      chosen: chosen.includes(name)
        ? chosen.filter((other) => other !== name)
        : [...chosen, name].slice(-MOST_CHOSEN),
    });
  return html`<div class="wide" tabindex="0" role="region" aria-label=${t("runs")}>
    <table>
      <caption class="unseen">${t("runsCaption")}</caption>
      <thead>
        <tr>
          <th scope="col"><span class="unseen">${t("shown")}</span></th>
          <th scope="col">${t("run")}</th>
          <th scope="col">${t("status")}</th>
          <th scope="col" colspan="3">${t("bestFigure")}</th>
          <th scope="col" class="number">${t("parameters")}</th>
          <th scope="col" class="number">${t("steps")}</th>
          <th scope="col" class="number">${t("time")}</th>
          ${settings.map((name) => html`<th scope="col" key=${name}>${words(name)}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${table.runs.map((run) => {
          const main = mainOf(run);
          const place = chosen.indexOf(run.name);
          return html`<tr key=${run.name} class=${place < 0 ? "" : "chosen"}>
            <td>
              <input
                type="checkbox"
                class=${place < 0 ? "" : `line-${place}`}
                aria-label=${t("showRun", { run: run.name })}
                checked=${place >= 0}
                onChange=${() => toggle(run.name)}
              />
            </td>
            <th scope="row">${run.name}</th>
            <td><${Status} run=${run} /></td>
            <td class="soft">${main ? figureName(main) : ""}</td>
            <td class="number">${main ? figureText(run.figures[main]) : "–"}</td>
            <td>${main && html`<${Whisker} figure=${run.figures[main]} scale=${scales[main]} />`}</td>
            <td class="number">${run.parameters ? large(run.parameters) : "–"}</td>
            <td class="number">${count(run.step ?? 0)}</td>
            <td class="number">${duration(run.seconds)}</td>
            ${settings.map((name) => html`<td key=${name}>${settingText(name, run)}</td>`)}
          </tr>`;
        })}
      </tbody>
    </table>
  </div>`;
}

export function settingText(name, { settings }) {
  const value = settings[name];
  if (value === undefined || value === null) return "–";
  if (name === "budget") return duration(value);
  if (typeof value === "number") return String(Number(value.toPrecision(4)));
  if (typeof value === "object") return JSON.stringify(value).replace(/^\[\]$/, "–");
  return String(value).replace(/^.*\/(?=[^/])/, ""); // of a path, its end
}

/** Return for each main figure the ends of the scale that all its intervals fit in. */
function scalesOf(runs) {
  const scales = {};
  for (const run of runs) {
    const main = mainOf(run);
    if (!main) continue;
    const { value, interval } = run.figures[main];
    const ends = [value, ...(interval ?? [])];
    const [low, high] = scales[main] ?? [Infinity, -Infinity];
    scales[main] = [Math.min(low, ...ends), Math.max(high, ...ends)];
  }
  return scales;
}

/** A figure as a dot, its interval as a line through it. */
function Whisker({ figure, scale: [low, high] }) {
  const place = (value) => `${high > low ? ((value - low) / (high - low)) * 100 : 50}%`;
  const [from, to] = figure.interval ?? [figure.value, figure.value];
  return html`<span class="whisker" title=${between(figure)}>
    <span class="unseen">${between(figure)}</span>
    <span class="reach" style=${{ left: place(from), right: `calc(100% - ${place(to)})` }}></span>
    <span class="dot" style=${{ left: place(figure.value) }}></span>
  </span>`;
}
