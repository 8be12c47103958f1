// The state of the page: ten minutes by the second, failures, recent operations, operations in flight. Bounded; no DOM.

import { Processes } from "./processes.js";

export const SECONDS = 600; // of the longest time axis
export const LEAST = 60; // of the shortest one

const FAILURES = 100;
const RECENT = 50;
const COLUMNS = ["operations", "cancelled", "errors", "read", "written", "p50", "p99", "commits", "rollbacks"];
const MEASURED = new Set(["p50", "p99"]); // null in a second without operations; the others are 0

export class Model {
  constructor() {
    this.run = null;
    this.restarts = []; // times at which the program was restarted
    this.processes = new Processes();
    this.program = null; // its name and its host
    this.latest = null; // the latest message: now, stores, totals, in_flight, ...
    this.started = null;
    this.notListed = 0; // failures that the server counted but did not send
    this._seconds = new Map();
    this._spans = []; // covered time spans: a second missing in one had no operations
    this._failures = new Map();
    this._recent = new Map();
  }

  /**
   * Applies the complete state, which comes first and after each reconnection. Repeated data is not counted twice.
   * Returns the server: "same", "restarted", or "another" if another process of the program has taken over.
   */
  applyHistory(history) {
    const isOther = this.run !== null && this.run !== history.run;
    const isTakenOver = isOther && this.processes.takeOver(history.processes, this.latest.now);
    const isRestarted = isOther && !isTakenOver;
    if (isTakenOver) this._keepSeconds(history);
    if (isRestarted) {
      this.restarts.push(history.started);
      this._recent.clear();
      this.notListed = 0;
    }
    if (!isRestarted) this._spans = [];
    this._spans.push({ from: Math.max(history.started, history.now - SECONDS), until: history.now });
    this.run = history.run;
    this.started = history.started;
    this._apply(history);
    return isRestarted ? "restarted" : isTakenOver ? "another" : "same";
  }

  /** Applies the changes of the last second. */
  applySummary(summary) {
    this._spans.at(-1).until = summary.now;
    this.notListed += summary.failures_omitted ?? 0;
    this._apply(summary);
  }

  /** Returns a copy of the state to show. Later messages do not change it. */
  snapshot() {
    const { now, totals, stores, operations, operations_omitted } = this.latest;
    const { in_flight, in_flight_total, transactions_in_flight } = this.latest;
    const end = Math.floor(now) - 1; // the last complete second
    const begin = this._begin(end);
    return {
      now,
      span: { begin, end, until: Math.max(end, begin + LEAST - 1) },
      totals,
      stores,
      run: this.run,
      started: this.started,
      program: this.program,
      processes: this.processes.all,
      replayed: this.latest.replayed ?? null,
      marks: this._marks(begin),
      notListed: this.notListed,
      table: operations,
      tableOmitted: operations_omitted,
      inFlight: in_flight,
      inFlightTotal: in_flight_total,
      transactions: transactions_in_flight,
      failures: [...this._failures.values()],
      recent: [...this._recent.values()],
      ...this._columns(begin, end),
    };
  }

  /** Keeps the seconds that were received from a former server: only it knew its own operations. */
  _keepSeconds({ seconds }) {
    const isKept = seconds.time.map((time) => time + 1 <= this.latest.now && this._seconds.has(time));
    for (const name of Object.keys(seconds)) seconds[name] = seconds[name].filter((_, row) => !isKept[row]);
  }

  _marks(since) {
    return [...this.restarts.map((time) => ({ time, kind: "restarted", pid: null })), ...this.processes.marks(since)];
  }

  _apply(message) {
    this.latest = message;
    if (message.processes) this.processes.set(message.processes);
    if (message.program) this.program = message.program;
    const { seconds } = message;
    seconds.time.forEach((time, row) => {
      this._seconds.set(time, Object.fromEntries(COLUMNS.map((name) => [name, seconds[name][row]])));
    });
    const oldest = Math.floor(message.now) - SECONDS - 1;
    for (const time of this._seconds.keys()) if (time < oldest) this._seconds.delete(time);
    this._spans = this._spans.filter(({ until }) => until > oldest);
    this.restarts = this.restarts.filter((time) => time > oldest);
    this._failures = newest(this._failures, message.failures, FAILURES);
    this._recent = newest(this._recent, message.recent, RECENT);
  }

  /** Returns the second with which the time axis begins: that of the program, or ten minutes before the end. */
  _begin(end) {
    const first = Math.min(this.started, ...this._spans.map(({ from }) => from), ...this._seconds.keys());
    return Math.min(Math.max(Math.floor(first), end - SECONDS + 1), end);
  }

  /** Returns the seconds of the time axis as columns, with one row per second and null for unknown values. */
  _columns(begin, end) {
    const columns = { time: [] };
    for (const name of COLUMNS) columns[name] = [];
    for (let time = begin; time <= end; time += 1) {
      const second = this._seconds.get(time);
      const isKnown = this._spans.some(({ from, until }) => from < time + 1 && time + 1 <= until);
      columns.time.push(time);
      for (const name of COLUMNS) {
        columns[name].push(second ? second[name] : isKnown && !MEASURED.has(name) ? 0 : null);
      }
    }
    return columns;
  }
}

/** Merges items by id, and returns the newest by time. */
function newest(known, arrived, limit) {
  if (arrived.length === 0) return known;
  const all = new Map([...arrived.map((one) => [one.id, one]), ...known]);
  return new Map([...all].sort(([, one], [, other]) => other.time - one.time).slice(0, limit));
}
