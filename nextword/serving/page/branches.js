/** The branches of what was written, as an outline: where each left another, and how it goes on. */
import { html } from "./vendor/preact-htm.js";
import { t } from "./messages.js";
import { treeOf } from "./session.js";
import { useStore } from "./store.js";
import { textOf } from "./tokens.js";
import { outline } from "./tree.js";
import { Rows } from "./ui.js";
import { openBranch, removeBranch } from "./writing.js";

const SHOWN = 12; // tokens of a branch
const BEFORE = 4; // tokens before it

const inALine = (tokens) => textOf(tokens).replace(/\s+/g, " ");

export function Branches() {
  const tree = useStore(treeOf);
  if (tree.branches.length < 2) return null;
  return html`<section class="branches">
    <h2>${t("branches")}</h2>
    <${Rows} label=${t("branches")}>
      ${outline(tree).map((branch) => {
        const here = branch.id === tree.current;
        const before = inALine(branch.tokens.slice(Math.max(0, branch.at - BEFORE), branch.at));
        const words = inALine(branch.tokens.slice(branch.at, branch.at + SHOWN));
        return html`<li key=${branch.id} class="branch" style=${{ "--depth": branch.depth }}>
          <button
            type="button"
            class=${here ? "row active" : "row"}
            aria-current=${here ? "true" : undefined}
            onClick=${() => openBranch(branch.id)}
          >
            <span class="before">${before}</span>
            <span class="words">${words || t("emptyText")}</span>
            <span class="value">${branch.tokens.length - branch.at}</span>
          </button>
          <button
            type="button"
            class="remove"
            aria-label=${t("removeBranch", { words: words.trim() })}
            onClick=${() => removeBranch(branch.id)}
          >
            ×
          </button>
        </li>`;
      })}
    <//>
  </section>`;
}
