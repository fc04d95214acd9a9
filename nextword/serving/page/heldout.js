/** The held-out examples of a run and what its model said of them, the wrong ones first to hand. */
import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { call } from "./api.js";
import { t } from "./messages.js";
import { take } from "./question.js";
import { count, Trouble } from "./ui.js";

const AT_ONCE = 20;

export function HeldOut({ model }) {
  const [wrong, setWrong] = useState(true);
  const [shown, setShown] = useState(AT_ONCE);
  const [page, setPage] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    let isOld = false;
    const query = new URLSearchParams({ model: model.name, wrong, offset: 0, limit: shown });
    call(`inspect/held_out?${query}`).then(
      (answer) => !isOld && setPage(answer),
      (problem) => !isOld && setError(problem),
    );
    return () => {
      isOld = true;
    };
  }, [model.name, wrong, shown]);
  if (error) return html`<${Trouble} error=${error} />`;
  if (!page) return null;
  const known = wrong ? page.wrong : page.total;
  return html`<section class="heldout">
    <div class="bar-of-choices">
      <h2>${t("heldOutTitle", { wrong: count(page.wrong), total: count(page.total) })}</h2>
      <span class="spring"></span>
      <label class="check">
        <input type="checkbox" checked=${wrong} onChange=${(event) => setWrong(event.target.checked)} />
        ${t("onlyWrong")}
      </label>
    </div>
    <ol class="rows">
      ${page.rows.map(
        (row) =>
          html`<li key=${row.number}>
            <button type="button" class="example" onClick=${() => take(recordOf(row, model.columns))}>
              <span class="words">${row.text}</span>
              <span class=${row.wrong ? "said wrong" : "said"}>${inWords(row.prediction)}</span>
              <span class="truth">${row.wrong ? inWords(row.target ?? row.label ?? row.references) : ""}</span>
            </button>
          </li>`,
      )}
    </ol>
    ${known > page.rows.length &&
    html`<button type="button" class="link" onClick=${() => setShown(shown + AT_ONCE)}>${t("more")}</button>`}
  </section>`;
}

const inWords = (value) => (Array.isArray(value) ? value.join(" · ") : String(value ?? ""));

/** Return the record of an example: its text is that of all its columns, a line each. */
function recordOf({ text }, columns) {
  if (columns.length === 1) return { [columns[0]]: text };
  const cut = text.lastIndexOf("\n");
  return { [columns[0]]: text.slice(0, cut), [columns[1]]: text.slice(cut + 1) };
}
