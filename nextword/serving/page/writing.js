/** Writing: the model goes on, candidates are taken, branches are opened, all of it can be undone. */
import { generate } from "./generation.js";
import {
  contextOf,
  fail,
  idsOf,
  isEncoder,
  isMeasured,
  measure,
  selectedOf,
  stop,
  stopTyping,
  tokensOf,
  treeOf,
} from "./session.js";
import { get, set } from "./store.js";
import * as tokenize from "./tokens.js";
import * as trees from "./tree.js";

const ROOM_FOR_BLANKS = 32; // tokens in which blanks and what follows them are written

/** Go on with a candidate instead of what stands at the selected place: on a new branch, where
 * something stands there. */
export function take(candidate) {
  set((state) => {
    const at = selectedOf(state);
    const tokens = tokensOf(state);
    const chosen = tokenize.fromCandidate(candidate);
    const rest = isEncoder(state) ? tokens.slice(at + 1) : [];
    const tree = trees.fork(treeOf(state), at, [chosen, ...rest]);
    const caret = tokenize.placeOf(trees.currentOf(tree).tokens, at + 1);
    return { history: trees.step(state.history, tree), caret, ended: "" };
  });
  return measure();
}

/** Let the model go on from the selected place, with at most `count` tokens. */
export const write = (count = get().length) =>
  writeFrom(count, selectedOf(get()) >= tokensOf(get()).length);

/** `isTyped` where the text ends as a person left it, not where two tokens of a text part. */
async function writeFrom(count, isTyped) {
  stop();
  stopTyping();
  if (!isMeasured()) await measure();
  const controller = new AbortController();
  set((state) => {
    const at = selectedOf(state);
    const tree = trees.fork(treeOf(state), at, []);
    const caret = tokenize.textOf(trees.currentOf(tree).tokens).length;
    return { history: trees.step(state.history, tree), caret, writing: controller, ended: "" };
  });
  try {
    const begun = isTyped ? await joinBlanks(controller.signal) : 0;
    const ended = await goOn(count - begun, controller.signal);
    if (get().writing === controller) set({ ended });
  } catch (error) {
    fail(error);
  }
  if (get().writing !== controller) return; // something else was begun
  set({ writing: null });
  await measure();
}

/** Have at most `count` tokens written at the end of the text. What the model sees at once is given
 * to it; where the text grows longer than that, half of it makes room, so that each token has at
 * least the other half before it. Returns why it ended. */
async function goOn(count, signal) {
  const { model, sampling } = get();
  const context = contextOf(get());
  let left = count;
  let ended = "length";
  while (left > 0 && ended === "length" && !signal.aborted) {
    const ids = idsOf(get());
    const isFull = ids.length >= context;
    const seen = isFull ? Math.max(Math.ceil(context / 2), context - left) : ids.length;
    const prompt = ids.slice(ids.length - seen);
    const some = Math.min(left, context - seen);
    set({ sight: ids.length - prompt.length });
    const request = { model, sampling, prompt, count: some };
    ended = await generate(request, signal, (more) => set((now) => append(now, more)));
    left -= some;
  }
  return ended;
}

/** Where a person ended the text in blanks, let the model write them anew together with what follows
 * them: in what it has learned a word's blank is part of the word, and blanks with nothing after
 * them are followed by another. ("Token healing", as in guidance.) Returns how many tokens it wrote. */
async function joinBlanks(signal) {
  const state = get();
  const tokens = tokensOf(state);
  const blanks = tokens.at(-1);
  const seen = Math.min(tokens.length - 1, contextOf(state) - ROOM_FOR_BLANKS);
  if (!blanks?.mine || blanks.special || !/^\s*[ \t]$/.test(blanks.text) || seen < 1) return 0;
  const prompt = idsOf(state).slice(tokens.length - 1 - seen, -1);
  const pattern = `${blanks.text}(.|\n)*`;
  const { model, sampling } = state;
  const request = { model, sampling, prompt, count: ROOM_FOR_BLANKS, pattern };
  const enough = new AbortController();
  let written = [];
  const isWhole = () => tokenize.textOf(written).length > blanks.text.length;
  try {
    await generate(request, AbortSignal.any([signal, enough.signal]), (more) => {
      for (const token of more) if (!isWhole()) written.push(token);
      if (isWhole()) enough.abort();
    });
  } catch (error) {
    if (signal.aborted || (error.name !== "AbortError" && error.status !== 400)) throw error;
  }
  if (!isWhole() || signal.aborted) return 0; // or a tokenizer of which no form can be asked
  let place = 0;
  written = written.map((token) => {
    place += token.text.length;
    return place <= blanks.text.length ? { ...token, mine: true } : token;
  });
  set((now) => {
    const tree = trees.replaceTokens(treeOf(now), [...tokens.slice(0, -1), ...written]);
    const caret = tokenize.textOf(trees.currentOf(tree).tokens).length;
    return { history: trees.amend(now.history, tree), caret };
  });
  return written.filter(({ mine }) => !mine).length;
}

function append(state, more) {
  const tokens = tokensOf(state);
  const length = tokenize.textOf(tokens).length;
  const tree = trees.replaceTokens(treeOf(state), [...tokens, ...more]);
  const follows = state.caret >= length;
  const caret = follows ? length + tokenize.textOf(more).length : state.caret;
  return { history: trees.amend(state.history, tree), caret };
}

/** Let the model write another continuation beside the last one. */
export function again() {
  const tokens = tokensOf(get());
  let at = tokens.length;
  while (at > 0 && !tokens[at - 1].mine) at -= 1;
  set({ caret: tokenize.placeOf(tokens, at) });
  return writeFrom(get().length, false);
}

export const canWriteAgain = (state) => {
  const last = tokensOf(state).at(-1);
  return Boolean(last && !last.mine);
};

const travel = (how) => () => {
  stop();
  set((state) => {
    const history = how(state.history);
    if (history.present === state.history.present) return null;
    const text = tokenize.textOf(trees.currentOf(history.present).tokens);
    return { history, caret: Math.min(state.caret, text.length), ended: "" };
  });
  return measure();
};
export const undo = travel(trees.undo);
export const redo = travel(trees.redo);

const reshape = (how) => (id) => {
  stop();
  set((state) => {
    const tree = how(treeOf(state), id);
    const text = tokenize.textOf(trees.currentOf(tree).tokens);
    return { history: trees.step(state.history, tree), caret: text.length, ended: "" };
  });
  return measure();
};
export const openBranch = reshape(trees.open);
export const removeBranch = reshape(trees.remove);
