/** The curves of the chosen runs, over one another. */
import { html, useState } from "./vendor/preact-htm.js";
import { Curves } from "./curves.js";
import { t } from "./messages.js";
import { duration, figureName } from "./runtable.js";
import { useStore } from "./store.js";
import { Choice, count } from "./ui.js";

export function Drawn() {
  const chosen = useStore((state) => state.chosen);
  const followed = useStore((state) => state.followed);
  const [y, setY] = useState("loss");
  const [x, setX] = useState("step");
  const known = chosen.filter((name) => followed[name]?.records.length);
  if (!known.length) return null;
  const lines = chosen.flatMap((name, colour) => {
    const records = followed[name]?.records ?? [];
    const points = (kind) =>
      records
        .filter((r) => r.kind === kind && Number.isFinite(r[y]) && Number.isFinite(r[x]))
        .map((r) => [r[x], r[y]]);
    return [
      { label: `${name} · ${t("training")}`, colour, points: smooth(points("train")), thin: true },
      { label: `${name} · ${t("heldOut")}`, colour, points: points("validation") },
    ].filter((line) => line.points.length);
  });
  const hasBits = known.some((name) => followed[name].records.some((r) => "bits_per_byte" in r));
  return html`<section class="drawn">
    <div class="bar-of-choices">
      <h2>${known.length === 1 ? known[0] : t("curves")}</h2>
      <p class="quiet">${t("curvesNote")}</p>
      <span class="spring"></span>
      ${hasBits &&
      html`<${Choice}
        kind="choices"
        label=${t("curves")}
        options=${[
          ["loss", t("loss")],
          ["bits_per_byte", t("figure.bits")],
        ]}
        value=${y}
        onChange=${setY}
      />`}
      <${Choice}
        kind="choices"
        label=${t("over")}
        options=${[
          ["step", t("steps")],
          ["seconds", t("time")],
        ]}
        value=${x}
        onChange=${setX}
      />
    </div>
    <${Curves}
      lines=${lines}
      formatX=${x === "step" ? count : duration}
      words=${t("curvesWords", { runs: known.join(", "), what: figureName(y) })}
    />
  </section>`;
}

/** Training loss is noisy: a moving average of some fifty points shows where it goes. */
function smooth(points) {
  const width = Math.max(1, Math.round(points.length / 50));
  let sum = 0;
  return points.map(([x, y], n) => {
    sum += y - (n >= width ? points[n - width][1] : 0);
    return [x, sum / Math.min(n + 1, width)];
  });
}
