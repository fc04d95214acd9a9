/** What was written is there again when the page is opened again, or its model taken up again. */
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
const FOLLOWED = ["model", "history", "sampling", "length", "panel", "desk"];

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
  const text = written(state);
  if (!state.model || !text) return;
  const { length, panel, models, model, sampling } = state;
  const own = ownSampling(models, model).sampling;
  const isOwn = Object.keys(own).every((name) => own[name] === sampling[name]);
  const settings = { length, panel, caret: text.caret, ...(isOwn ? {} : { sampling }) };
  set({ kept: drafts.keep(model, treeOf(text), settings) });
}

/** Take up what was written with the model when the page was last open. */
export function restore() {
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

/** Say that the text was kept, until something is done with it, or that it cannot be. */
export function Kept() {
  const restored = useStore((state) => state.restored && !state.history.past.length);
  const kept = useStore((state) => state.kept);
  return html`<div class="kept quiet" role="status">
    ${restored &&
    html`<p>
      ${t("restored")}
      <button type="button" class="link" onClick=${beginAnew}>${t("beginAnew")}</button>
    </p>`}
    ${kept !== "all" && html`<p>${t(`kept.${kept}`)}</p>`}
  </div>`;
}
