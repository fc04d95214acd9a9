/** Texts and their tokens. A token is {id, text, bits, rank, special, mine}: `text` is what it adds
 * to the text, "" for control tokens and for all but the last part of a character; `id` is null
 * where the tokenizer has not yet seen the text; `mine` is true where a person wrote it.
 *
 * Places are those of JavaScript's strings, in UTF-16; the server counts code points. */

export const textOf = (tokens) => tokens.map((token) => token.text).join("");

/** Return tokens as the server describes them, with their surprise, as the page keeps them. */
export function fromServer(tokens, surprise, before = []) {
  const read = tokens.map((token, number) => ({
    id: token.id,
    name: token.name,
    text: token.text,
    special: token.special,
    bits: surprise?.bits[number] ?? null,
    rank: surprise?.ranks[number] ?? null,
    mine: true,
  }));
  return keepWriters(read, before);
}

/** Say of tokens who wrote them where they are the ones of `before`, at its beginning or end. */
function keepWriters(tokens, before) {
  const shorter = Math.min(tokens.length, before.length);
  let head = 0;
  while (head < shorter && tokens[head].id === before[head].id) {
    tokens[head].mine = before[head].mine;
    head += 1;
  }
  for (let tail = 1; tail <= shorter - head; tail += 1) {
    const old = before[before.length - tail];
    if (tokens[tokens.length - tail].id !== old.id) break;
    tokens[tokens.length - tail].mine = old.mine;
  }
  return tokens;
}

/** Return tokens for a text that was edited: what did not change stays, the rest is one token that
 * has no id yet. */
export function edit(tokens, text) {
  const old = textOf(tokens);
  if (old === text) return tokens;
  const shorter = Math.min(old.length, text.length);
  let head = 0;
  while (head < shorter && old[head] === text[head]) head += 1;
  let tail = 0;
  while (tail < shorter - head && old[old.length - 1 - tail] === text[text.length - 1 - tail])
    tail += 1;
  const before = [];
  const after = [];
  let start = 0;
  for (const token of tokens) {
    const end = start + token.text.length;
    if (end <= head && (token.text || token.special || end < head)) before.push(token);
    else if (start >= old.length - tail) after.push(token);
    start = end;
  }
  const from = textOf(before).length;
  const until = text.length - textOf(after).length;
  const changed = { id: null, text: text.slice(from, until), bits: null, rank: null, mine: true };
  return [...before, ...(changed.text ? [changed] : []), ...after];
}

/** Return a candidate of some odds as a token that is taken into the text: by a person. */
export const fromCandidate = ({ id, name, text, special, before }) => ({
  id,
  name,
  text: special ? "" : text,
  special,
  bits: before > 0 ? -Math.log2(before) : null,
  rank: null,
  mine: true,
});

export const isKnown = (tokens) => tokens.every((token) => token.id !== null);

/** Return the number of the token at a place of the text: the one that comes next there, the
 * number of all tokens at the text's end. The first part of a character stands for all of it. */
export function tokenAt(tokens, place) {
  let end = 0;
  for (let number = 0; number < tokens.length; number += 1) {
    end += tokens[number].text.length;
    if (end > place) {
      while (number > 0 && tokens[number - 1].text === "" && !tokens[number - 1].special)
        number -= 1;
      return number;
    }
  }
  return tokens.length;
}

/** Return where a token begins in the text. */
export const placeOf = (tokens, number) => textOf(tokens.slice(0, number)).length;

/** Return cells to draw, one a character or more: {first, last, text, bits}, numbers of tokens. */
export function cellsOf(tokens) {
  const cells = [];
  let first = null;
  let bits = null;
  tokens.forEach((token, number) => {
    if (token.special && !token.text) return;
    first ??= number;
    if (token.bits !== null) bits = (bits ?? 0) + token.bits;
    if (!token.text) return;
    cells.push({ first, last: number, text: token.text, bits, token });
    first = bits = null;
  });
  return cells;
}

/** Return the place in UTF-16 of each code point in a text, and of its end. */
export function codePointPlaces(text) {
  const places = [];
  let place = 0;
  for (const character of text) {
    places.push(place);
    place += character.length;
  }
  places.push(place);
  return places;
}
