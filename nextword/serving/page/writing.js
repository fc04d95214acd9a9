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
export async function write(count = get().length) {
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
    const ended = await goOn(count, controller.signal);
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
  return write();
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
