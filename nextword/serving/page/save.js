/** What is on the screen, as one HTML file that needs nothing else: no server, script or network. */
import { t } from "./messages.js";
import { get } from "./store.js";

const STYLES = ["page/vendor/uplot.css", "page/page.css"];
const INERT = "nav, .tools, .skip, .actions, .actions-of, .composer, .remove, .link, .primary, dialog";
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:";

/** Let a person keep the page as it is now. */
export async function save() {
  const content = await pageAsText();
  const address = URL.createObjectURL(new Blob([content], { type: "text/html" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${(get().model ?? "nextword").replace(/[^\p{L}\p{N}._-]+/gu, "-")}.html`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

async function pageAsText() {
  const { lang, dataset } = document.documentElement;
  const { model } = get();
  const note = document.createElement("footer");
  const date = new Date().toLocaleDateString(lang);
  note.textContent = t("savedNote", { model: model ?? "–", date });
  const content = still(document.getElementById("app"));
  content.append(note);
  const title = document.createElement("title");
  title.textContent = `${model ?? "runs"} · nextword`;
  const styles = (await Promise.all(STYLES.map(styleOf))).join("\n");
  return `<!doctype html>
<html lang="${lang}"${dataset.theme ? ` data-theme="${dataset.theme}"` : ""}>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
${title.outerHTML}
<style>${styles}</style>
</head>
<body>${content.outerHTML}</body>
</html>
`;
}

/** Return a copy of what is shown in which nothing can be done, and nothing is hidden that was
 * only drawn. */
function still(app) {
  const copy = app.cloneNode(true);
  const originals = app.querySelectorAll("canvas, select, input, textarea");
  copy.querySelectorAll("canvas, select, input, textarea").forEach((element, number) => {
    element.replaceWith(...pictureOf(originals[number]));
  });
  for (const element of copy.querySelectorAll(`${INERT}, [role=radio][aria-checked=false]`))
    element.remove();
  for (const button of copy.querySelectorAll("button")) {
    const line = document.createElement("div");
    line.className = button.className;
    line.append(...button.childNodes);
    button.replaceWith(line);
  }
  for (const group of copy.querySelectorAll("[role=radiogroup]")) group.removeAttribute("role");
  for (const text of copy.querySelectorAll(".mirror")) text.removeAttribute("aria-hidden");
  for (const element of copy.querySelectorAll("[tabindex]")) element.removeAttribute("tabindex");
  return copy;
}

/** Return what stands for a control or a drawing once nothing moves any more. */
function pictureOf(element) {
  if (element.matches("canvas")) {
    const picture = document.createElement("img");
    picture.src = element.toDataURL();
    picture.alt = "";
    picture.style.cssText = "display: block; width: 100%; height: 100%; position: relative";
    return [picture];
  }
  if (element.matches("select")) return [element.selectedOptions[0]?.textContent ?? ""];
  if (element.matches(".editor textarea, .composer textarea, [type=range]")) return [];
  if (element.matches("[type=checkbox]")) return [element.checked ? "✓ " : "– "];
  return [element.value];
}

/** Return a style sheet with the fonts that it names inside it. */
async function styleOf(path) {
  let text = await (await fetch(path)).text();
  for (const [whole, file] of text.matchAll(/url\("(vendor\/[^"]+)"\)/g)) {
    const bytes = new Uint8Array(await (await fetch(`page/${file}`)).arrayBuffer());
    let binary = "";
    for (const byte of bytes) binary += String.fromCharCode(byte);
    text = text.replace(whole, `url("data:font/woff2;base64,${btoa(binary)}")`);
  }
  return text.replaceAll("</", "<\\/");
}
