/** What each layer would say at the selected place, and where its heads look from there. */
import { html } from "./vendor/preact-htm.js";
import { t } from "./messages.js";
import { setLayer, tokensOf } from "./session.js";
import { set, useStore } from "./store.js";
import { BarRow, count, percent, Rows, TokenText } from "./ui.js";

export function Layers() {
  const lens = useStore((state) => state.lens);
  if (!lens) return html`<p class="quiet">${t("layersEmpty")}</p>`;
  return html`<div class="layers"><${Lens} lens=${lens} /><${Heads} /></div>`;
}

function Lens({ lens }) {
  const chosen = useStore((state) => state.attention?.layer);
  const last = lens.layers.length - 1;
  const rows = lens.layers.map(({ layer, at }) => {
    const [{ top, follow }] = at;
    const attends = layer - 1; // the layer that wrote this; the embedding attends to nothing
    return html`<${BarRow}
      key=${layer}
      label=${html`<span class="number">${layer || t("embedding")}</span
        ><${TokenText} token=${top[0]} />`}
      share=${top[0].probability}
      tick=${follow.probability}
      value=${percent(top[0].probability)}
      note=${t("rank", { rank: count(follow.rank) })}
      active=${layer > 0 && attends === chosen}
      onClick=${layer > 0 ? () => setLayer(attends) : undefined}
    />`;
  });
  return html`<section>
    <h2>${t("lensTitle")}</h2>
    <${Rows} label=${t("lensTitle")}>${rows.reverse()}<//>
    <p class="quiet">
      ${t("lensNote", { layers: last })} <${TokenText} token=${lens.follow} />
    </p>
  </section>`;
}

function Heads() {
  const attention = useStore((state) => state.attention);
  const head = useStore((state) => state.head);
  const tokens = useStore(tokensOf);
  if (!attention) return null;
  const row = (weights, number, words) => {
    let best = 0;
    weights.forEach((weight, key) => {
      if (weight > weights[best]) best = key;
    });
    const key = tokens[best] ?? { text: "", name: "" };
    return html`<${BarRow}
      key=${words}
      label=${html`<span class="number">${words}</span><${TokenText} token=${key} />`}
      share=${weights[best]}
      value=${percent(weights[best])}
      active=${head === number}
      aria-pressed=${String(head === number)}
      onClick=${() => set({ head: number })}
    />`;
  };
  return html`<section>
    <h2>${t("headsTitle", { layer: attention.layer + 1 })}</h2>
    <${Rows} label=${t("headsTitle", { layer: attention.layer + 1 })}>
      ${row(attention.mean, null, t("mean"))}
      ${attention.heads.map((weights, number) => row(weights, number, String(number + 1)))}
    <//>
    <p class="quiet">${t("headsNote")}</p>
  </section>`;
}

/** Return the weights [tokens] that the text is shaded by. */
export const weightsOf = ({ attention, head }) =>
  attention && (head === null ? attention.mean : (attention.heads[head] ?? attention.mean));
