/** What was written, as a tree of branches, and everything that was done to it, to be undone.
 *
 * A branch is {id, parent, at, tokens}: it leaves its parent's text at token `at` and holds all of
 * its own tokens. Nothing here is ever changed in place. */

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

/** Return the tree with a new current branch: the first `at` tokens of the one before, then `more`.
 * At the end of a text there is nothing to part from, and the branch itself grows. */
export function fork(tree, at, more) {
  const { id, tokens } = currentOf(tree);
  const grown = [...tokens.slice(0, at), ...more];
  if (at >= tokens.length) return replaceTokens(tree, grown);
  const same = tree.branches.find((b) => sameIds(b.tokens, grown));
  if (same) return { ...tree, current: same.id };
  const branch = { id: tree.next, parent: id, at, tokens: grown };
  return { branches: [...tree.branches, branch], current: branch.id, next: tree.next + 1 };
}

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

const sameIds = (a, b) =>
  a.length === b.length && a.every((token, number) => token.id !== null && token.id === b[number].id);

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
