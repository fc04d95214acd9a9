/** The text with the panel beside it: what Write, Read and Fill have in common. */
import { html } from "./vendor/preact-htm.js";
import { isCode } from "./code.js";
import { Layers, weightsOf } from "./layers.js";
import { t } from "./messages.js";
import { Odds, Place } from "./odds.js";
import { contextOf, openPanel, select, selectedOf, sightOf, tokensOf, type } from "./session.js";
import { passagesOf, Source } from "./source.js";
import { get, useStore } from "./store.js";
import { Editor, shade, surpriseShade } from "./textview.js";
import { textOf } from "./tokens.js";
import { Choice, count, Trouble } from "./ui.js";

const PANELS = { odds: Odds, layers: Layers, source: Source };

/** Return how a cell of the text looks: shaded by what the open panel is about. */
export function shading(state, tokens) {
  if (state.panel === "layers") return byAttention(weightsOf(state) ?? []);
  if (state.panel === "source") return byPassage(passagesOf(state), tokens);
  return (cell) => `s${surpriseShade(cell.bits)}`;
}

function byAttention(weights) {
  const highest = Math.max(...weights, 1e-9);
  return (cell) => {
    let weight = 0;
    for (let number = cell.first; number <= cell.last; number += 1) weight += weights[number] ?? 0;
    return `s${shade((weight / highest) ** 0.7)}`;
  };
}

function byPassage(passages, tokens) {
  const places = [0];
  for (const token of tokens) places.push(places.at(-1) + token.text.length);
  return (cell) => {
    const start = places[cell.first];
    return passages.some((passage) => passage.start <= start && start < passage.end) ? "found" : "";
  };
}

/** The text itself. */
export function TextField({ placeholder, boundaries = false, classOf }) {
  const tokens = useStore(tokensOf);
  const caret = useStore((state) => state.caret);
  const selected = useStore(selectedOf);
  const writing = useStore((state) => Boolean(state.writing));
  for (const name of ["panel", "attention", "head", "source"]) useStore((state) => state[name]);
  const sight = useStore(sightOf);
  const looks = classOf ?? shading(get(), tokens);
  const begin = tokens.findIndex(({ text }, number) => number >= sight && text);
  const seen = (cell) =>
    `${looks(cell)}${cell.last < begin ? " beyond" : sight && cell.last === begin ? " sight" : ""}`;
  const writers = new Set(tokens.filter(({ text }) => text).map(({ mine }) => mine));
  const text = textOf(tokens);
  const kinds = ["textfield", isCode(text) && "code", boundaries && "boundaries", writers.size > 1 && "mixed"];
  return html`<div class=${kinds.filter(Boolean).join(" ")}>
    <${Editor}
      tokens=${tokens}
      text=${text}
      caret=${caret}
      selected=${selected}
      classOf=${sight > 0 ? seen : looks}
      label=${t("yourText")}
      placeholder=${placeholder}
      readOnly=${writing}
      onInput=${type}
      onSelect=${select}
    />
  </div>`;
}

/** Say where the text is longer than what the model sees at once. */
export function Sight() {
  const sight = useStore(sightOf);
  const context = useStore(contextOf);
  return html`<p class="kept quiet" role="status">${sight > 0 && t("sight", { n: count(context) })}</p>`;
}

/** Everything about the selected place. */
export function Panel({ onTake }) {
  const panel = useStore((state) => state.panel);
  const error = useStore((state) => state.error);
  const options = Object.keys(PANELS).map((name) => [name, t(name)]);
  return html`<aside class="panel" aria-label=${t("panel")}>
    <${Choice} label=${t("panel")} options=${options} value=${panel} onChange=${openPanel} />
    <${Trouble} error=${error} />
    ${panel !== "source" && html`<${Place} />`}
    <${PANELS[panel]} onTake=${onTake} />
  </aside>`;
}
