/** The text: what a person types in, and over the same words what is known of its tokens.
 *
 * The words that are seen are drawn token by token; a text field without ink lies over them, so that
 * caret, selection, input methods and screen readers work as in any other field. */
import { Component, html, useLayoutEffect, useRef } from "./vendor/preact-htm.js";
import { cellsOf } from "./tokens.js";

const AT_ONCE = 48; // cells that are drawn anew together
const SHADES = 12;

/** Return the shade, 0 … SHADES, of a share of the strongest. */
export const shade = (share) => Math.round(Math.min(Math.max(share, 0), 1) * SHADES);

/** Surprise is shaded up to 14 bits, one in sixteen thousand; little of it hardly at all. */
export const surpriseShade = (bits) => (bits === null ? 0 : shade((bits / 14) ** 1.5));

/** Some cells; they are drawn anew only when one of them is another. */
class Cells extends Component {
  shouldComponentUpdate({ cells, classes }) {
    const old = this.props;
    if (cells.length !== old.cells.length) return true;
    return cells.some(
      (cell, n) => cell.token !== old.cells[n].token || classes[n] !== old.classes[n],
    );
  }
  render({ cells, classes }) {
    return html`<span
      >${cells.map(
        (cell, n) => html`<span key=${n} class=${classes[n]} data-token=${cell.first}>${cell.text}</span>`,
      )}</span
    >`;
  }
}

/** The words alone. `classOf(cell)` says how a cell looks; `selected` is a token's number. */
export function Shaded({ tokens, selected, classOf }) {
  const cells = cellsOf(tokens);
  const groups = [];
  for (let from = 0; from < cells.length; from += AT_ONCE) {
    const some = cells.slice(from, from + AT_ONCE);
    const classes = some.map((cell) => {
      const chosen = selected !== null && selected >= cell.first && selected <= cell.last;
      return `${classOf(cell)}${cell.token.mine ? " mine" : ""}${chosen ? " selected" : ""}`;
    });
    groups.push(html`<${Cells} key=${from} cells=${some} classes=${classes} />`);
  }
  return groups;
}

/** A text to write in. */
export function Editor(props) {
  const { tokens, text, caret, selected, classOf, onInput, onSelect, label, ...rest } = props;
  const field = useRef();
  useLayoutEffect(() => {
    const { current } = field;
    if (current.value !== text) {
      current.value = text;
      current.setSelectionRange(caret, caret);
    } else if (document.activeElement !== current || current.selectionStart === current.selectionEnd) {
      if (current.selectionStart !== caret) current.setSelectionRange(caret, caret);
    }
  });
  const chosen = (event) => onSelect(event.target.selectionStart);
  const isAll = useRef(false); // whether what is typed takes the place of everything
  const onBeforeInput = ({ target }) => {
    const { selectionStart, selectionEnd, value } = target;
    isAll.current = value !== "" && selectionStart === 0 && selectionEnd === value.length;
  };
  return html`<div class="editor">
    <div class="mirror" aria-hidden="true">
      <${Shaded} tokens=${tokens} selected=${selected} classOf=${classOf} />${"\u200b"}
    </div>
    <textarea
      ref=${field}
      aria-label=${label}
      spellcheck="false"
      autocapitalize="off"
      onBeforeInput=${onBeforeInput}
      onInput=${({ target }) => {
        const all = isAll.current;
        isAll.current = false;
        onInput(target.value, target.selectionStart, all);
      }}
      onSelect=${chosen}
      onClick=${chosen}
      onKeyUp=${chosen}
      ...${rest}
    ></textarea>
  </div>`;
}
