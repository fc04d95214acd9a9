/** A record that a fine-tuned model is asked about, its answer, and what that says of the text. */
import { call, latest } from "./api.js";
import { modelOf } from "./session.js";
import { get, set } from "./store.js";
import { codePointPlaces } from "./tokens.js";

const PAUSE = 250; // milliseconds without typing after which the model is asked
const COLOURS = 6;

export const start = () => ({
  row: {}, // the texts by column
  label: null, // whose words are asked for; null: the predicted one
  answer: null,
});

/** Some models write their answer word by word: they are asked by a button, not while one types. */
export const isWritten = (model) => ["summarize", "translate"].includes(model.task);

let timer = 0;

export function change(column, text) {
  set((state) => ({ row: { ...state.row, [column]: text }, label: null }));
  clearTimeout(timer);
  if (!isWritten(modelOf(get()))) timer = setTimeout(ask, PAUSE);
}

/** Take over a whole record. */
export function take(row) {
  set({ row, label: null });
  return ask();
}

/** Ask which words speak for a label. */
export function explain(label) {
  set({ label });
  return ask();
}

const askNow = latest((signal, question) => call("inspect", question, signal));

/** Ask the model about the record as it is. */
export async function ask() {
  const { row, label, model } = get();
  const { columns, task } = modelOf(get());
  if (columns.some((column) => !row[column]?.trim())) return set({ answer: null });
  const want = task === "classify" ? ["prediction", "words"] : ["prediction"];
  const question = { model, row, want, ...(label === null ? {} : { label }) };
  set(({ waiting }) => ({ waiting: waiting + 1 }));
  try {
    const answer = await askNow(question);
    if (answer) set({ answer: { ...answer, row }, error: null });
  } catch (error) {
    set({ error: { status: error.status, message: error.message } });
  }
  set(({ waiting }) => ({ waiting: waiting - 1 }));
}

/** Return a colour for each label of some entities, by number. */
export function coloursOf(entities) {
  const labels = [...new Set(entities.map(({ label }) => label))].sort();
  return Object.fromEntries(labels.map((label, number) => [label, number % COLOURS]));
}

/** Return what an answer says of a column's text: [{start, end, ...}] in code points. */
export function marksOf(answer, task, column) {
  if (!answer?.prediction) return [];
  const { prediction, words, row } = answer;
  if (words && words.column === column) return words.words;
  if (prediction.entities) {
    const colours = coloursOf(prediction.entities);
    return prediction.entities.map((entity) => ({ ...entity, colour: colours[entity.label] }));
  }
  const inContext = task === "qa" && prediction.start !== undefined && column !== "question";
  const characters = inContext ? Array.from(row[column] ?? "") : [];
  const found = characters.slice(prediction.start, prediction.end).join("");
  return found && found === prediction.answer ? [{ start: prediction.start, end: prediction.end }] : [];
}

/** Return a text in parts, each a token to draw, with the mark that lies on it. */
export function partsOf(text, marks) {
  const places = codePointPlaces(text);
  const parts = [];
  let at = 0;
  const add = (from, to, mark) => {
    if (to <= from) return;
    const part = text.slice(from, to);
    parts.push({ id: from, text: part, special: false, bits: null, mine: true, mark });
  };
  for (const mark of [...marks].sort((a, b) => a.start - b.start)) {
    const [from, to] = [places[mark.start], places[mark.end]];
    if (from === undefined || to === undefined || from < at) continue; // of an older text
    add(at, from, null);
    add(from, to, mark);
    at = to;
  }
  add(at, text.length, null);
  return parts;
}
