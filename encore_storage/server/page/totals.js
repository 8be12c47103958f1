// All that was counted since the program started, exactly.

import { setAttribute, setText } from "./dom.js";
import { age, bytes, count, joined, moment } from "./format.js";

const SIZES = new Set(["read", "written"]);

export class Totals {
  /** Finds its figures by their `data-total`, which get the exact number as `value`. */
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
