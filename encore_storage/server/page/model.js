// What the page knows: the last ten minutes by the second, what failed, what ended, what is in flight. Bounded; no DOM.

export const SECONDS = 600;

const FAILURES = 100;
const RECENT = 50;
const COLUMNS = ["operations", "cancelled", "errors", "read", "written", "p50", "p99", "commits", "rollbacks"];
const MEASURED = new Set(["p50", "p99"]); // unknown where nothing ended; the others are 0 then

export class Model {
  constructor() {
    this.run = null;
    this.restarts = []; // the times at which another run of the program began
    this.latest = null; // what was told last: now, stores, totals, in_flight, ...
    this.started = null;
    this.notListed = 0; // failures that the server counted, but did not send
    this._seconds = new Map();
    this._known = []; // spans of time of which all is known: a second that is missing there had nothing
    this._failures = new Map();
    this._recent = new Map();
  }

  /** Takes the state as a whole, which comes first and after each reconnection; nothing of it is ever doubled. */
  takeHistory(history) {
    const isOtherRun = this.run !== null && this.run !== history.run;
    if (isOtherRun) {
      this.restarts.push(history.started);
      this._recent.clear();
      this.notListed = 0;
    }
    if (!isOtherRun) this._known = [];
    this._known.push({ from: Math.max(history.started, history.now - SECONDS), until: history.now });
    this.run = history.run;
    this.started = history.started;
    this._take(history);
    return isOtherRun;
  }

  /** Takes what has happened in the last second. */
  takeSummary(summary) {
    this._known.at(-1).until = summary.now;
    this.notListed += summary.failures_omitted ?? 0;
    this._take(summary);
  }

  /** What is to be shown: a copy, which later events don't change. */
  snapshot() {
    const { now, totals, stores, in_flight, in_flight_total, transactions_in_flight } = this.latest;
    const end = Math.floor(now) - 1; // the last second that is over
    return {
      now,
      end,
      totals,
      stores,
      run: this.run,
      started: this.started,
      restarts: [...this.restarts],
      notListed: this.notListed,
      inFlight: in_flight,
      inFlightTotal: in_flight_total,
      transactions: transactions_in_flight,
      failures: [...this._failures.values()],
      recent: [...this._recent.values()],
      ...this._columns(end),
    };
  }

  _take(told) {
    this.latest = told;
    const { seconds } = told;
    seconds.time.forEach((time, row) => {
      this._seconds.set(time, Object.fromEntries(COLUMNS.map((name) => [name, seconds[name][row]])));
    });
    const oldest = Math.floor(told.now) - SECONDS - 1;
    for (const time of this._seconds.keys()) if (time < oldest) this._seconds.delete(time);
    this._known = this._known.filter(({ until }) => until > oldest);
    this.restarts = this.restarts.filter((time) => time > oldest);
    this._failures = newest(this._failures, told.failures, FAILURES);
    this._recent = newest(this._recent, told.recent, RECENT);
  }

  /** The last ten minutes as columns, one row for each second; null is unknown. */
  _columns(end) {
    const columns = { time: [] };
    for (const name of COLUMNS) columns[name] = [];
    for (let time = end - SECONDS + 1; time <= end; time += 1) {
      const second = this._seconds.get(time);
      const isKnown = this._known.some(({ from, until }) => from < time + 1 && time + 1 <= until);
      columns.time.push(time);
      for (const name of COLUMNS) {
        columns[name].push(second ? second[name] : isKnown && !MEASURED.has(name) ? 0 : null);
      }
    }
    return columns;
  }
}

/** The newest of both by their time, each id once. */
function newest(known, arrived, limit) {
  if (arrived.length === 0) return known;
  const all = new Map([...arrived.map((one) => [one.id, one]), ...known]);
  return new Map([...all].sort(([, one], [, other]) => other.time - one.time).slice(0, limit));
}
