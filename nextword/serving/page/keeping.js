/** What was written and said is there again when the page is opened again, or its model taken up again. */
import { html } from "./vendor/preact-htm.js";
import * as drafts from "./draft.js";
import { t } from "./messages.js";
import {
  adopt,
  emptyDesk,
  fail,
  measure,
  ownSampling,
  readModels,
  tokensOf,
  treeOf,
} from "./session.js";
import { get, set, subscribe, useStore } from "./store.js";
import { textOf } from "./tokens.js";
import * as trees from "./tree.js";

const PAUSE = 400; // milliseconds after a change until it is kept
const FOLLOWED = ["model", "history", "sampling", "length", "panel", "desk", "talk"];

/** The text that is written, which may lie aside while a conversation is looked at. */
const written = (state) => (state.desk === "text" ? state : state.desks.text);

/** Keep what is written from now on. */
export function startKeeping() {
  let timer = 0;
  let before = get();
  subscribe((state) => {
    if (FOLLOWED.every((name) => state[name] === before[name])) return;
    before = state;
    timer ||= setTimeout(() => {
      timer = 0;
      keepNow();
    }, PAUSE);
  });
  addEventListener("pagehide", keepNow);
}

function keepNow() {
  const state = get();
  if (!state.model) return;
  keepText(state);
  const { present } = state.talk;
  if (!drafts.isHeld(state.model, present)) set({ keptTalk: drafts.keepTalk(state.model, present) });
}

function keepText(state) {
  const text = written(state);
  if (!text) return;
  const { length, panel, models, model, sampling } = state;
  const own = ownSampling(models, model).sampling;
  const isOwn = Object.keys(own).every((name) => own[name] === sampling[name]);
  const settings = { length, panel, caret: text.caret, ...(isOwn ? {} : { sampling }) };
  set({ kept: drafts.keep(model, treeOf(text), settings) });
}

/** Take up what was written with the model, and said to it, when the page was last open. */
export function restore() {
  const talk = drafts.keptTalk(get().model);
  if (talk) set({ talk: trees.record(talk), restoredTalk: true });
  const draft = drafts.kept(get().model);
  if (!draft) return;
  const tree = trees.doubt(draft.tree);
  adopt({ ...draft.settings, history: trees.record(tree), restored: true }, true);
}

/** Put the text and its branches away, for an empty one; that can be undone. */
export function beginAnew() {
  const history = trees.step(get().history, trees.begin());
  adopt({ history, caret: 0, ended: "", source: null }, true);
  return measure();
}

/** Go over to another model, with the same text, beside what was written with that one. */
export async function useModel(name) {
  keepNow();
  const state = get();
  const isText = state.desk === "text";
  const tokens = written(state) ? tokensOf(written(state)) : [];
  const hasWords = Boolean(textOf(tokens));
  const draft = drafts.kept(name);
  const text = hasWords || !draft ? trees.begin(tokens) : draft.tree;
  const tree = hasWords && draft ? trees.join(draft.tree, text) : text;
  const place = { history: trees.record(trees.doubt(tree)) };
  const nothing = { odds: null, lens: null, attention: null, source: null, layer: null, head: null };
  adopt(
    {
      model: name,
      ...talkWith(name, state),
      ...ownSampling(state.models, name),
      ...draft?.settings,
      ...nothing,
      ...(hasWords ? { caret: state.caret } : {}),
      ...(isText ? place : {}),
      desks: isText ? {} : { text: { ...emptyDesk(), ...place } },
      restored: Boolean(draft) && !hasWords,
    },
    isText && !hasWords,
  );
  await measure();
  try {
    set({ models: await readModels() }); // more is known of it, now that it is open
  } catch (error) {
    fail(error);
  }
}

/** A conversation goes on with another model; that model's own can be gone back to by undoing. */
function talkWith(name, { talk }) {
  const own = drafts.keptTalk(name);
  if (!own) return {};
  if (!talk.present.turns.length) return { talk: trees.record(own), restoredTalk: true };
  return { talk: trees.step(trees.record(own), talk.present) };
}

/** Say that the text was kept, until something is done with it, or that it cannot be. */
export function Kept() {
  const isRestored = useStore((state) => state.restored && !state.history.past.length);
  const kept = useStore((state) => state.kept);
  return html`<${Keeping} words=${t("restored")} onBegin=${isRestored && beginAnew} kept=${kept} />`;
}

/** The same of the conversation, which can be put away for another at any time. */
export function KeptTalk({ onBegin }) {
  const isRestored = useStore((state) => state.restoredTalk && !state.talk.past.length);
  const hasTurns = useStore((state) => state.talk.present.turns.length > 0);
  const kept = useStore((state) => state.keptTalk);
  const words = isRestored && t("restoredTalk");
  return html`<${Keeping} words=${words} onBegin=${hasTurns && onBegin} kept=${kept} />`;
}

function Keeping({ words, onBegin, kept }) {
  return html`<div class="kept quiet" role="status">
    ${onBegin &&
    html`<p>
      ${words}
      <button type="button" class="link" onClick=${onBegin}>${t("beginAnew")}</button>
    </p>`}
    ${kept !== "all" && html`<p>${t(`kept.${kept}`)}</p>`}
  </div>`;
}
