/** Predict: what a fine-tuned model says of a text, why, and where it was wrong on held-out ones. */
import { html } from "./vendor/preact-htm.js";
import { HeldOut } from "./heldout.js";
import { t } from "./messages.js";
import * as question from "./question.js";
import { modelOf } from "./session.js";
import { useStore } from "./store.js";
import { Editor, shade } from "./textview.js";
import { BarRow, fixed, percent, points, Rows, signed, Trouble } from "./ui.js";

const STRONGEST = 0.5; // change of a probability by one word where the shade is darkest

export function Predict() {
  const model = useStore(modelOf);
  const row = useStore((state) => state.row);
  return html`<div class="desk">
    <section class="sheet" aria-label=${t("yourText")}>
      ${model.columns.map((column) => html`<${Field} key=${column} column=${column} value=${row[column] ?? ""} />`)}
      <${Written} />
      ${model.held_out && html`<${HeldOut} model=${model} />`}
    </section>
    <aside class="panel" aria-label=${t("prediction")}><${Prediction} /></aside>
  </div>`;
}

/** A text of the record, with what the prediction says of its parts. */
function Field({ column, value }) {
  const model = useStore(modelOf);
  const answer = useStore((state) => state.answer);
  const tokens = question.partsOf(value, question.marksOf(answer, model.task, column));
  return html`<div class="field">
    <h2>${model.columns.length > 1 ? column : t("yourText")}</h2>
    <div class="textfield">
      <${Editor}
        tokens=${tokens}
        text=${value}
        selected=${null}
        classOf=${(cell) => classOf(cell.token.mark)}
        label=${column}
        placeholder=${t("placeholderPredict")}
        onInput=${(text) => question.change(column, text)}
        onSelect=${() => {}}
      />
    </div>
  </div>`;
}

function classOf(mark) {
  if (!mark) return "";
  if (mark.effect !== undefined) {
    const side = mark.effect < 0 ? " against" : "";
    return `s${shade(Math.sqrt(Math.abs(mark.effect) / STRONGEST))}${side}`;
  }
  return mark.label === undefined ? "found" : `entity line-${mark.colour}`;
}

function Prediction() {
  const answer = useStore((state) => state.answer);
  const error = useStore((state) => state.error);
  if (error) return html`<${Trouble} error=${error} />`;
  if (!answer) return html`<p class="quiet">${t("predictionEmpty")}</p>`;
  const { prediction } = answer;
  if (prediction.error) return html`<${Trouble} error=${{ message: prediction.error }} />`;
  if (prediction.probabilities) return html`<${Classes} answer=${answer} />`;
  if (prediction.amount !== undefined)
    return html`<p class="verdict">${fixed(prediction.amount, 3)}</p><${Why} answer=${answer} />`;
  if (prediction.entities) return html`<${Entities} prediction=${prediction} />`;
  return html`<${Answers} prediction=${prediction} />`;
}

/** The labels with their probabilities; choosing one asks for the words that speak for it. */
function Classes({ answer }) {
  const { prediction, words } = answer;
  const chosen = prediction.labels ?? [prediction.label];
  const rows = Object.entries(prediction.probabilities).sort((a, b) => b[1] - a[1]);
  return html`<p class="verdict">${chosen.join(", ") || t("noLabel")}</p>
    <${Rows} label=${t("labels")}>
      ${rows.map(
        ([label, probability]) =>
          html`<${BarRow}
            key=${label}
            label=${html`<span class="token">${label}</span>`}
            share=${probability}
            value=${percent(probability)}
            active=${words?.of === label}
            aria-pressed=${String(words?.of === label)}
            onClick=${() => question.explain(label)}
          />`,
      )}
    <//>
    <${Why} answer=${answer} />`;
}

/** The words that made the difference: without each, how the probability or the amount changes. */
function Why({ answer: { prediction, words } }) {
  if (!words) return null;
  const isAmount = prediction.amount !== undefined;
  const strongest = [...words.words]
    .sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect))
    .slice(0, 8)
    .filter(({ effect }) => Math.abs(effect) >= 0.001);
  const most = Math.max(...strongest.map(({ effect }) => Math.abs(effect)), 1e-9);
  return html`<section>
    <h2>${t("why", { label: words.of })}</h2>
    <${Rows} label=${t("why", { label: words.of })}>
      ${strongest.map(
        (word) =>
          html`<${BarRow}
            key=${word.start}
            label=${html`<span class="token">${word.text}</span>`}
            share=${Math.abs(word.effect) / most}
            against=${word.effect < 0}
            value=${isAmount ? signed(word.effect, fixed(Math.abs(word.effect), 3)) : points(word.effect)}
          />`,
      )}
    <//>
    <p class="quiet">${t(isAmount ? "whyAmountNote" : "whyNote")}</p>
  </section>`;
}

function Entities({ prediction }) {
  const colours = question.coloursOf(prediction.entities);
  if (!prediction.entities.length) return html`<p class="verdict">${t("noEntities")}</p>`;
  return html`<${Rows} label=${t("entities")}>
    ${prediction.entities.map(
      (entity) =>
        html`<${BarRow}
          key=${entity.start}
          label=${html`<span class=${`token entity line-${colours[entity.label]}`}>${entity.text}</span>`}
          share=${entity.probability}
          value=${percent(entity.probability)}
          note=${entity.label}
        />`,
    )}
  <//>`;
}

function Answers({ prediction }) {
  const others = prediction.others ?? [];
  const all = prediction.probability === undefined ? [] : [prediction, ...others];
  return html`<p class="verdict">${prediction.answer || t("noAnswer")}</p>
    ${all.length > 0 &&
    html`<${Rows} label=${t("answers")}>
      ${all.map(
        (answer, number) =>
          html`<${BarRow}
            key=${number}
            label=${html`<span class="token">${answer.answer || t("noAnswer")}</span>`}
            share=${answer.probability}
            value=${percent(answer.probability)}
          />`,
      )}
    <//>`}`;
}

/** For models that write their answer: the button that asks them to. */
function Written() {
  const model = useStore(modelOf);
  const busy = useStore((state) => state.waiting > 0);
  if (!question.isWritten(model)) return null;
  return html`<div class="actions">
    <button type="button" class="primary" disabled=${busy} onClick=${question.ask}>${t("answer")}</button>
  </div>`;
}
