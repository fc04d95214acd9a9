/** Curves of one run or several: what was measured, over steps or time. */
import uPlot from "./vendor/uplot.js";
import { html, useEffect, useRef } from "./vendor/preact-htm.js";
import { useStore } from "./store.js";

const HEIGHT = 300;
export const COLOURS = 6; // --line-0 … of the style sheet

/** Draw lines [{label, colour, points: [[x, y], ...], thin}] over one another. `words` names the
 * two axes for screen readers. */
export function Curves({ lines, formatX, words }) {
  const place = useRef();
  const chart = useRef(null);
  const theme = useStore((state) => state.theme);
  const shape = lines.map(({ label, thin, colour }) => `${label} ${thin} ${colour}`).join("|");
  useEffect(() => {
    const element = place.current;
    const make = () => {
      chart.current?.destroy();
      chart.current = new uPlot(options(element, lines, formatX), dataOf(lines), element);
    };
    make();
    const resize = () => chart.current.setSize({ width: element.clientWidth, height: HEIGHT });
    const observer = new ResizeObserver(resize);
    observer.observe(element);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", make);
    return () => {
      observer.disconnect();
      scheme.removeEventListener("change", make);
      chart.current?.destroy();
      chart.current = null;
    };
  }, [shape, theme, formatX]);
  useEffect(() => chart.current?.setData(dataOf(lines)), [lines]);
  return html`<div class="chart" role="img" aria-label=${words} ref=${place}></div>`;
}

/** uPlot wants one sequence of x for all lines; where a line has no value there stands null. */
function dataOf(lines) {
  const tables = lines.map(({ points }) => [points.map(([x]) => x), points.map(([, y]) => y)]);
  return tables.length ? uPlot.join(tables, tables.map(() => [0, 2])) : [[], []];
}

function options(element, lines, formatX) {
  const style = getComputedStyle(element);
  const colour = (name) => resolved(element, style.getPropertyValue(name));
  const soft = colour("--soft");
  const grid = { stroke: colour("--faint"), width: 1 };
  const font = `13px ${style.fontFamily}`;
  const axis = { stroke: soft, font, grid: { show: false }, ticks: { show: false }, gap: 8 };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [12, 12, 0, 0],
    legend: { show: false },
    cursor: { points: { size: 7 }, drag: { x: false, y: false } },
    scales: { x: { time: false }, y: { distr: 1, range: yRange } },
    axes: [
      { ...axis, values: (_, values) => values.map(formatX), size: 36, space: 70 },
      { ...axis, grid, size: 52, space: 44, values: (_, values) => values.map(short) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.label,
        stroke: colour(`--line-${line.colour % COLOURS}`),
        width: line.thin ? 1 : 2,
        alpha: line.thin ? 0.45 : 1,
        spanGaps: true,
        points: { show: !line.thin && line.points.length < 40, size: 5, fill: colour("--paper") },
      })),
    ],
  };
}

/** The highest values are those of a model that knows nothing yet: they may leave the picture. */
function yRange(chart, low, high) {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const values = chart.data
    .slice(1)
    .flat()
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  const top = values.length > 50 ? values[Math.floor(values.length * 0.97)] : high;
  const room = Math.max((top - low) * 0.06, 1e-6);
  return [low - room, top + room];
}

const short = (value) => String(Number(value.toPrecision(3)));

/** A canvas does not know light-dark(); the browser says which of the two it is. */
function resolved(element, value) {
  const probe = document.createElement("span");
  probe.style.color = value;
  element.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
