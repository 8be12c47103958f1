// What is said of the connection: lost, since when and why; back, and what was missed. Only changes are announced.

import { setText } from "./dom.js";
import { age, clock, plural } from "./format.js";

const SHORT = 10_000; // ms for which good news stays

const WHY = {
  network:
    "Nobody answers: the program may have ended, or the network may be down. " +
    "This page tries again all the time, and goes on by itself.",
  login:
    "The program asks for a login: open a new login link of it, which ends in /login?code=…, in this browser. " +
    "This page then goes on by itself.",
  refused: "The program answers, but refuses the stream. This page tries again all the time.",
  unknown: "This page tries again all the time, and goes on by itself.",
};

export class Connection {
  constructor(banner) {
    this._banner = banner;
    this._title = banner.querySelector("#connection-title");
    this._text = banner.querySelector("#connection-text");
    this._clock = banner.querySelector("#connection-clock");
    this._missed = undefined; // told by a gap event that came since the connection was lost
    this._lostSince = null;
    this._hiding = null;
    banner.querySelector("button").addEventListener("click", () => this._hide());
    this.kind = "connecting";
  }

  /** What was missed: a number of events, or null where nobody can know. */
  missed(count) {
    this._missed = count;
    if (this.kind === "live") this._back("The connection is too slow for all that happens");
  }

  /** Takes the state as the stream tells it. */
  take(state, lastTold) {
    const previous = this.kind;
    this.kind = state.kind;
    if (state.kind === "lost") this._lost(state, lastTold);
    if (state.kind === "live" && this._lostSince !== null) {
      this._back(`Connected again ${away(Date.now() - this._lostSince)}`);
      this._lostSince = null;
    }
    return previous !== state.kind;
  }

  /** Shows how long the connection has been lost. */
  tick() {
    if (this.kind === "lost") setText(this._clock, age((Date.now() - this._lostSince) / 1000));
  }

  _lost({ since, reason, sentence }, lastTold) {
    this._lostSince = since;
    const until = lastTold === null ? "" : `All that is shown is of ${clock(lastTold)}. `;
    const quoted = sentence ? ` It says: ${sentence}` : "";
    const title = reason === "login" ? "Login needed" : "Connection lost";
    this._show("lost", title, `${until}${WHY[reason ?? "unknown"]}${quoted}`);
    this.tick();
  }

  _back(title) {
    const missed = this._missed;
    this._missed = undefined;
    setText(this._clock, "");
    if (missed === undefined) {
      this._show("back", title, "Nothing was missed.");
      this._hiding = setTimeout(() => this._hide(), SHORT);
      return;
    }
    const words = missed === null
      ? "What was missed is unknown: the program was restarted. Its totals count from its new start."
      : `${plural(missed, "event was", "events were")} missed: charts and totals have them, the lists may not.`;
    this._show("missed", title, words);
  }

  _show(kind, title, text) {
    clearTimeout(this._hiding);
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

function away(milliseconds) {
  return milliseconds < 1000 ? "after a moment" : `after ${age(milliseconds / 1000)}`;
}
