/** The beginning: reads what can be shown, and shows it. */
import { html, render, useEffect, useLayoutEffect } from "./vendor/preact-htm.js";
import { Chat } from "./chat.js";
import { resume, start as startTalk } from "./conversation.js";
import { loadRuns, start as startRuns } from "./follow.js";
import { restore, startKeeping } from "./keeping.js";
import { KeysDialog, listen } from "./keys.js";
import { t } from "./messages.js";
import { Predict } from "./predict.js";
import { start as startQuestion } from "./question.js";
import { Read } from "./read.js";
import { Runs } from "./runs.js";
import { enter, measure, ownSampling, readModels, start } from "./session.js";
import { Header } from "./shell.js";
import { get, set, subscribe, useStore } from "./store.js";
import { Trouble } from "./ui.js";
import { Write } from "./write.js";

const VIEWS = { chat: Chat, write: Write, fill: Write, read: Read, predict: Predict, runs: Runs };
const REMEMBERED = ["language", "theme"];

function remembered(name, otherwise) {
  try {
    return localStorage.getItem(`nextword.${name}`) ?? otherwise;
  } catch {
    return otherwise; // the browser lets this page keep nothing
  }
}

function remember(state) {
  try {
    for (const name of REMEMBERED) localStorage.setItem(`nextword.${name}`, state[name]);
  } catch {
    // chosen anew the next time
  }
}

/** Return the views that a model has, the first one first. */
function viewsOf({ models, model, table }) {
  const { kind, task, chat } = models.find(({ name }) => name === model) ?? {};
  const views = [];
  if (task === "chat" || chat) views.push("chat");
  if (task && task !== "chat" && task !== "text") views.push("predict");
  else if (kind === "encoder") views.push("fill", "read");
  else if (kind === "decoder") views.push("write", "read");
  if (table) views.push("runs");
  return views;
}

function App() {
  const view = useStore((state) => state.view);
  const language = useStore((state) => state.language);
  const theme = useStore((state) => state.theme);
  const dialog = useStore((state) => state.dialog);
  const error = useStore((state) => state.failed);
  for (const name of ["models", "model", "table"]) useStore((state) => state[name]);
  useLayoutEffect(() => {
    const root = document.documentElement;
    root.lang = language === "zh" ? "zh-CN" : "en";
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
  }, [language, theme]);
  const views = useStore((state) => state.ready) ? viewsOf(get()) : [];
  const shown = views.includes(view) ? view : views[0];
  useEffect(() => {
    showBusy(get());
    if (!shown) return;
    if (shown !== view) set({ view: shown });
    enter(shown === "chat" ? "chat" : "text");
    if (shown === "chat") resume();
  }, [shown, view]);
  const View = VIEWS[shown];
  const noView = useStore((state) => state.ready && !state.failed) && !View;
  return html`<${Header} key=${language} views=${views} />
    <main id="main" key=${`${shown} ${language}`}>
      <${Trouble} error=${error} />
      ${View && html`<${View} />`} ${noView && html`<p class="quiet">${t("noView")}</p>`}
    </main>
    ${dialog === "keys" && html`<${KeysDialog} />`}`;
}

/** Tell those who cannot see it that something is still being worked out. */
function showBusy({ waiting, writing, ready }) {
  const main = document.getElementById("main");
  main?.setAttribute("aria-busy", String(waiting > 0 || Boolean(writing) || !ready));
}

/** The view is in the address, so that it can be kept and gone back from. */
function followAddress() {
  const view = location.hash.slice(1);
  if (view in VIEWS) set({ view });
}

/** Return the model to begin with: the one in the address, else that of the newest run. */
function firstOf(models) {
  const names = new Set(models.map(({ name }) => name));
  const wanted = [
    new URLSearchParams(location.search).get("model"),
    ...(get().table?.runs ?? []).map(({ name }) => name),
    ...names,
  ];
  return wanted.find((name) => names.has(name)) ?? null;
}

async function begin() {
  set({
    ...start(),
    ...startTalk(),
    ...startQuestion(),
    ...startRuns(),
    models: [],
    model: null,
    view: "",
    language: remembered("language", navigator.language.startsWith("zh") ? "zh" : "en"),
    theme: remembered("theme", "auto"),
    dialog: null,
    ready: false, // it is known what there is to show
    failed: null, // what keeps the page from beginning
  });
  subscribe((state) => {
    showBusy(state);
    remember(state);
  });
  listen();
  followAddress();
  addEventListener("hashchange", followAddress);
  render(html`<${App} />`, document.getElementById("app"));
  try {
    await loadRuns();
    const models = await readModels();
    const model = firstOf(models);
    set({ models, model, ...ownSampling(models, model) });
    restore();
    startKeeping();
    set({ ready: true });
    if (models.length) await measure();
  } catch (error) {
    set({ ready: true, failed: { status: error.status, message: error.message } });
  }
}

begin();
