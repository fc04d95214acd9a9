/** The page around the views: the model's name, the way from view to view, and what holds for all. */
import { html } from "./vendor/preact-htm.js";
import { useModel } from "./keeping.js";
import { t } from "./messages.js";
import { save } from "./save.js";
import { modelOf } from "./session.js";
import { set, useStore } from "./store.js";
import { count } from "./ui.js";

const THEMES = ["auto", "light", "dark"];

export function Header({ views }) {
  const view = useStore((state) => state.view);
  return html`<header>
    <a class="skip" href="#main">${t("skip")}</a>
    <${Model} />
    <nav aria-label=${t("views")}>
      ${views.map(
        (name) =>
          html`<a key=${name} href=${`#${name}`} aria-current=${name === view ? "page" : undefined}
            >${t(name)}</a
          >`,
      )}
    </nav>
    <${Tools} />
  </header>`;
}

function Model() {
  const models = useStore((state) => state.models);
  const model = useStore(modelOf);
  if (!model) return html`<div class="model"><h1>nextword</h1></div>`;
  const facts = { family: model.family, layers: model.layers, context: count(model.context_length) };
  return html`<div class="model">
    <h1>
      ${models.length > 1
        ? html`<span class="picker"
            >${model.name}
            <select
              aria-label=${t("model")}
              onChange=${(event) => useModel(event.target.value)}
            >
              ${models.map(
                ({ name }) =>
                  html`<option key=${name} value=${name} selected=${name === model.name}>${name}</option>`,
              )}
            </select></span
          >`
        : model.name}
    </h1>
    <p>${t("modelFacts", facts)}</p>
  </div>`;
}

function Tools() {
  const theme = useStore((state) => state.theme);
  const language = useStore((state) => state.language);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  const words = { auto: "themeAuto", light: "themeLight", dark: "themeDark" }[theme];
  return html`<div class="tools">
    <button type="button" onClick=${save}>${t("save")}</button>
    <button type="button" onClick=${() => set({ dialog: "keys" })}>${t("shortcuts")}</button>
    <button
      type="button"
      lang=${language === "zh" ? "en" : "zh"}
      onClick=${() => set({ language: language === "zh" ? "en" : "zh" })}
    >
      ${t("language")}
    </button>
    <button
      type="button"
      class=${`theme ${theme}`}
      aria-label=${t(words)}
      title=${t(words)}
      onClick=${() => set({ theme: next })}
    ></button>
  </div>`;
}
