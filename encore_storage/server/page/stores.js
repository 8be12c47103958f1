// The choice of a store, which is part of the address: `#store=archive`.

import { element } from "./dom.js";

export class StoreFilter {
  /** `onchange(store)` gets the name of a store, or null for all. */
  constructor(select, onchange) {
    this._select = select;
    this._names = [];
    this.store = chosen();
    this._fill();
    select.addEventListener("change", () => {
      const parameters = new URLSearchParams();
      if (select.value) parameters.set("store", select.value.slice(1));
      location.hash = parameters.toString();
    });
    addEventListener("hashchange", () => {
      if (chosen() === this.store) return;
      this.store = chosen();
      this._fill();
      onchange(this.store);
    });
  }

  /** Offers these stores; leaves the list alone while they are the same. */
  offer(names) {
    if (names.length === this._names.length && names.every((name, place) => name === this._names[place])) return;
    this._names = names;
    this._fill();
  }

  _fill() {
    const names = this.store === null || this._names.includes(this.store) ? this._names : [...this._names, this.store];
    // The values have a sign in front: a store may well have no name, and that is not the same as all stores.
    const options = names.map((name) => element("option", { value: `=${name}` }, name || "(no name)"));
    this._select.replaceChildren(element("option", { value: "" }, "All stores"), ...options);
    this._select.value = this.store === null ? "" : `=${this.store}`;
  }
}

function chosen() {
  return new URLSearchParams(location.hash.slice(1)).get("store");
}
