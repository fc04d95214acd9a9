/** What was written, as a tree of branches, and everything that was done to it, to be undone.
 *
 * A branch is {id, parent, at, tokens}: it leaves its parent's text at token `at` and holds all of
 * its own tokens; one without a parent is a text of its own. One that was kept while the page was
 * closed is `kept` until its tokens are known to be those of the model. Nothing here is ever changed in place. */

const LONGEST_PAST = 500;

export const begin = (tokens = []) => ({
  branches: [{ id: 1, parent: null, at: 0, tokens }],
  current: 1,
  next: 2,
});

export const currentOf = (tree) => tree.branches.find((branch) => branch.id === tree.current);

/** Return the tree with other tokens on its current branch. */
export function replaceTokens(tree, tokens) {
  return {
    ...tree,
    branches: tree.branches.map((b) => (b.id === tree.current ? { ...b, tokens } : b)),
  };
}

/** Return the tree with branches whose tokens may not be those of the model. */
export const doubt = (tree) => ({
  ...tree,
  branches: tree.branches.map((branch) => ({ ...branch, kept: true })),
});

/** Return the tree with the tokens that the model itself finds in the current branch. */
export function settle(tree, tokens) {
  const now = replaceTokens(tree, tokens);
  const sure = (b) => (b.id === tree.current ? { ...b, kept: false } : b);
  return { ...now, branches: now.branches.map(sure) };
}

/** Return the tree with a new current branch: the first `at` tokens of the one before, then `more`.
 * At the end of a text there is nothing to part from, and the branch itself grows. The new one hangs
 * under the branch whose words it leaves: not under one whose own words it does not share. */
export function fork(tree, at, more) {
  const { tokens } = currentOf(tree);
  const grown = [...tokens.slice(0, at), ...more];
  if (at >= tokens.length) return replaceTokens(tree, grown);
  const same = tree.branches.find((b) => sameIds(b.tokens, grown));
  if (same) return { ...tree, current: same.id };
  let left = currentOf(tree);
  while (left.parent !== null && at <= left.at)
    left = tree.branches.find(({ id }) => id === left.parent);
  return grow(tree, { parent: left.id, at, tokens: grown });
}

/** Return the tree with a text that shares nothing with the others as its current branch. */
export const plant = (tree, tokens) => grow(tree, { parent: null, at: 0, tokens });

const grow = (tree, branch) => ({
  branches: [...tree.branches, { id: tree.next, ...branch }],
  current: tree.next,
  next: tree.next + 1,
});

/** Return the tree as it is after the current branch was edited: where branches leave one another is
 * where their words part, and one that shares no word with its parent is a tree of its own. */
export function retie(tree) {
  const texts = new Map(tree.branches.map((branch) => [branch.id, branch.tokens]));
  const branches = tree.branches.map((branch) => {
    if (branch.parent === null || ![branch.id, branch.parent].includes(tree.current)) return branch;
    const both = [branch.tokens, texts.get(branch.parent)];
    if (both.flat().some(({ id }) => id === null)) return branch; // not cut into tokens yet
    const at = Math.min(branch.at, shared(...both));
    if (at === branch.at) return branch;
    const hasWords = branch.tokens.slice(0, at).some((token) => token.text);
    return { ...branch, at: hasWords ? at : 0, parent: hasWords ? branch.parent : null };
  });
  return { ...tree, branches };
}

/** How many tokens two texts begin with alike. */
function shared(tokens, others) {
  let at = 0;
  while (at < tokens.length && at < others.length && isSame(tokens[at], others[at])) at += 1;
  return at;
}

/** Return a tree with the branches of another beside its own, what is in both once, and the text
 * that is current in the other as the current one. */
export function join(tree, other) {
  const now = new Map([[null, null]]); // what the other's branches are called here
  let joined = tree;
  for (const branch of other.branches) {
    const known = joined.branches.find((b) => textOf(b) === textOf(branch));
    if (!known) joined = grow(joined, { ...branch, id: joined.next, parent: now.get(branch.parent) });
    now.set(branch.id, known?.id ?? joined.current);
  }
  return { ...joined, current: now.get(other.current) };
}

const textOf = (branch) => branch.tokens.map(({ text }) => text).join("");

export const open = (tree, id) => ({ ...tree, current: id });

/** Return the tree without a branch; those that left it hang where it hung. */
export function remove(tree, id) {
  const gone = tree.branches.find((branch) => branch.id === id);
  if (!gone || tree.branches.length === 1) return tree;
  const branches = tree.branches
    .filter((branch) => branch !== gone)
    .map((b) => (b.parent === id ? { ...b, parent: gone.parent, at: Math.min(b.at, gone.at) } : b));
  const current = tree.current === id ? (gone.parent ?? branches[0].id) : tree.current;
  return { ...tree, branches, current };
}

/** Return the branches in the order of a tree, with their depth: what left earlier comes later,
 * as in an outline that is read along the text. */
export function outline(tree) {
  const rows = [];
  const walk = (parent, depth) => {
    const children = tree.branches.filter((branch) => branch.parent === parent);
    children.sort((a, b) => a.at - b.at || a.id - b.id);
    for (const branch of children) {
      rows.push({ ...branch, depth });
      walk(branch.id, depth + 1);
    }
  };
  walk(null, 0);
  return rows;
}

const isSame = (token, other) => token.id !== null && token.id === other.id;

const sameIds = (a, b) =>
  a.length === b.length && a.every((token, number) => isSame(token, b[number]));

/** The present and what was before and after it. */
export const record = (present) => ({ past: [], present, future: [] });

/** Return the record with a new present. Steps with the same `label` that follow each other, such
 * as letters that are typed, are one step. */
export function step(history, present, label = null) {
  const { past, present: before } = history;
  const joins = label !== null && history.label === label;
  return {
    past: joins ? past : [...past.slice(-LONGEST_PAST), before],
    present,
    future: [],
    label,
  };
}

/** Return the record with another present that is no step of its own. */
export const amend = (history, present) => ({ ...history, present });

export function undo({ past, present, future }) {
  return past.length
    ? { past: past.slice(0, -1), present: past.at(-1), future: [present, ...future] }
    : { past, present, future };
}

export function redo({ past, present, future }) {
  return future.length
    ? { past: [...past, present], present: future[0], future: future.slice(1) }
    : { past, present, future };
}
