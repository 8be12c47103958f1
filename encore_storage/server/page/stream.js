// The stream of events, which reconnects by itself after every kind of failure.

const QUIET = 10_000; // ms without a message until the connection counts as lost; one per second is due
const WAITS = [500, 1000, 2000, 3000]; // ms before each retry; the last one repeats
const MESSAGES = ["history", "summary", "gap"];

export class Stream {
  /**
   * `onmessage(kind, data)` is called with each message, `onstate(state)` with each state of the connection. The `kind`
   * of a state is "connecting", "live" or "lost". A lost state has `since` (ms), and once they are known, a `reason`
   * ("network", "login", "refused") and the `message` of the server.
   */
  constructor({ onmessage, onstate }) {
    this._onmessage = onmessage;
    this._onstate = onstate;
    this._selection = {};
    this._source = null;
    this._lastId = null;
    this._tries = 0;
    this._lostSince = null;
    this._retryTimer = null;
    this._silenceTimer = null;
    this._probe = null;
  }

  /** Follows a selection from the start: `{store, process}`, each null for all. */
  follow(selection) {
    this._selection = selection;
    this._lastId = null;
    this._tries = 0;
    this._connect();
    if (this._lostSince === null) this._onstate({ kind: "connecting" });
  }

  close() {
    clearTimeout(this._retryTimer);
    clearTimeout(this._silenceTimer);
    this._source?.close();
    this._source = null;
  }

  _address() {
    const address = new URL("events", document.baseURI);
    const parameters = { view: "summary", ...this._selection, since: this._lastId };
    for (const [name, value] of Object.entries(parameters)) if (value !== null) address.searchParams.set(name, value);
    return address;
  }

  _connect() {
    this.close();
    // An EventSource stops reconnecting after a status other than 200, so all reconnections are made here.
    const source = new EventSource(this._address());
    this._source = source;
    for (const kind of MESSAGES) source.addEventListener(kind, (event) => this._receive(kind, event));
    source.addEventListener("error", () => this._lost());
    this._restartSilenceTimer();
  }

  _receive(kind, event) {
    if (event.target !== this._source) return;
    this._restartSilenceTimer();
    this._lastId = event.lastEventId || this._lastId;
    if (kind === "history") {
      this._tries = 0;
      this._lostSince = null;
    }
    this._onmessage(kind, JSON.parse(event.data));
    if (kind === "history") this._onstate({ kind: "live" });
  }

  _restartSilenceTimer() {
    clearTimeout(this._silenceTimer);
    this._silenceTimer = setTimeout(() => this._lost(), QUIET);
  }

  _lost() {
    this.close();
    const wait = WAITS[Math.min(this._tries, WAITS.length - 1)];
    this._tries += 1;
    this._lostSince ??= Date.now();
    this._onstate({ kind: "lost", since: this._lostSince });
    this._retryTimer = setTimeout(() => this._connect(), wait);
    this._findReason(this._retryTimer);
  }

  /** Requests the same URL with fetch, which shows the status that an EventSource hides. */
  async _findReason(attempt) {
    let reason = "network";
    let message = null;
    const probe = new AbortController();
    this._probe?.abort(); // a browser has few connections per host, and a silent server would hold each of them
    this._probe = probe;
    try {
      const response = await fetch(this._address(), { cache: "no-store", signal: probe.signal });
      if (response.ok) {
        probe.abort();
        return;
      }
      reason = response.status === 401 ? "login" : "refused";
      message = (await response.json()).error ?? null;
    } catch {
      // No response, or none in JSON: the reason is set already.
    }
    if (probe.signal.aborted) return;
    if (this._lostSince !== null && attempt === this._retryTimer) {
      this._onstate({ kind: "lost", since: this._lostSince, reason, message });
    }
  }
}
