// The connection banner: lost since when and why, or restored with what was missed. Only changes are announced.

import { setText } from "./dom.js";
import { age, clock, plural } from "./format.js";

const HIDE_AFTER = 10_000; // ms until a banner without missed events is hidden

const WHY = {
  network:
    "The server does not respond: the program may have ended, or the network may be down. " +
    "This page keeps trying to reconnect.",
  login:
    "The program requires a login. Open a new login link from it in this browser: the link ends in /login?code=… " +
    "This page then reconnects.",
  refused: "The server responds but refuses the stream. This page keeps trying to reconnect.",
  unknown: "This page keeps trying to reconnect.",
};

const RESTARTED =
  "The number of missed events is unknown: the program was restarted. Its totals count from the restart.";
const TAKEN_OVER =
  "The number of missed events is unknown: the process that served this page has ended, and another one serves it.";

export class Connection {
  constructor(banner) {
    this._banner = banner;
    this._title = banner.querySelector("#connection-title");
    this._text = banner.querySelector("#connection-text");
    this._clock = banner.querySelector("#connection-clock");
    this._missed = undefined; // from a gap message received since the connection was lost
    this._isTakenOver = false;
    this._lostSince = null;
    this._hideTimer = null;
    banner.querySelector("button").addEventListener("click", () => this._hide());
    this.kind = "connecting";
  }

  /** Sets the number of missed events, or null if it is unknown. */
  setMissed(count) {
    this._missed = count;
    if (this.kind === "live") this._showMissed("The connection is too slow to receive all events");
  }

  /** Sets which server has sent the complete state: "same", "another" process of the program, or "restarted". */
  setServer(server) {
    this._isTakenOver = server === "another";
    if (server === "restarted") this.setMissed(null);
  }

  /**
   * Shows a state of the stream, with the time of the latest data, or null. Returns whether the kind has changed.
   */
  setState(state, latestTime) {
    const previous = this.kind;
    this.kind = state.kind;
    if (state.kind === "lost") this._showLost(state, latestTime);
    if (state.kind === "live" && this._lostSince !== null) {
      this._showMissed(`Reconnected ${after(Date.now() - this._lostSince)}`);
      this._lostSince = null;
    }
    return previous !== state.kind;
  }

  /** Shows how long the connection has been lost. */
  tick() {
    if (this.kind === "lost") setText(this._clock, age((Date.now() - this._lostSince) / 1000));
  }

  _showLost({ since, reason, message }, latestTime) {
    this._lostSince = since;
    const dated = latestTime === null ? "" : `The data shown is from ${clock(latestTime)}. `;
    const quoted = message ? ` Message of the server: ${message}` : "";
    const title = reason === "login" ? "Login required" : "Connection lost";
    this._show("lost", title, `${dated}${WHY[reason ?? "unknown"]}${quoted}`);
    this.tick();
  }

  _showMissed(title) {
    const missed = this._missed;
    const unknown = this._isTakenOver ? TAKEN_OVER : RESTARTED;
    this._missed = undefined;
    setText(this._clock, "");
    if (missed === undefined) {
      this._show("back", title, "No events were missed.");
      this._hideTimer = setTimeout(() => this._hide(), HIDE_AFTER);
      return;
    }
    const words = missed === null
      ? unknown
      : `${plural(missed, "event was", "events were")} missed. Charts and totals include them; the lists may not.`;
    this._show("missed", title, words);
  }

  _show(kind, title, text) {
    clearTimeout(this._hideTimer);
    this._banner.dataset.kind = kind;
    setText(this._title, title);
    setText(this._text, text);
  }

  _hide() {
    if (this.kind === "lost") return;
    this._banner.dataset.kind = "none";
    setText(this._title, "");
    setText(this._text, "");
  }
}

function after(milliseconds) {
  return milliseconds < 1000 ? "after a moment" : `after ${age(milliseconds / 1000)}`;
}
