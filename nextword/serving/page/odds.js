/** The odds of what comes at the selected place, and the settings that change them. */
import { html } from "./vendor/preact-htm.js";
import { t } from "./messages.js";
import { isEncoder, modelOf, selectedOf, setSampling, tokensOf, type } from "./session.js";
import { get, useStore } from "./store.js";
import { textOf } from "./tokens.js";
import { BarRow, count, fixed, percent, Rows, Slider, TokenText } from "./ui.js";
import { take } from "./writing.js";

const SCALES = [0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1]; // ends of the bars' scale
const CONTEXT = 36; // characters of the text before the place that are shown

/** The odds; `onTake` goes on with a candidate. */
export function Odds({ onTake = take }) {
  const odds = useStore((state) => state.odds);
  const encoder = useStore(isEncoder);
  const view = useStore((state) => state.view);
  const opening = useStore((state) => !textOf(tokensOf(state)) && modelOf(state)?.opening);
  if (opening && view === "write") return html`<${Try} words=${opening} />`;
  if (!odds) return html`<p class="quiet">${t("oddsEmpty")}</p>`;
  const { candidates, actual, entropy_before: before, entropy_after: after } = odds;
  const highest = Math.max(...candidates.map(({ before, after }) => Math.max(before, after)));
  const scale = SCALES.find((end) => end >= highest) ?? 1;
  const differs = candidates.some(({ before, after }) => Math.abs(before - after) > 2e-6);
  const shown = candidates.some(({ id }) => id === actual?.id);
  const isOpen = encoder || odds.kept > 1;
  const said = [
    !encoder &&
      t(odds.kept < odds.vocab_size ? "oddsKept" : "oddsAll", {
        kept: count(odds.kept),
        all: count(odds.vocab_size),
      }),
    isOpen && t("oddsOpen", { n: choices(encoder ? before : after) }),
    isOpen && !encoder && differs && t("oddsOwn", { n: choices(before) }),
  ];
  const row = (candidate) =>
    html`<${BarRow}
      key=${candidate.id}
      label=${html`<${TokenText} token=${candidate} />`}
      share=${candidate.after / scale}
      tick=${differs ? candidate.before / scale : undefined}
      value=${percent(candidate.after)}
      active=${candidate.id === actual?.id}
      dim=${candidate.after === 0}
      onClick=${() => onTake(candidate)}
      title=${t("takeHint", { before: percent(candidate.before), rank: count(candidate.rank) })}
    />`;
  return html`<div class="odds">
    <${Rows} label=${t("oddsLabel")}>
      ${candidates.map(row)} ${actual && !shown && html`<li class="gap" aria-hidden="true">⋮</li>`}
      ${actual && !shown && row(actual)}
    <//>
    <p class="quiet">
      ${said.filter(Boolean).join(get().language === "zh" ? "" : " ")}
    </p>
    ${!encoder && html`<${Sampling} />`}
  </div>`;
}

/** Return among how many equally likely tokens a choice would be as open: entropy, in plain words. */
const choices = (bits) => (bits < 3.3 ? fixed(2 ** bits, 1) : count(2 ** bits));

/** What there is to try before anything is written: a model that has learned from long texts has
 * hardly seen one begin, and its odds there mean little. */
function Try({ words }) {
  const begin = () => {
    type(words, words.length);
    document.querySelector(".editor textarea").focus();
  };
  return html`<div class="odds">
    <p class="quiet">${t("tryNote")}</p>
    <p><button type="button" class="try" onClick=${begin}>${words}</button></p>
    <${Sampling} />
  </div>`;
}

/** The place in words: the end of what comes before it. */
export function Place() {
  const tokens = useStore(tokensOf);
  const selected = useStore(selectedOf);
  const before = tokens.slice(Math.max(0, selected - 24), selected).map(({ text }) => text).join("");
  const tail = before.slice(-CONTEXT).replace(/\s+/g, " ").trimStart();
  const token = tokens[selected];
  return html`<p class="place" aria-live="polite" aria-atomic="true">
    <span>${selected > 0 && tail ? `${before.length > CONTEXT ? "…" : ""}${tail}` : t("atStart")}</span>
    ${token ? html`<mark><${TokenText} token=${token} /></mark>` : html`<mark class="open">?</mark>`}
    ${token && token.bits !== null && html`<span class="bits">${t("bits", { bits: fixed(token.bits, 1) })}</span>`}
  </p>`;
}

function Sampling() {
  const sampling = useStore((state) => state.sampling);
  const most = useStore((state) => state.odds?.vocab_size ?? 1000);
  const steps = Math.ceil(Math.log2(most));
  const off = (value, words) => (value ? words : t("off"));
  return html`<fieldset class="sampling">
    <legend>${t("sampling")}</legend>
    <${Slider}
      id="temperature"
      label=${t("temperature")}
      min="0"
      max="2"
      step="0.05"
      value=${sampling.temperature}
      format=${(value) => (value ? fixed(value) : t("greedy"))}
      onInput=${(temperature) => setSampling({ temperature })}
    />
    <${Slider}
      id="top-k"
      label="Top-k"
      min="0"
      max=${steps * 2}
      step="1"
      value=${sampling.top_k ? steps * 2 - Math.round(Math.log2(sampling.top_k) * 2) : 0}
      format=${() => off(sampling.top_k, count(sampling.top_k))}
      onInput=${(place) =>
        setSampling({ top_k: place ? Math.max(1, Math.round(2 ** ((steps * 2 - place) / 2))) : 0 })}
    />
    <${Slider}
      id="top-p"
      label="Top-p"
      min="0"
      max="0.99"
      step="0.01"
      value=${1 - sampling.top_p}
      format=${() => off(sampling.top_p < 1, fixed(sampling.top_p))}
      onInput=${(rest) => setSampling({ top_p: Number((1 - rest).toFixed(2)) })}
    />
    <${Slider}
      id="min-p"
      label="Min-p"
      min="0"
      max="0.5"
      step="0.01"
      value=${sampling.min_p}
      format=${(value) => off(value, fixed(value))}
      onInput=${(min_p) => setSampling({ min_p })}
    />
  </fieldset>`;
}
