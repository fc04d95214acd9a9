/** The one text and the one place in it: what can be done to them, and what is asked about them. */
import { call, latest, paced } from "./api.js";
import { get, set } from "./store.js";
import * as tokenize from "./tokens.js";
import * as trees from "./tree.js";

const CANDIDATES = 12;
const PAUSE = 180; // milliseconds without typing after which the text is measured

const PLAIN = { temperature: 1, top_k: 0, top_p: 1, min_p: 0 }; // what the model itself says

export const start = () => ({
  history: trees.record(trees.begin()),
  caret: 0, // the selected place of the text
  panel: "odds",
  sampling: PLAIN,
  length: 100,
  layer: null, // null: the last
  head: null, // null: the mean of all
  total: null, // the surprise of the whole text
  odds: null,
  lens: null,
  attention: null,
  source: null,
  boundaries: false, // whether the text shows where its tokens begin
  other: null, // a second model that reads the text
  writing: null, // what ends the writing, while there is some
  sight: 0, // the first token that is seen where the model is writing
  ended: "",
  error: null,
  waiting: 0, // questions that are not answered yet, a text that is still being typed among them
  desk: "text", // which of several texts this is
  desks: {}, // the others
  restored: false, // whether the text is one that was kept while the page was closed
  kept: "all", // how much of it will be: "all", "text" (without branches), "nothing"
});

export const treeOf = (state) => state.history.present;
export const tokensOf = (state) => trees.currentOf(treeOf(state)).tokens;
export const modelOf = (state) => state.models.find((model) => model.name === state.model);
/** Whether the model has a say on any text: one with a head of its own, such as a classifier, has
 * not. */
const canRead = (state) => {
  const model = modelOf(state);
  return Boolean(model) && (!model.task || ["chat", "text"].includes(model.task));
};
export const isEncoder = (state) => modelOf(state)?.kind === "encoder";

/** How many tokens the model sees at once. */
export const contextOf = (state) => Math.max(modelOf(state)?.context_length ?? Infinity, 2);

/** Return the number of the first token that the model sees where it is asked about the selected
 * place, or where it is writing. */
export function sightOf(state) {
  if (isEncoder(state)) return 0;
  return state.writing ? state.sight : Math.max(selectedOf(state) - contextOf(state), 0);
}

/** Return the number of the selected token: the one that comes next at the caret. */
export function selectedOf(state) {
  const tokens = tokensOf(state);
  const number = tokenize.tokenAt(tokens, state.caret);
  return isEncoder(state) ? Math.min(number, lastWord(tokens)) : number;
}

/** An encoder's text ends before its control tokens do. */
function lastWord(tokens) {
  for (let number = tokens.length - 1; number >= 0; number -= 1)
    if (tokens[number].text) return number;
  return 0;
}

export const idsOf = (state) => tokensOf(state).map((token) => token.id);

/** The token whose output answers for the selected place. */
const positionOf = (state) => Math.max(selectedOf(state) - (isEncoder(state) ? 0 : 1), 0);

export function fail(error) {
  if (error.name !== "AbortError") set({ error: { status: error.status, message: error.message } });
}

// ---- what is asked -------------------------------------------------------------------------

let isTyped = false; // the text has to be cut into tokens again
export const isMeasured = () => !isTyped && tokensOf(get()).length > 0;
let timer = 0;

const measureNow = latest(async (signal) => {
  const tokens = tokensOf(get());
  const answer = await measured(tokens, signal);
  if (signal.aborted || tokensOf(get()) !== tokens) return; // it has changed: it is asked again
  isTyped = false;
  const known = tokenize.fromServer(answer.tokens, answer.surprise, tokens);
  set((state) => ({
    history: trees.amend(state.history, trees.retie(trees.settle(treeOf(state), known))),
    total: answer.surprise,
    error: null,
  }));
});

/** Ask about tokens as they are, or about their text where they are not known to be the model's. */
async function measured(tokens, signal) {
  const text = tokenize.textOf(tokens);
  const ask = (given) =>
    call("inspect", { model: get().model, ...given, want: ["tokens", "surprise"] }, signal);
  if (isTyped || !tokens.length || !tokenize.isKnown(tokens)) return ask({ text });
  const ids = tokens.map((token) => token.id);
  if (!trees.currentOf(treeOf(get())).kept) return ask({ tokens: ids });
  try {
    const answer = await ask({ tokens: ids });
    const isSame = ({ name, special }, n) => !special || name === tokens[n].name;
    if (tokenize.textOf(answer.tokens) === text && answer.tokens.every(isSame)) return answer;
  } catch (error) {
    if (error.status !== 400) throw error; // the model has no such tokens
  }
  return ask({ text }); // they were those of another model
}

/** Have the text cut into tokens and their surprise measured, then ask about the place in it. */
export const measure = counted(async () => {
  stopTyping();
  const isEmptyTalk = get().desk === "chat" && !tokensOf(get()).length;
  if (!canRead(get()) || isEmptyTalk) return undefined;
  try {
    await measureNow();
  } catch (error) {
    return fail(error);
  }
  return ask();
});

/** Return work that counts as a question while it lasts. */
function counted(work) {
  return async (...args) => {
    wait(1);
    try {
      return await work(...args);
    } finally {
      wait(-1);
    }
  };
}

const wait = (by) => set(({ waiting }) => ({ waiting: waiting + by }));

/** Wait no longer for more letters. */
export function stopTyping() {
  if (timer) wait(-1);
  clearTimeout(timer);
  timer = 0;
}

/** Ask what the open panel shows of the selected place. */
export const ask = paced(counted(async () => {
  const state = get();
  const tokens = tokensOf(state);
  if (state.writing || !tokens.length || !tokenize.isKnown(tokens) || !canRead(state)) return;
  if (isEncoder(state) && !tokenize.textOf(tokens)) return set({ odds: null, lens: null });
  try {
    await QUESTIONS[state.panel](state);
    if (get().error) set({ error: null });
  } catch (error) {
    fail(error);
  }
}));

const QUESTIONS = {
  async odds(state) {
    const { odds } = await inspect(state, { want: ["odds"], sampling: state.sampling });
    if (odds) set({ odds: { ...odds, at: selectedOf(state) } });
  },
  async layers(state) {
    const layer = state.layer ?? -1;
    const { lens, attention } = await inspect(state, { want: ["lens", "attention"], layer, top: 3 });
    if (lens) set({ lens: { ...lens, at: selectedOf(state) }, attention });
  },
  async source(state) {
    const text = tokenize.textOf(tokensOf(state));
    if (state.source?.of === text) return;
    const answer = await call("source", { model: state.model, text });
    const places = tokenize.codePointPlaces(text);
    const passages = (answer.passages ?? []).map((passage) => ({
      ...passage,
      start: places[passage.start],
      end: places[passage.end],
    }));
    set({ source: { ...answer, passages, of: text } });
  },
};

const inspect = (state, question) =>
  call("inspect", {
    model: state.model,
    tokens: idsOf(state),
    position: positionOf(state),
    top: CANDIDATES,
    ...question,
  });

// ---- what is done --------------------------------------------------------------------------

/** Take over a text as someone has typed it, with the caret where they left it. Where they put it in
 * the place of `all` that stood there, it is a text of its own, beside what the model had written. */
export function type(text, caret, all = false) {
  isTyped = true;
  set((state) => {
    const tokens = tokenize.edit(tokensOf(state), text);
    const isAnother = all && isWorthKeeping(state);
    const tree = isAnother
      ? trees.plant(treeOf(state), tokenize.edit([], text))
      : trees.replaceTokens(treeOf(state), tokens);
    const history = isAnother ? { ...state.history, label: null } : state.history;
    return { history: trees.step(history, tree, "typing"), caret, ended: "" };
  });
  stopTyping();
  wait(1);
  timer = setTimeout(measure, PAUSE);
}

/** Whether more was written than what a person typed alone. */
const isWorthKeeping = (state) =>
  !isEncoder(state) &&
  tokensOf(state).some(({ text }) => text) &&
  (treeOf(state).branches.length > 1 || tokensOf(state).some(({ text, mine }) => text && !mine));

/** Select a place of the text. */
export function select(caret) {
  const before = selectedOf(get());
  set({ caret });
  if (selectedOf(get()) !== before) {
    set((state) => ({ history: { ...state.history, label: null } }));
    ask();
  }
}

/** Select the token before or after the selected one. */
export function move(by) {
  const state = get();
  const tokens = tokensOf(state);
  const cells = tokenize.cellsOf(tokens);
  const now = cells.findIndex((cell) => selectedOf(state) <= cell.last);
  const next = Math.max((now < 0 ? cells.length : now) + by, 0);
  const number = next < cells.length ? cells[next].first : tokens.length;
  select(tokenize.placeOf(tokens, number));
}

export function openPanel(panel) {
  set({ panel });
  ask();
}

export function setSampling(patch) {
  set((state) => ({ sampling: { ...state.sampling, ...patch } }));
  ask();
}

export function setLayer(layer) {
  set({ layer });
  ask();
}

/** End the writing; what is written stays. */
export function stop() {
  const { writing } = get();
  writing?.abort();
  if (writing) set({ writing: null });
}

const KEPT = ["history", "caret", "odds", "lens", "attention", "source", "total", "ended"];
const putAside = (state) => Object.fromEntries(KEPT.map((name) => [name, state[name]]));
export const emptyDesk = () => putAside(start());

/** Put the text aside, and take up that of another desk: the one that is written, or the one of a
 * conversation. */
export function enter(desk) {
  if (get().desk === desk) return;
  stop();
  stopTyping();
  isTyped = false;
  set((state) => ({
    desk,
    desks: { ...state.desks, [state.desk]: putAside(state) },
    ...(state.desks[desk] ?? emptyDesk()),
  }));
  if (get().model) measure();
}

/** Take up a text that is known in tokens, with one of them selected. Of one that was kept while the
 * page was closed they are measured first. */
export function load(tokens, number, isKept = false) {
  const tree = trees.begin(tokens);
  const history = trees.record(isKept ? trees.doubt(tree) : tree);
  const nothing = tokens.length ? {} : { odds: null, lens: null, attention: null };
  set({ history, caret: tokenize.placeOf(tokens, number), source: null, ended: "", ...nothing });
  if (isKept) measure();
  else ask();
}

/** Return the models that are served, each {name, kind, task, columns, ...}. */
export async function readModels() {
  const { models } = await call("inspect");
  return models.map(({ model, id, ...facts }) => ({ ...facts, ...model, name: id }));
}

/** Return how a model writes before anybody moves a slider: as the command has it write. */
export function ownSampling(models, name) {
  const own = models.find((model) => model.name === name)?.writing ?? {};
  const known = Object.entries(own).filter(([key]) => key in PLAIN);
  return { sampling: { ...PLAIN, ...Object.fromEntries(known) } };
}

/** Take up another text, or another model: `isKnown` where its tokens are those of the model. */
export function adopt(patch, isKnown) {
  stop();
  stopTyping();
  isTyped = !isKnown;
  set(patch);
}
