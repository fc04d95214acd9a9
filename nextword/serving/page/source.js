/** Where the text stands, word for word, in what the model was trained on. */
import { html } from "./vendor/preact-htm.js";
import { t } from "./messages.js";
import { select, tokensOf } from "./session.js";
import { useStore } from "./store.js";
import { textOf } from "./tokens.js";
import { count, percent } from "./ui.js";

/** Return the passages of the text as it is now; none while they are being looked for. */
export const passagesOf = (state) =>
  state.source?.of === textOf(tokensOf(state)) ? state.source.passages : [];

export function Source() {
  const source = useStore((state) => state.source);
  const caret = useStore((state) => state.caret);
  if (!source) return html`<p class="quiet">${t("sourceEmpty")}</p>`;
  if (!source.available) return html`<p class="quiet">${source.reason}</p>`;
  const here = ({ start, end }) => start <= caret && caret < end;
  const passages = [...source.passages].sort((a, b) => here(b) - here(a));
  return html`<div class="source">
    <p class="headline">
      ${source.passages.length
        ? t("verbatim", { share: percent(source.verbatim_share) })
        : t("notInText")}
    </p>
    <p class="quiet">
      ${t("longest", { longest: count(source.longest), documents: count(source.documents) })}
    </p>
    <ol class="passages">
      ${passages.map(
        (passage) =>
          html`<${Passage} key=${passage.start} passage=${passage} active=${here(passage)} />`,
      )}
    </ol>
  </div>`;
}

const AROUND = 90; // characters shown before and after a passage

/** Return the end, or the beginning, of what stands around a passage, in whole words. */
function around(text, isBefore) {
  if (text.length <= AROUND) return text;
  const part = isBefore ? text.slice(-AROUND) : text.slice(0, AROUND);
  const cut = isBefore ? part.replace(/^\S*\s/, "") : part.replace(/\s\S*$/, "");
  return isBefore ? `… ${cut}` : `${cut} …`;
}

function Passage({ passage, active }) {
  return html`<li class=${active ? "passage active" : "passage"}>
    ${passage.places.map(
      (place) => html`<figure key=${`${place.document}/${place.token}`}>
        <blockquote>
          <span class="around">${around(place.before, true)}</span><mark>${passage.text}</mark
          ><span class="around">${around(place.after, false)}</span>
        </blockquote>
        <figcaption title=${place.source}>
          ${place.source.replace(/^.*[\\/](?=[^\\/])/, "")}${place.line === null ? "" : `:${place.line}`}${place.split === "train"
            ? ""
            : ` · ${t("heldOut")}`}
        </figcaption>
      </figure>`,
    )}
    <button type="button" class="link" onClick=${() => select(passage.start)}>
      ${t("passage", { tokens: count(passage.tokens), times: count(passage.occurrences) })}
    </button>
  </li>`;
}
