/** Small parts that several views are made of. */
import { html, useEffect, useRef } from "./vendor/preact-htm.js";
import { t } from "./messages.js";

/** Return a number for people: a share in percent, with more digits where it is small. */
export const percent = (share) => (share >= 0.00005 ? `${hundredths(share)} %` : share > 0 ? "≈ 0" : "0");

/** Return how much a share changes, in percentage points: of a change "%" would say something else. */
export const points = (change) => signed(change, hundredths(Math.abs(change)));
export const signed = (number, shown) => `${number < 0 ? "−" : "+"}${shown}`;

function hundredths(share) {
  return (share * 100).toFixed(share >= 0.1 ? 0 : share >= 0.0095 ? 1 : 2);
}

export const count = (number) => Math.round(number).toLocaleString("en-US");
export const fixed = (number, digits = 2) => (Number.isFinite(number) ? number.toFixed(digits) : "–");

/** Show the text of a token, with what cannot be seen made visible but soft. */
export function TokenText({ token }) {
  if (token.special || !token.text || token.text.includes("\ufffd")) return html`<span class="special">${token.name || "…"}</span>`;
  const parts = token.text.split(/(\n|\t| )/).filter(Boolean);
  const marks = { "\n": "↵", "\t": "→", " ": "·" };
  return html`<span class="token"
    >${parts.map((part) => (marks[part] ? html`<i class="mark">${marks[part]}</i>` : part))}</span
  >`;
}

/** A row that can be chosen: words, a bar, a number. `share` and `tick` are parts of the width. */
export function BarRow(props) {
  const { label, share, tick, value, note, onClick, active, dim, against, ...rest } = props;
  const kinds = ["row", active && "active", dim && "dim", against && "against"];
  const kind = kinds.filter(Boolean).join(" ");
  const inside = html`
    <span class="label">${label}</span>
    <span class="track" aria-hidden="true">
      <span class="bar" style=${{ width: `${Math.min(share, 1) * 100}%` }}></span>
      ${tick !== undefined &&
      html`<span class="tick" style=${{ left: `${Math.min(tick, 1) * 100}%` }}></span>`}
    </span>
    <span class="value">${value}</span>
    ${note !== undefined && html`<span class="note">${note}</span>`}
  `;
  return onClick
    ? html`<li><button type="button" class=${kind} onClick=${onClick} ...${rest}>${inside}</button></li>`
    : html`<li class=${kind} ...${rest}>${inside}</li>`;
}

/** A list whose rows are one stop of the tab key; the arrows go from row to row. */
export function Rows({ label, children, ...rest }) {
  const list = useRef();
  useEffect(() => {
    const rows = [...list.current.querySelectorAll("button.row")];
    const chosen = rows.find((row) => row.tabIndex === 0) ?? rows[0];
    for (const row of rows) row.tabIndex = row === chosen ? 0 : -1;
  });
  const onKeyDown = (event) => {
    const rows = [...list.current.querySelectorAll("button.row")];
    const now = rows.indexOf(event.target.closest("button.row"));
    const places = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: rows.length - 1 };
    const next = rows[places[event.key]];
    if (!next) return;
    event.preventDefault();
    for (const row of rows) row.tabIndex = row === next ? 0 : -1;
    next.focus();
  };
  return html`<ol class="rows" ref=${list} aria-label=${label} onKeyDown=${onKeyDown} ...${rest}>
    ${children}
  </ol>`;
}

/** A setting between two ends. `format` says its value in words. */
export function Slider({ id, label, value, min, max, step, format, onInput }) {
  return html`<div class="slider">
    <label for=${id}>${label}</label>
    <output for=${id}>${format(value)}</output>
    <input
      id=${id}
      type="range"
      min=${min}
      max=${max}
      step=${step}
      value=${value}
      aria-valuetext=${format(value)}
      onInput=${(event) => onInput(Number(event.target.value))}
    />
  </div>`;
}

/** Words of which one is chosen. */
export function Choice({ label, options, value, onChange, kind = "tabs" }) {
  const onKeyDown = (event) => {
    const now = options.findIndex(([name]) => name === value);
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = (now + by + options.length) % options.length;
    onChange(options[next][0]);
    event.currentTarget.children[next].focus();
  };
  return html`<div role="radiogroup" class=${kind} aria-label=${label} onKeyDown=${onKeyDown}>
    ${options.map(
      ([name, words]) =>
        html`<button
          type="button"
          role="radio"
          key=${name}
          aria-checked=${String(name === value)}
          tabindex=${name === value ? 0 : -1}
          onClick=${() => onChange(name)}
        >
          ${words}
        </button>`,
    )}
  </div>`;
}

/** What went wrong, in the server's words, or ours where it cannot be reached. */
export function Trouble({ error }) {
  if (!error) return null;
  const words = error.status === 0 ? t("unreachable") : error.message;
  return html`<p class="trouble" role="alert">${words}</p>`;
}

/** A dialog over the page, which Escape and a click beside it close. */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef();
  useEffect(() => dialog.current.showModal(), []);
  const onClick = (event) => event.target === dialog.current && onClose();
  return html`<dialog ref=${dialog} aria-labelledby="dialog-title" onClose=${onClose} onClick=${onClick}>
    <div class="inside">
      <h2 id="dialog-title">${title}</h2>
      ${children}
    </div>
  </dialog>`;
}
