// The one stream of events, which comes back by itself: whatever happens to the connection, it is tried again.

const QUIET = 10_000; // ms without a message, of which one a second is due, after which the connection counts as lost
const WAITS = [500, 1000, 2000, 3000]; // ms before the next try; the last one holds
const MESSAGES = ["history", "summary", "gap"];

export class Stream {
  /**
   * `onmessage(kind, data)` gets each message; `onstate(state)` how the connection is: `{kind}` of "connecting", "live",
   * or "lost", the latter with `since` (ms), and as soon as that is known, `reason` ("network", "login", "refused") and
   * the server's own `sentence`.
   */
  constructor({ onmessage, onstate }) {
    this._onmessage = onmessage;
    this._onstate = onstate;
    this._store = null;
    this._source = null;
    this._lastId = null;
    this._tries = 0;
    this._lostSince = null;
    this._retry = null;
    this._silence = null;
    this._question = null;
  }

  /** Follows one store, or all; from the start. */
  follow(store) {
    this._store = store;
    this._lastId = null;
    this._tries = 0;
    this._connect();
    if (this._lostSince === null) this._onstate({ kind: "connecting" });
  }

  close() {
    clearTimeout(this._retry);
    clearTimeout(this._silence);
    this._source?.close();
    this._source = null;
  }

  _address() {
    const address = new URL("events", document.baseURI);
    const parameters = { view: "summary", store: this._store, since: this._lastId };
    for (const [name, value] of Object.entries(parameters)) if (value !== null) address.searchParams.set(name, value);
    return address;
  }

  _connect() {
    this.close();
    // The browser's own reconnection gives up after an answer that is not 200: there is one way back, and it is this.
    const source = new EventSource(this._address());
    this._source = source;
    for (const kind of MESSAGES) source.addEventListener(kind, (event) => this._received(kind, event));
    source.addEventListener("error", () => this._lost());
    this._listen();
  }

  _received(kind, event) {
    if (event.target !== this._source) return;
    this._listen();
    this._lastId = event.lastEventId || this._lastId;
    if (kind === "history") {
      this._tries = 0;
      this._lostSince = null;
    }
    this._onmessage(kind, JSON.parse(event.data));
    if (kind === "history") this._onstate({ kind: "live" });
  }

  _listen() {
    clearTimeout(this._silence);
    this._silence = setTimeout(() => this._lost(), QUIET);
  }

  _lost() {
    this.close();
    const wait = WAITS[Math.min(this._tries, WAITS.length - 1)];
    this._tries += 1;
    this._lostSince ??= Date.now();
    this._onstate({ kind: "lost", since: this._lostSince });
    this._retry = setTimeout(() => this._connect(), wait);
    this._findReason(this._retry);
  }

  /** An EventSource doesn't tell the status of the answer; the same question, asked in another way, does. */
  async _findReason(attempt) {
    let reason = "network";
    let sentence = null;
    const question = new AbortController();
    this._question?.abort(); // a browser has few connections for a host, and one that says nothing would keep each
    this._question = question;
    try {
      const answer = await fetch(this._address(), { cache: "no-store", signal: question.signal });
      if (answer.ok) {
        question.abort();
        return;
      }
      reason = answer.status === 401 ? "login" : "refused";
      sentence = (await answer.json()).error ?? null;
    } catch {
      // Nobody answers, or not in JSON: the reason as it is by now says enough.
    }
    if (question.signal.aborted) return;
    if (this._lostSince !== null && attempt === this._retry) {
      this._onstate({ kind: "lost", since: this._lostSince, reason, sentence });
    }
  }
}
