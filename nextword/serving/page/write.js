/** Write: the model goes on with the text, from wherever one points. */
import { html } from "./vendor/preact-htm.js";
import { Branches } from "./branches.js";
import { Panel, Sight, TextField } from "./desk.js";
import { Kept } from "./keeping.js";
import { t } from "./messages.js";
import { isEncoder, modelOf, selectedOf, stop, tokensOf } from "./session.js";
import { set, useStore } from "./store.js";
import { count, fixed } from "./ui.js";
import * as writing from "./writing.js";

const LENGTHS = [20, 50, 100, 200, 500, 1000];

export function Write() {
  const encoder = useStore(isEncoder);
  const mask = useStore((state) => modelOf(state)?.mask);
  return html`<div class="desk">
    <section class="sheet" aria-label=${t("yourText")}>
      <${TextField} placeholder=${encoder ? t("placeholderFill", { mask }) : t("placeholder")} />
      <${Actions} encoder=${encoder} />
      <${Branches} />
    </section>
    <${Panel} />
  </div>`;
}

function Actions({ encoder }) {
  const isWriting = useStore((state) => Boolean(state.writing));
  const atEnd = useStore((state) => selectedOf(state) >= tokensOf(state).length);
  const canAgain = useStore(writing.canWriteAgain);
  const canUndo = useStore((state) => state.history.past.length > 0);
  const canRedo = useStore((state) => state.history.future.length > 0);
  const length = useStore((state) => state.length);
  return html`<div class="actions">
    ${!encoder &&
    (isWriting
      ? html`<button type="button" class="primary" onClick=${stop}>${t("stop")}</button>`
      : html`<button type="button" class="primary" onClick=${() => writing.write()}>
          ${atEnd ? t("write") : t("writeHere")}
        </button>`)}
    ${!encoder &&
    html`<button type="button" disabled=${!canAgain || isWriting} onClick=${writing.again}>
        ${t("again")}
      </button>
      <button type="button" disabled=${isWriting} onClick=${() => writing.write(1)}>
        ${t("oneToken")}
      </button>`}
    <button type="button" disabled=${!canUndo} onClick=${writing.undo}>${t("undo")}</button>
    <button type="button" disabled=${!canRedo} onClick=${writing.redo}>${t("redo")}</button>
    ${!encoder &&
    html`<label class="length"
      >${t("upTo")}
      <select onChange=${(event) => set({ length: Number(event.target.value) })}>
        ${LENGTHS.map((n) => html`<option key=${n} value=${n} selected=${n === length}>${t("tokensCount", { n })}</option>`)}
      </select></label
    >`}
    <${Facts} />
    <${Sight} />
    <${Kept} />
  </div>`;
}

/** What is known of the whole text, in a line. */
function Facts() {
  const total = useStore((state) => state.total);
  const tokens = useStore(tokensOf);
  const ended = useStore((state) => state.ended);
  const words = tokens.filter((token) => token.text || !token.special).length;
  return html`<p class="facts" role="status">
    ${words > 0 && html`<span>${t("tokensCount", { n: count(words) })}</span>`}
    ${words > 0 &&
    total?.bits_per_byte > 0 &&
    html`<span>${t("bitsPerByte", { bits: fixed(total.bits_per_byte) })}</span>`}
    ${ended && ended !== "length" && html`<span>${t(`ended.${ended}`)}</span>`}
  </p>`;
}
