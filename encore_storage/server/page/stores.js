// The selection of a store, which is part of the URL: `#store=archive`.

import { element } from "./dom.js";

export class StoreFilter {
  /** `onchange(store)` is called with the name of a store, or null for all. */
  constructor(select, onchange) {
    this._select = select;
    this._names = [];
    this.store = selected();
    this._fill();
    select.addEventListener("change", () => {
      const parameters = new URLSearchParams();
      if (select.value) parameters.set("store", select.value.slice(1));
      location.hash = parameters.toString();
    });
    addEventListener("hashchange", () => {
      if (selected() === this.store) return;
      this.store = selected();
      this._fill();
      onchange(this.store);
    });
  }

  /** Sets the names in the list, which is left alone if they are the same. */
  setNames(names) {
    if (names.length === this._names.length && names.every((name, place) => name === this._names[place])) return;
    this._names = names;
    this._fill();
  }

  _fill() {
    const names = this.store === null || this._names.includes(this.store) ? this._names : [...this._names, this.store];
    // The "=" distinguishes a store with an empty name from all stores.
    const options = names.map((name) => element("option", { value: `=${name}` }, name || "(no name)"));
    this._select.replaceChildren(element("option", { value: "" }, "All stores"), ...options);
    this._select.value = this.store === null ? "" : `=${this.store}`;
  }
}

function selected() {
  return new URLSearchParams(location.hash.slice(1)).get("store");
}
