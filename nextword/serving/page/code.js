/** Whether a text is program code, which is set in a face whose letters are all of one width. */

const LOOKED_AT = 4000; // characters
const SHARE = 0.4; // of the lines

// How lines of the usual languages begin, and how they end.
const BEGINNING =
  /^\s*(@\w|#include|#define|(def|class|function|fn|func|struct|enum|interface|namespace|package) \w|(import|from|using|const|let|var|return|public|private|static|async|elif|self)\b[ .]?.*[\w)};'"\]]$|(if|for|while|else|try|except|with|switch|match)\b.*[:{]$)/;
const ENDING = /[;{}]$|^\s*[\w.[\]"']+ ?[-+*/|&:]?= ?\S|^\s*[\w.]+\(.*\)?[,:]?$/;

/** Tell whether a text looks like code: many of its lines do, and a line of prose never begins so. */
export function isCode(text) {
  const lines = text.slice(0, LOOKED_AT).split("\n").filter((line) => line.trim());
  const alike = lines.filter((line) => BEGINNING.test(line) || ENDING.test(line.trimEnd()));
  return lines.length > 0 && alike.length >= lines.length * SHARE;
}
