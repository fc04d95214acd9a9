/** What was written with each model, kept in this browser, so that it is there again after the page
 * was closed. Nothing of it is sent anywhere. */

const PREFIX = "nextword.draft.";
const LONGEST = 500_000; // characters that are stored of one model's text and branches
const MOST = 2_000_000; // ... of all together: the models used longest ago make room

const held = new Map(); // for as long as the page is open, however long the texts are

/** Keep what is written with a model. Returns how much of it will be there when the page is opened
 * again: "all", "text" where its branches are too much, "nothing" where it is too long itself or the
 * browser keeps nothing. */
export function keep(model, tree, settings) {
  held.set(model, { tree, settings });
  if (!tree.branches.some(({ tokens }) => tokens.some(({ text }) => text))) {
    held.delete(model);
    store(model, null);
    return "all";
  }
  const current = tree.branches.find(({ id }) => id === tree.current);
  const alone = { ...tree, branches: [{ ...current, parent: null, at: 0 }] };
  if (store(model, { settings, tree: packed(tree) })) return "all";
  if (tree.branches.length > 1 && store(model, { settings, tree: packed(alone) })) return "text";
  store(model, null); // what was written before is no longer what is on the screen
  return "nothing";
}

/** Return {tree, settings} as they were kept of a model, null where there are none. */
export function kept(model) {
  if (held.has(model)) return held.get(model);
  try {
    const { settings, tree } = JSON.parse(localStorage.getItem(PREFIX + model));
    return { settings, tree: unpacked(tree) };
  } catch {
    return null; // nothing, or nothing that we wrote
  }
}

/** Store a draft, or take it out where it is null; returns whether that could be done. */
function store(model, draft) {
  const name = PREFIX + model;
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
    .filter((name) => name.startsWith(PREFIX))
    .map((name) => [name, localStorage.getItem(name)])
    .sort(([, one], [, other]) => ageOf(other) - ageOf(one)); // the newest first
  let room = MOST - needed;
  for (const [name, content] of drafts) {
    room -= content.length;
    if (room < 0) localStorage.removeItem(name);
  }
}

const ageOf = (content) => Number(/^{"at":(\d+)/.exec(content)?.[1] ?? 0);

const packed = (tree) => ({
  ...tree,
  branches: tree.branches.map((branch) => ({
    ...branch,
    tokens: branch.tokens.map(({ id, text, mine, special, name }) =>
      special ? [id, text, mine, name] : [id, text, mine],
    ),
  })),
});

const unpacked = (tree) => ({
  ...tree,
  branches: tree.branches.map((branch) => ({
    ...branch,
    tokens: branch.tokens.map(([id, text, mine, name]) => ({
      ...{ id, text, mine, name, special: name !== undefined, bits: null, rank: null },
    })),
  })),
});
