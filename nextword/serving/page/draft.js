/** What was written with each model, and said to it, kept in this browser, so that it is there again
 * after the page was closed. Nothing of it is sent anywhere. */

const TEXT = "nextword.draft.";
const TALK = "nextword.talk.";
const LONGEST = 500_000; // characters that are stored of one model's text and branches, or its talk
const MOST = 2_000_000; // ... of all together: the models used longest ago make room

const held = new Map(); // for as long as the page is open, however long the texts are

/** Keep what is written with a model. Returns how much of it will be there when the page is opened
 * again: "all", "text" where its branches are too much, "nothing" where it is too long itself or the
 * browser keeps nothing. */
export function keep(model, tree, settings) {
  const name = TEXT + model;
  if (!tree.branches.some(({ tokens }) => tokens.some(({ text }) => text))) return forget(name);
  held.set(name, { tree, settings });
  const current = tree.branches.find(({ id }) => id === tree.current);
  const alone = { ...tree, branches: [{ ...current, parent: null, at: 0 }] };
  if (store(name, { settings, tree: packed(tree) })) return "all";
  if (tree.branches.length > 1 && store(name, { settings, tree: packed(alone) })) return "text";
  store(name, null); // what was written before is no longer what is on the screen
  return "nothing";
}

/** Whether a conversation is kept already as it is: one is never changed in place. */
export const isHeld = (model, talk) => held.get(TALK + model) === talk;

/** Keep a conversation with a model: returns "all", or "talk" where it is too much. */
export function keepTalk(model, talk) {
  const name = TALK + model;
  if (!talk.turns.length && !talk.system) return forget(name);
  held.set(name, talk);
  return store(name, { talk: mapTokens(talk, pack) }) ? "all" : "talk";
}

/** Return {tree, settings} as they were kept of a model, null where there are none. */
export const kept = (model) =>
  read(TEXT + model, ({ settings, tree }) => ({ settings, tree: unpacked(tree) }));

/** Return the conversation with a model as it was kept, null where there is none. */
export const keptTalk = (model) => read(TALK + model, ({ talk }) => mapTokens(talk, unpack));

function read(name, unpackedOf) {
  if (held.has(name)) return held.get(name);
  try {
    return unpackedOf(JSON.parse(localStorage.getItem(name)));
  } catch {
    return null; // nothing, or nothing that we wrote
  }
}

function forget(name) {
  held.delete(name);
  store(name, null);
  return "all";
}

/** Store a draft, or take it out where it is null; returns whether that could be done. */
function store(name, draft) {
  try {
    localStorage.removeItem(name);
    if (!draft) return true;
    const content = JSON.stringify({ at: Date.now(), ...draft });
    if (content.length > LONGEST) return false;
    makeRoom(content.length);
    localStorage.setItem(name, content);
    return true;
  } catch {
    return false; // no room, or none for this page
  }
}

function makeRoom(needed) {
  const drafts = Object.keys(localStorage)
    .filter((name) => name.startsWith(TEXT) || name.startsWith(TALK))
    .map((name) => [name, localStorage.getItem(name)])
    .sort(([, one], [, other]) => ageOf(other) - ageOf(one)); // the newest first
  let room = MOST - needed;
  for (const [name, content] of drafts) {
    room -= content.length;
    if (room < 0) localStorage.removeItem(name);
  }
}

const ageOf = (content) => Number(/^{"at":(\d+)/.exec(content)?.[1] ?? 0);

const pack = ({ id, text, mine, special, name }) =>
  special ? [id, text, mine, name] : [id, text, mine];
const unpack = ([id, text, mine, name]) => ({
  ...{ id, text, mine, name, special: name !== undefined, bits: null, rank: null },
});

const repacked = (how) => (tree) => ({
  ...tree,
  branches: tree.branches.map((branch) => ({ ...branch, tokens: branch.tokens.map(how) })),
});
const packed = repacked(pack);
const unpacked = repacked(unpack);

const mapTokens = (talk, how) => ({
  ...talk,
  turns: talk.turns.map((turn) => {
    if (turn.role === "user") return turn;
    const versions = turn.versions.map(({ prompt, tokens }) => ({
      prompt: prompt.map(how),
      tokens: tokens.map(how),
    }));
    return { ...turn, versions };
  }),
});
