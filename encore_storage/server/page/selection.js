// A selection that is part of the URL: `#store=archive&process=4711`.

import { element } from "./dom.js";

const PARAMETERS = ["process", "store"]; // others are not kept: the link to the charts is `#main`

export class Selection {
  /**
   * Shows the choices in `select`, after one for `everything`. `onchange()` is called when another one is selected.
   * The `value` is a string, or null for everything.
   */
  constructor(select, parameter, everything, onchange) {
    this._select = select;
    this._parameter = parameter;
    this._everything = everything;
    this._choices = [];
    this.value = this._selected();
    this._fill();
    select.addEventListener("change", () => {
      const before = new URLSearchParams(location.hash.slice(1));
      const parameters = new URLSearchParams();
      for (const name of PARAMETERS) {
        const value = name === parameter ? select.value.slice(1) : before.get(name);
        if (name === parameter ? select.value : value !== null) parameters.set(name, value);
      }
      location.hash = parameters.toString();
    });
    addEventListener("hashchange", () => {
      if (this._selected() === this.value) return;
      this.value = this._selected();
      this._fill();
      onchange();
    });
  }

  /** Sets the choices, pairs of a value and a text. The list is left alone if they are the same. */
  setChoices(choices) {
    if (JSON.stringify(choices) === JSON.stringify(this._choices)) return;
    this._choices = choices;
    this._fill();
  }

  _fill() {
    const isKnown = this.value === null || this._choices.some(([value]) => value === this.value);
    const choices = isKnown ? this._choices : [...this._choices, [this.value, this.value]];
    // The "=" distinguishes an empty value from everything.
    const options = choices.map(([value, text]) => element("option", { value: `=${value}` }, text || "(no name)"));
    this._select.replaceChildren(element("option", { value: "" }, this._everything), ...options);
    this._select.value = this.value === null ? "" : `=${this.value}`;
  }

  _selected() {
    return new URLSearchParams(location.hash.slice(1)).get(this._parameter);
  }
}
