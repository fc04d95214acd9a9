/** Read: any text as the model sees it, its tokens and its surprise; beside it, another model. */
import { html, useEffect, useMemo, useState } from "./vendor/preact-htm.js";
import { call, latest } from "./api.js";
import { Panel, Sight, TextField } from "./desk.js";
import { Kept } from "./keeping.js";
import { t } from "./messages.js";
import * as session from "./session.js";
import { get, set, useStore } from "./store.js";
import { shade, Shaded, surpriseShade } from "./textview.js";
import { fromServer, placeOf, textOf, tokenAt } from "./tokens.js";
import { Choice, count, fixed, Trouble } from "./ui.js";

const MOST_APART = 6; // bits a character by which two models differ where the shade is darkest

const bySurprise = (cell) => `s${surpriseShade(cell.bits)}`;

export function Read() {
  const boundaries = useStore((state) => state.boundaries);
  const other = useStore((state) => state.other);
  const total = useStore((state) => state.total);
  const tokens = useStore(session.tokensOf);
  const second = useReading(other, textOf(tokens));
  const [shadedBy, setShadedBy] = useState("surprise");
  const apart = shadedBy === "difference" && second?.tokens;
  return html`<div class=${other ? "desk two" : "desk"}>
    <section class="sheet" aria-label=${t("yourText")}>
      ${other && html`<h2>${get().model}</h2>`}
      <${Figures} total=${total} tokens=${tokens} />
      <${TextField}
        placeholder=${t("placeholderRead")}
        boundaries=${boundaries}
        classOf=${apart ? moreSurprised(tokens, second.tokens) : other ? bySurprise : undefined}
      />
      <div class="actions">
        <${BoundariesBox} boundaries=${boundaries} />
        <${OtherModel} other=${other} />
        ${other &&
        html`<${Choice}
          label=${t("shadedBy")}
          kind="choices"
          options=${[
            ["surprise", t("surprise")],
            ["difference", t("difference")],
          ]}
          value=${shadedBy}
          onChange=${setShadedBy}
        />`}
        <${Sight} />
        <${Kept} />
      </div>
    </section>
    ${other
      ? html`<${Second} other=${other} reading=${second} boundaries=${boundaries} apart=${apart && tokens} />`
      : html`<${Panel} />`}
  </div>`;
}

function BoundariesBox({ boundaries }) {
  return html`<label class="check">
    <input
      type="checkbox"
      checked=${boundaries}
      onChange=${(event) => set({ boundaries: event.target.checked })}
    />
    ${t("boundaries")}
  </label>`;
}

/** The headline figures of a text. */
function Figures({ total, tokens }) {
  const cells = tokens.filter((token) => !token.special).length;
  const known = cells > 0 && total;
  const values = [
    [t("figure.bits"), known ? fixed(total.bits_per_byte, 3) : "–"],
    [t("figure.perplexity"), known ? fixed(total.perplexity, 1) : "–"],
    [t("figure.tokens"), count(cells)],
    [t("figure.bytes"), known ? fixed(total.text_bytes / cells, 2) : "–"],
  ];
  return html`<dl class="figures">
    ${values.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

function OtherModel({ other }) {
  const models = useStore((state) => state.models);
  const model = useStore((state) => state.model);
  const others = models.filter(({ name, task }) => name !== model && !task);
  if (!others.length) return null;
  return html`<label class="length"
    >${t("beside")}
    <select onChange=${(event) => set({ other: event.target.value || null })}>
      <option value="" selected=${!other}>${t("noOther")}</option>
      ${others.map(
        ({ name }) => html`<option key=${name} value=${name} selected=${name === other}>${name}</option>`,
      )}
    </select></label
  >`;
}

/** Return what another model makes of a text: {tokens, total}, or {error}; null while it reads. */
function useReading(model, text) {
  const [reading, setReading] = useState(null);
  const ask = useMemo(() => latest((signal, question) => call("inspect", question, signal)), []);
  useEffect(() => {
    setReading(null);
    if (!model) return undefined;
    const timer = setTimeout(async () => {
      try {
        const answer = await ask({ model, text, want: ["tokens", "surprise"] });
        if (answer)
          setReading({ tokens: fromServer(answer.tokens, answer.surprise), total: answer.surprise });
      } catch (error) {
        setReading({ error });
      }
    }, 180);
    return () => clearTimeout(timer);
  }, [model, text]);
  return reading;
}

function Second({ other, reading, boundaries, apart }) {
  const caret = useStore((state) => state.caret);
  const tokens = reading?.tokens ?? [];
  const choose = (event) => {
    const cell = event.target.closest("[data-token]");
    if (cell) session.select(placeOf(tokens, Number(cell.dataset.token)));
  };
  return html`<section class="sheet" aria-label=${other}>
    <h2>${other}</h2>
    <${Figures} total=${reading?.total} tokens=${tokens} />
    <${Trouble} error=${reading?.error} />
    <div class=${boundaries ? "textfield boundaries" : "textfield"} onClick=${choose}>
      <div class="mirror">
        <${Shaded}
          tokens=${tokens}
          selected=${tokens.length ? tokenAt(tokens, caret) : null}
          classOf=${apart ? moreSurprised(tokens, apart) : bySurprise}
        />
      </div>
    </div>
  </section>`;
}

/** Return the shade of the cells at which these tokens surprise more than the others do. Surprise
 * is spread evenly over the characters of a token, for the two are cut at different places. */
function moreSurprised(tokens, others) {
  const own = perCharacter(tokens);
  const theirs = perCharacter(others);
  const places = [0];
  for (const token of tokens) places.push(places.at(-1) + token.text.length);
  return (cell) => {
    const from = places[cell.first];
    const to = from + cell.text.length;
    let more = 0;
    for (let place = from; place < to; place += 1) more += (own[place] ?? 0) - (theirs[place] ?? 0);
    return `s${shade(more / (to - from) / MOST_APART)}`;
  };
}

function perCharacter(tokens) {
  const bits = [];
  let held = 0; // of the first parts of a character
  for (const token of tokens) {
    held += token.bits ?? 0;
    for (let place = 0; place < token.text.length; place += 1)
      bits.push(held / token.text.length);
    if (token.text) held = 0;
  }
  return bits;
}
