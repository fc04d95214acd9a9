/** Chat: a conversation, whose answers can be looked into like any other text of the model. */
import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import * as talk from "./conversation.js";
import { Panel, shading } from "./desk.js";
import { KeptTalk } from "./keeping.js";
import { t } from "./messages.js";
import { selectedOf, stop, tokensOf } from "./session.js";
import { get, set, useStore } from "./store.js";
import { Shaded, surpriseShade } from "./textview.js";

export function Chat() {
  const turns = useStore(talk.turnsOf);
  return html`<div class="desk">
    <section class="sheet" aria-label=${t("conversation")}>
      <${System} />
      <ol class="turns">
        ${turns.map((turn, number) =>
          turn.role === "user"
            ? html`<li key=${number} class="turn user"><h2>${t("you")}</h2><p>${turn.text}</p></li>`
            : html`<${Answer} key=${number} turn=${turn} number=${number} last=${number === turns.length - 1} />`,
        )}
      </ol>
      <${Composer} />
      <${KeptTalk} onBegin=${talk.begin} />
    </section>
    <${Panel} onTake=${(candidate) => talk.take(candidate, selectedOf(get()))} />
  </div>`;
}

/** What the model is told before anything is said. */
function System() {
  const system = useStore((state) => state.talk.present.system);
  const [shown, setShown] = useState(Boolean(system));
  if (!shown)
    return html`<button type="button" class="link" onClick=${() => setShown(true)}>
      ${t("addSystem")}
    </button>`;
  return html`<label class="system"
    >${t("system")}
    <textarea rows="2" value=${system} onInput=${(event) => talk.setSystem(event.target.value)}></textarea>
  </label>`;
}

/** An answer: its tokens are shaded by their surprise, and can be selected one by one. */
function Answer({ turn, number, last }) {
  const { tokens, prompt } = talk.shownOf(turn);
  const isOpen = useStore((state) => state.openTurn === number);
  const selected = useStore((state) => (state.openTurn === number ? selectedOf(state) : null));
  const writing = useStore((state) => Boolean(state.writing));
  for (const name of ["panel", "attention", "head", "source"]) useStore((state) => state[name]);
  const open = (token) => talk.select(number, token);
  const onClick = (event) => {
    const cell = event.target.closest("[data-token]");
    if (cell) open(Number(cell.dataset.token));
  };
  const onKeyDown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const now = isOpen ? selected - prompt.length : by > 0 ? -1 : tokens.length;
    open(Math.min(Math.max(now + by, 0), tokens.length));
  };
  const inside = isOpen && selected !== null ? selected - prompt.length : null;
  return html`<li class="turn answer">
    <h2>${t("theModel")}</h2>
    <div
      class="words-of"
      role="group"
      tabindex="0"
      aria-label=${t("answerLabel")}
      onClick=${onClick}
      onKeyDown=${onKeyDown}
    >
      <${Shaded} tokens=${tokens} selected=${inside} classOf=${classOf(isOpen, prompt.length)} />
      ${!tokens.length && html`<span class="quiet">…</span>`}
    </div>
    ${last &&
    !writing &&
    html`<div class="actions-of">
      ${turn.versions.length > 1 &&
      html`<span class="versions">
        <button
          type="button"
          aria-label=${t("versionBefore")}
          disabled=${turn.shown === 0}
          onClick=${() => talk.show(number, turn.shown - 1)}
        >
          ‹
        </button>
        ${turn.shown + 1} / ${turn.versions.length}
        <button
          type="button"
          aria-label=${t("versionAfter")}
          disabled=${turn.shown === turn.versions.length - 1}
          onClick=${() => talk.show(number, turn.shown + 1)}
        >
          ›
        </button>
      </span>`}
      <button type="button" onClick=${talk.retry}>${t("again")}</button>
      <button type="button" onClick=${talk.undo}>${t("undo")}</button>
    </div>`}
  </li>`;
}

/** An answer that is not open is shaded by its surprise, whatever the panel shows of another. */
function classOf(isOpen, offset) {
  const state = get();
  if (!isOpen || state.panel === "odds") return (cell) => `s${surpriseShade(cell.bits)}`;
  const whole = shading(state, tokensOf(state));
  return (cell) => whole({ ...cell, first: cell.first + offset, last: cell.last + offset });
}

function Composer() {
  const field = useRef();
  const draft = useStore((state) => state.draft);
  const writing = useStore((state) => Boolean(state.writing));
  const canUndo = useStore((state) => state.talk.past.length > 0);
  const isAnswered = useStore((state) => talk.turnsOf(state).at(-1)?.role === "assistant");
  useEffect(() => field.current.focus(), []);
  const send = () => {
    if (draft.trim() && !writing) talk.say(draft);
  };
  const onKeyDown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  return html`<div class="composer">
    <textarea
      ref=${field}
      rows="1"
      aria-label=${t("yourMessage")}
      placeholder=${t("yourMessage")}
      value=${draft}
      onInput=${(event) => set({ draft: event.target.value })}
      onKeyDown=${onKeyDown}
    ></textarea>
    ${writing
      ? html`<button type="button" class="primary" onClick=${stop}>${t("stop")}</button>`
      : html`<button type="button" class="primary" disabled=${!draft.trim()} onClick=${send}>${t("send")}</button>`}
    ${!writing &&
    !isAnswered &&
    canUndo &&
    html`<button type="button" class="link" onClick=${talk.undo}>${t("undo")}</button>`}
  </div>`;
}
