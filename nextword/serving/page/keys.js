/** What the keyboard does, everywhere on the page. */
import { html } from "./vendor/preact-htm.js";
import { t } from "./messages.js";
import * as talk from "./conversation.js";
import * as session from "./session.js";
import { get, set } from "./store.js";
import { Dialog } from "./ui.js";
import * as writing from "./writing.js";

const isMac = navigator.platform.startsWith("Mac");
const ctrl = isMac ? "⌘" : "Ctrl";
const alt = isMac ? "⌥" : "Alt";

const KEYS = [
  [`${ctrl} Enter`, "keys.write"],
  [`${ctrl} Shift Enter`, "keys.again"],
  [`${alt} Enter`, "keys.one"],
  ["Esc", "keys.stop"],
  [`${alt} ← →`, "keys.move"],
  [`${alt} 1 … 9`, "keys.take"],
  [`${alt} O L S`, "keys.panel"],
  [`${ctrl} Z, ${ctrl} Shift Z`, "keys.undo"],
  ["?", "keys.help"],
];

/** Return what a key does, if it does something. */
function actionOf(event) {
  const state = get();
  const command = event.ctrlKey || event.metaKey;
  const onText = ["write", "fill", "read", "chat"].includes(state.view);
  const { undo, redo } = state.view === "chat" ? talk : writing;
  if (event.key === "Escape" && state.writing) return session.stop;
  if (!command && !event.altKey && event.key === "?" && !isField(event.target))
    return () => set({ dialog: "keys" });
  if (!onText) return null;
  if (command && !event.altKey) {
    const key = event.key.toLowerCase();
    const inOwn = isField(event.target) && !event.target.closest(".editor");
    if (key === "z" && !inOwn) return event.shiftKey ? redo : undo;
    if (key === "y" && !inOwn) return redo;
    if (event.key === "Enter" && state.view === "write" && !session.isEncoder(state))
      return event.shiftKey ? writing.again : () => writing.write();
  }
  if (!event.altKey || command) return null;
  if (event.code.startsWith("Digit")) return () => takeNumber(Number(event.code.slice(5)));
  return ALT[event.code] ?? null;
}

const ALT = {
  ArrowLeft: () => session.move(-1),
  ArrowRight: () => session.move(1),
  Enter: () => get().view === "write" && !session.isEncoder(get()) && writing.write(1),
  KeyO: () => session.openPanel("odds"),
  KeyL: () => session.openPanel("layers"),
  KeyS: () => session.openPanel("source"),
};

const isField = (element) => element.closest("input:not([type=range]), textarea, select") !== null;

function takeNumber(number) {
  const { panel, odds } = get();
  const candidate = odds?.candidates[number - 1];
  if (panel !== "odds" || !candidate) return;
  if (get().view === "chat") talk.take(candidate, session.selectedOf(get()));
  else writing.take(candidate);
}

/** Listen to the keyboard from now on. */
export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || get().dialog) return;
    const action = actionOf(event);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

export function KeysDialog() {
  return html`<${Dialog} title=${t("shortcuts")} onClose=${() => set({ dialog: null })}>
    <dl class="keys">
      ${KEYS.map(
        ([keys, name]) =>
          html`<div key=${name}><dt>${keys.split(" ").map((key) => html`<kbd>${key}</kbd> `)}</dt>
            <dd>${t(name)}</dd></div>`,
      )}
    </dl>
    <form method="dialog"><button class="primary">${t("close")}</button></form>
  <//>`;
}
