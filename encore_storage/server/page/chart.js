// One chart: uPlot, sized by its frame, with a cursor for the mouse and the keyboard.

import uPlot from "./vendor/uPlot/uPlot.esm.js";
import { element, setText } from "./dom.js";
import { clock } from "./format.js";
import { MARKS } from "./processes.js";

const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };

const MINUTE = 60;
const SHORT = 4 * MINUTE; // the longest time axis whose labels may have seconds
const INTERVALS = [20, 30, 60, 120, 300]; // seconds between two time labels

const styles = getComputedStyle(document.documentElement);
export const colour = (name) => styles.getPropertyValue(`--${name}`).trim();
export const fontFamily = () => styles.fontFamily;

/** Returns the rows whose value has no neighbour. They need a point, since no line would show them. */
function isolated(plot, index) {
  const values = plot.data[index];
  return values.flatMap((value, row) =>
    value !== null && (values[row - 1] ?? null) === null && (values[row + 1] ?? null) === null ? [row] : [],
  );
}

/** Returns a line series in the named colour, or an area if there is a `fill`. */
export function line(name, { width = 1.5, fill = null, ...others } = {}) {
  return {
    stroke: () => colour(name),
    fill: fill ? () => colour(fill) : undefined,
    width,
    points: { show: false, filter: isolated, size: 4, fill: () => colour(name) },
    ...others,
  };
}

export class Chart {
  /**
   * `spec` has `series`, `scale` and `columns(snapshot)`, and optionally `bands` and `draw(plot, snapshot)`.
   * `onpoint(time)` is called with the time under the cursor, or null.
   */
  constructor(frame, spec, onpoint) {
    this._frame = frame;
    this._spec = spec;
    this._onpoint = onpoint;
    this._snapshot = null;
    this._plot = null;
    this._fontSize = null;
    this._scaleLabel = element("span", { class: "scale" });
    frame.append(this._scaleLabel);
    new ResizeObserver(() => this._fit()).observe(frame);
    frame.addEventListener("keydown", (event) => this._step(event));
    frame.addEventListener("focusout", () => this._point(null));
  }

  show(snapshot) {
    this._snapshot = snapshot;
    if (this._plot) this._plot.setData(this._data());
    else this._fit();
  }

  /** Draws the chart again in the current colours. */
  redraw() {
    this._plot?.redraw(false);
  }

  _data() {
    const columns = this._spec.columns(this._snapshot);
    this._spec.scale.choose(columns);
    setText(this._scaleLabel, this._spec.scale.isLogarithmic ? "log scale" : "");
    return [this._snapshot.time, ...columns];
  }

  _fit() {
    const { clientWidth: width, clientHeight: height } = this._frame;
    if (!this._snapshot || width === 0 || height === 0) return;
    const fontSize = Math.round(parseFloat(styles.fontSize) * 0.7);
    if (this._plot && fontSize === this._fontSize) {
      this._plot.setSize({ width, height });
      return;
    }
    this._plot?.destroy();
    this._fontSize = fontSize;
    this._plot = new uPlot(this._options(width, height, fontSize), this._data(), this._frame);
  }

  _options(width, height, fontSize) {
    const { series, bands } = this._spec;
    const { scale, axis } = this._spec.scale;
    const font = `${fontSize}px ${fontFamily()}`;
    const grid = { stroke: () => colour("grid"), width: 1 };
    const common = { font, stroke: () => colour("soft"), grid, ticks: { show: false } };
    return {
      width,
      height,
      padding: [fontSize * 1.5, fontSize, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        sync: { key: "encore", scales: ["x", null] },
        points: { size: 7, width: 1.5, fill: () => colour("card") },
      },
      scales: { x: { time: true, range: () => this._window() }, y: scale },
      bands,
      series: [{}, ...series],
      axes: [
        {
          ...common,
          grid: { show: false },
          size: fontSize * 2,
          gap: fontSize * 0.4,
          space: (_, __, start, end) => fontSize * (end - start < SHORT ? 6 : 4.5),
          incrs: (_, __, start, end) => INTERVALS.filter((one) => one >= MINUTE || end - start < SHORT),
          values: (_, times, __, ___, interval) => this._timesOfDay(times, interval),
        },
        { ...common, size: fontSize * 4.6, gap: fontSize * 0.5, space: fontSize * 2.6, ...axis },
      ],
      hooks: {
        draw: [(plot) => this._spec.draw?.(plot, this._snapshot), (plot) => drawMarks(plot, this._snapshot)],
        setCursor: [(plot) => this._onpoint(plot.cursor.idx == null ? null : plot.data[0][plot.cursor.idx])],
      },
    };
  }

  /** Labels times, except close to an edge, where a label would be cut off or overlap. */
  _timesOfDay(times, interval) {
    const [start, end] = this._window();
    const length = interval < MINUTE ? 8 : 5; // with or without seconds
    const edge = (end - start) * length * 0.008;
    return times.map((time) => (time < start + edge || time > end - edge ? "" : clock(time).slice(0, length)));
  }

  _window() {
    const { begin, until } = this._snapshot.span;
    return [begin, until];
  }

  _step(event) {
    const step = STEPS[event.key];
    if (event.key === "Escape") this._point(null);
    if (step === undefined || !this._plot) return;
    event.preventDefault();
    const last = this._snapshot.time.length - 1;
    const from = this._plot.cursor.idx ?? (step < 0 ? last + 1 : -1);
    this._point(Math.min(last, Math.max(0, from + step)));
  }

  /** Moves the cursor of all synchronised charts to a row, or hides it for null. */
  _point(row) {
    if (!this._plot) return;
    const left = row === null ? -10 : this._plot.valToPos(this._plot.data[0][row], "x");
    this._plot.setCursor({ left, top: row === null ? -10 : 0 }, true, true);
  }
}

/** Draws a dashed line at each restart, and a line with a sign at each start and end of a process. */
function drawMarks(plot, { marks }) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.lineWidth = ratio;
  ctx.font = `${10 * ratio}px ${fontFamily()}`;
  ctx.textAlign = "center";
  const isLast = ({ kind }) => Number(kind === "vanished"); // on top of others at the same pixel
  for (const { time, kind } of [...marks].sort((one, other) => isLast(one) - isLast(other))) {
    const { sign, colour: name } = MARKS[kind];
    const x = Math.round(plot.valToPos(time, "x", true)) + 0.5;
    ctx.strokeStyle = ctx.fillStyle = colour(name);
    ctx.setLineDash(sign ? [2 * ratio, 3 * ratio] : [3 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(sign, x, bbox.top - ratio);
  }
  ctx.restore();
}
