// The five charts: their series, the figures above them and their labels for screen readers.

import { Chart, colour, fontFamily, line } from "./chart.js";
import { setAttribute, setText } from "./dom.js";
import { age, bytes, clock, count, duration, joined, percent, plural, rate } from "./format.js";
import { SECONDS } from "./model.js";
import { MARKS } from "./processes.js";
import { LatencyScale, QuantityScale } from "./scales.js";

const LABEL_INTERVAL = 30_000; // ms between two labels of a chart, so that a screen reader can finish reading one
const LAST_MINUTE = 60; // rows
const NEAR = 2; // seconds
const MOVING = ["operations", "read", "written", "commits", "rollbacks"];
const INTEGERS = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((one) => one * 10 ** power)).flat();

const known = (values) => values.filter((value) => value !== null);
const last = (values) => values.at(-1) ?? null;
const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
const peak = (values) => Math.max(0, ...known(values));

/** Describes the time axis, which grows with the age of the program to ten minutes. */
const period = (s) => (s.time.length < SECONDS ? `the last ${age(s.time.length)}` : "the last ten minutes");

/** Returns since when nothing has moved or ended and nothing is in flight, or null if something does. */
function idleSince(s) {
  if (s.inFlightTotal + s.transactions.length > 0 || last(s.operations) === null) return null;
  const isBusy = (_, row) => MOVING.some((name) => s[name][row] !== 0);
  const row = s.time.findLastIndex(isBusy);
  return row === s.time.length - 1 ? null : s.time[row + 1];
}

function operationsText(s) {
  const since = idleSince(s);
  const seconds = s.span.end + 1 - since;
  const idle = since === null ? "" : `idle for ${seconds < SECONDS ? "" : "over "}${age(seconds)} · `;
  return `${idle}peak ${joined(rate(peak(s.operations)))}`;
}

/** Returns the operations that were not cancelled, by row: the denominator of the error ratio, as in the dashboards. */
const counted = (s) => s.operations.map((total, row) => (total ? total - s.cancelled[row] : total));

/** Returns the share of failed operations in some rows, or null if there were none. */
function ratio(s, from, until) {
  const total = sum(counted(s).slice(from, until));
  return total > 0 ? sum(s.errors.slice(from, until)) / total : null;
}

const worst = (s) => peak(counted(s).map((total, row) => (total ? s.errors[row] / total : 0)));

/** Describes the marks close to a time, which may share a pixel with it. */
function marksNear(marks, time) {
  const near = marks.filter((mark) => Math.abs(mark.time - time) <= NEAR);
  return near.map(({ pid, kind }) => (pid === null ? MARKS[kind].words : `${pid} ${MARKS[kind].words}`));
}

/** Describes how many processes started and ended. */
function processesText(marks) {
  const kinds = ["started", "ended", "vanished"].map((kind) => [kind, marks.filter((mark) => mark.kind === kind)]);
  const words = kinds.filter(([, found]) => found.length > 0);
  return words.map(([kind, found]) => ` ${plural(found.length, "process", "processes")} ${kind}.`).join("");
}

/** Draws rare values as stems: one from the top for each row that is not zero, longer for larger values, to a sign. */
function drawStems(plot, values, name, sign) {
  const { ctx, bbox } = plot;
  const most = peak(values);
  const size = 12 * devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour(name);
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.font = `${size}px ${fontFamily()}`;
  ctx.textAlign = "center";
  values.forEach((value, row) => {
    if (!value) return;
    const x = plot.valToPos(plot.data[0][row], "x", true);
    const y = bbox.top + bbox.height * (0.1 + (0.2 * value) / most);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, y - size);
    ctx.stroke();
    ctx.fillText(sign, x, y);
  });
  ctx.restore();
}

/** Draws the zero line between the series above and the one below. */
function drawZero(plot) {
  const { ctx, bbox } = plot;
  const y = Math.round(plot.valToPos(0, "y", true)) + 0.5;
  ctx.save();
  ctx.strokeStyle = colour("soft");
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

function currentLatency(s) {
  if (last(s.p50) === null) return "currently none";
  return `median currently ${joined(duration(last(s.p50)))}, 99th percentile currently ${joined(duration(last(s.p99)))}`;
}

const CHARTS = {
  operations: {
    columns: (s) => [s.operations],
    series: [line("ink", { fill: "ink-fill" })],
    scale: new QuantityScale(1, [0, 5], { incrs: INTEGERS, format: (mark) => joined(rate(mark, "")) }),
    figures: {
      operations: { now: (s) => rate(last(s.operations)), at: (s, row) => rate(s.operations[row]) },
    },
    aside: operationsText,
    text: (s) =>
      `Operations per second over ${period(s)}: currently ${count(last(s.operations) ?? 0)}, ` +
      `peak ${count(peak(s.operations))}.${processesText(s.marks)}`,
  },
  bytes: {
    columns: (s) => [s.read, s.written.map((value) => (value === null ? null : -value))],
    series: [line("read", { fill: "read-fill" }), line("write", { fill: "write-fill" })],
    scale: new QuantityScale(1000, [-1000, 1000], { format: (mark) => joined(bytes(mark)) }),
    figures: {
      read: { now: (s) => bytes(last(s.read), "/s"), at: (s, row) => bytes(s.read[row], "/s") },
      written: { now: (s) => bytes(last(s.written), "/s"), at: (s, row) => bytes(s.written[row], "/s") },
    },
    draw: drawZero,
    aside: () => "",
    text: (s) =>
      `Bytes per second over ${period(s)}: ` +
      `read currently ${joined(bytes(last(s.read) ?? 0))}, peak ${joined(bytes(peak(s.read)))}; ` +
      `written currently ${joined(bytes(last(s.written) ?? 0))}, peak ${joined(bytes(peak(s.written)))}.`,
  },
  latency: {
    columns: (s) => [s.p50, s.p99],
    series: [line("ink"), line("soft", { width: 1 })],
    bands: [{ series: [2, 1], fill: () => colour("ink-fill") }],
    scale: new LatencyScale(),
    figures: {
      p50: { now: (s) => duration(last(s.p50)), at: (s, row) => duration(s.p50[row]) },
      p99: { now: (s) => duration(last(s.p99)), at: (s, row) => duration(s.p99[row]) },
    },
    aside: (s) => (last(s.p99) === null ? "no operation in the last second" : ""),
    text: (s) =>
      known(s.p99).length === 0
        ? `Latency over ${period(s)}: no operation has ended.`
        : `Latency over ${period(s)}: ${currentLatency(s)}, peak ${joined(duration(peak(s.p99)))}.`,
  },
  errors: {
    columns: (s) => [counted(s).map((total, row) => (total ? s.errors[row] / total : total))],
    series: [line("error", { fill: "error-fill" })],
    scale: new QuantityScale(0.001, [0, 0.01], { format: (mark) => joined(percent(mark)) }),
    figures: {
      "error-ratio": { now: (s) => percent(ratio(s, -LAST_MINUTE)), at: (s, row) => percent(ratio(s, row, row + 1)) },
      "failed": { now: (s) => [count(sum(s.errors)), ""], at: (s, row) => [count(s.errors[row] ?? 0), ""] },
    },
    aside: () => "",
    text: (s) =>
      sum(s.operations) === 0
        ? `Error ratio over ${period(s)}: no operation has ended.`
        : `Error ratio over ${period(s)}: ${joined(percent(ratio(s, 0)))} of operations, ` +
          `peak in one second ${joined(percent(worst(s)))}.`,
  },
  transactions: {
    columns: (s) => [s.commits],
    series: [line("commit", { fill: "commit-fill" })],
    scale: new QuantityScale(1, [0, 5], { room: 1.4, incrs: INTEGERS, format: (mark) => joined(rate(mark, "")) }),
    draw: (plot, s) => drawStems(plot, s.rollbacks, "rollback", "↺"),
    figures: {
      commits: { now: (s) => rate(last(s.commits)), at: (s, row) => rate(s.commits[row]) },
      rollbacks: { now: (s) => [count(sum(s.rollbacks)), ""], at: (s, row) => [count(s.rollbacks[row] ?? 0), ""] },
    },
    aside: () => "",
    text: (s) =>
      `Transactions over ${period(s)}: ${plural(sum(s.commits), "commit")}, ` +
      `${plural(sum(s.rollbacks), "rollback")}.`,
  },
};

export class Charts {
  /** Finds its frames and figures by their `data-chart` and `data-figure`. */
  constructor(root) {
    this._root = root;
    this._snapshot = null;
    this._pointed = null; // the time under the cursor
    this._labelledAt = -Infinity;
    this._spans = [...root.querySelectorAll(".span")];
    this._cards = Object.entries(CHARTS).map(([name, spec]) => {
      const card = root.querySelector(`[data-chart="${name}"]`);
      const frame = card.querySelector(".plot");
      const figures = Object.entries(spec.figures).map(([figure, values]) => ({
        values,
        node: card.querySelector(`[data-figure="${figure}"]`),
      }));
      const chart = new Chart(frame, spec, (time) => this._point(time));
      return { spec, frame, figures, chart, aside: card.querySelector(".aside") };
    });
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", () => this._cards.forEach(({ chart }) => chart.redraw()));
  }

  show(snapshot) {
    this._snapshot = snapshot;
    for (const { chart } of this._cards) chart.show(snapshot);
    this._showFigures();
    if (performance.now() - this._labelledAt < LABEL_INTERVAL) return;
    this._labelledAt = performance.now();
    for (const { frame, spec } of this._cards) setAttribute(frame, "aria-label", spec.text(snapshot));
  }

  /** Renews the labels with the next snapshot. */
  expireLabels() {
    this._labelledAt = -Infinity;
  }

  _point(time) {
    if (time === this._pointed) return;
    this._pointed = time;
    this._showFigures();
  }

  _showFigures() {
    const row = this._snapshot.time.indexOf(this._pointed);
    const near = row < 0 ? [] : marksNear(this._snapshot.marks, this._pointed);
    for (const node of this._spans) setText(node, this._snapshot.time.length < SECONDS ? "so far" : "in ten minutes");
    this._root.toggleAttribute("data-pointed", row >= 0); // the figures then describe one second, not a period
    for (const { spec, figures, aside } of this._cards) {
      for (const { node, values } of figures) {
        const [figure, unit] = row < 0 ? values.now(this._snapshot) : values.at(this._snapshot, row);
        setText(node.querySelector(".number"), figure);
        setText(node.querySelector(".unit"), unit);
      }
      setText(aside, row < 0 ? spec.aside(this._snapshot) : [`at ${clock(this._pointed)}`, ...near].join(", "));
    }
  }
}
