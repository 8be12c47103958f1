// The exact totals since the program started.

import { setAttribute, setText } from "./dom.js";
import { age, bytes, count, joined, moment } from "./format.js";

const SIZES = new Set(["read", "written"]);

export class Totals {
  /** Finds the figures by `data-total`. Each gets the exact number as its `value`. */
  constructor(card) {
    this._nodes = [...card.querySelectorAll("[data-total]")];
    this._since = card.querySelector(".aside");
    this._missed = card.querySelector(".missed");
  }

  show({ totals, started, now }) {
    for (const node of this._nodes) {
      const name = node.dataset.total;
      const value = totals[name] ?? 0;
      setAttribute(node, "value", String(value));
      setText(node, SIZES.has(name) ? joined(bytes(value)) : count(value));
      if (SIZES.has(name)) setAttribute(node, "title", `${count(value)} bytes`);
    }
    setText(this._since, `${moment(started, now)}, ${age(now - started)} ago`);
    this._missed.hidden = !(totals.missed > 0);
  }
}
