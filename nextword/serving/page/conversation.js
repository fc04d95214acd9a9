/** A conversation: turns, each answer in one or more versions, and everything undone at will.
 *
 * A turn is {role: "user", text} or {role: "assistant", versions, shown}; a version is {prompt,
 * tokens}: the ids that it goes on from, as the model's template renders the turns before it. An
 * answer that is looked into becomes the session's text, with its prompt before it. */
import { call } from "./api.js";
import { generate } from "./generation.js";
import { t } from "./messages.js";
import { contextOf, load, stop } from "./session.js";
import { get, set } from "./store.js";
import { fromCandidate, textOf } from "./tokens.js";
import * as trees from "./tree.js";
import { count } from "./ui.js";

export const start = () => ({
  talk: trees.record({ system: "", turns: [] }),
  draft: "",
  openTurn: null, // the number of the answer that is looked into
  restoredTalk: false, // whether it is one that was kept while the page was closed
  keptTalk: "all", // "talk" where it will not be
});

export const turnsOf = (state) => state.talk.present.turns;
export const shownOf = (turn) => turn.versions[turn.shown];

const step = (turns, label = null) =>
  set(({ talk }) => ({ talk: trees.step(talk, { ...talk.present, turns }, label) }));

export const setSystem = (system) =>
  set(({ talk }) => ({ talk: trees.step(talk, { ...talk.present, system }, "system") }));

const messagesOf = ({ system, turns }) => [
  ...(system.trim() ? [{ role: "system", content: system }] : []),
  ...turns.map((turn) =>
    turn.role === "user"
      ? { role: "user", content: turn.text }
      : { role: "assistant", content: textOf(shownOf(turn).tokens) },
  ),
];

/** Put the turns away, for a new conversation; that can be undone. */
export function begin() {
  stop();
  step([]);
  set({ openTurn: null });
  load([], 0);
}

/** Say something, and let the model answer. */
export async function say(text) {
  step([...turnsOf(get()), { role: "user", text }], "exchange");
  set({ draft: "" });
  await answer();
}

/** Let the model answer the last question once more, beside the answers it has given. */
export async function retry() {
  await answer();
}

/** Answer the last question: a new version where it has been answered before. */
async function answer() {
  stop();
  const { present } = get().talk;
  const turns = [...present.turns];
  const before = turns.at(-1)?.role === "assistant" ? turns.pop() : null;
  if (!turns.length) return;
  const controller = new AbortController();
  set({ writing: controller, error: null });
  try {
    const question = { model: get().model, messages: messagesOf({ ...present, turns }), want: ["tokens"] };
    const { tokens: prompt } = await call("inspect", question, controller.signal);
    await write(turns, before, { prompt: prompt.map(asPrompt), tokens: [] }, controller);
  } catch (error) {
    end(controller, error);
  }
}

const asPrompt = ({ id, name, text, special }) => ({
  id, name, text, special, bits: null, rank: null, mine: true,
});

/** Write a version of the answer to some turns, from the tokens that it has already. */
async function write(turns, before, version, controller) {
  const versions = [...(before?.versions ?? []), version];
  const answered = (now) => [
    ...turns,
    { role: "assistant", versions: [...versions.slice(0, -1), now], shown: versions.length - 1 },
  ];
  step(answered(version), "exchange"); // the question and its answer are undone together
  set({ writing: controller, error: null, openTurn: null });
  let now = version;
  const ids = [...version.prompt, ...version.tokens].map(({ id }) => id);
  const { model, sampling, length } = get();
  const context = contextOf(get());
  const room = context - ids.length;
  const request = { model, sampling, prompt: ids, count: Math.min(Math.max(length, 200), room) };
  try {
    if (room <= 0) throw new Error(t("talkIsFull", { n: count(context) }));
    await generate(request, controller.signal, (more) => {
      now = { ...now, tokens: [...now.tokens, ...more] };
      set(({ talk }) => ({ talk: trees.amend(talk, { ...talk.present, turns: answered(now) }) }));
    });
    end(controller);
  } catch (error) {
    end(controller, error);
  }
  if (get().talk.present.turns.length === turns.length + 1 && now.tokens.length)
    select(turns.length, now.tokens.length);
}

function end(controller, error) {
  set(({ talk }) => ({ talk: { ...talk, label: null } }));
  if (get().writing === controller) set({ writing: null });
  if (error && error.name !== "AbortError")
    set({ error: { status: error.status, message: error.message } });
}

/** Look into an answer, at one of its tokens or, after the last one, at what would come next. */
export function select(number, token) {
  const { prompt, tokens } = shownOf(turnsOf(get())[number]);
  const isKept = get().restoredTalk; // its tokens may be those of another vocabulary
  set({ openTurn: number });
  load([...prompt, ...tokens], prompt.length + token, isKept);
}

/** Look into the last answer, of a conversation that is come back to. */
export function resume() {
  const state = get();
  const number = turnsOf(state).length - 1;
  if (state.openTurn !== null || state.writing || turnsOf(state)[number]?.role !== "assistant") return;
  select(number, shownOf(turnsOf(state)[number]).tokens.length);
}

/** Go on with a candidate at the selected place of the answer that is looked into. */
export async function take(candidate, at) {
  stop();
  const number = get().openTurn;
  const turns = turnsOf(get());
  const turn = turns[number];
  if (turn?.role !== "assistant") return;
  const { prompt, tokens } = shownOf(turn);
  const before = tokens.slice(0, at - prompt.length);
  const controller = new AbortController();
  const version = { prompt, tokens: before };
  if (candidate.special) controller.abort(); // a control token ends the answer
  else version.tokens = [...before, fromCandidate(candidate)];
  await write(turns.slice(0, number), turn, version, controller);
}

/** Show another version of an answer; what was said after it is gone until undone. */
export function show(number, shown) {
  const turns = turnsOf(get());
  step([...turns.slice(0, number), { ...turns[number], shown }]);
  const { tokens } = shownOf(turnsOf(get())[number]);
  select(number, tokens.length);
}

const travel = (how) => () => {
  stop();
  set(({ talk }) => ({ talk: how(talk), openTurn: null }));
  load([], 0);
};
export const undo = travel(trees.undo);
export const redo = travel(trees.redo);
