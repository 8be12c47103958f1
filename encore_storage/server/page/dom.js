// Building and changing the page. Text is only ever set as text: keys and messages may hold anything.

/** An element with attributes and children (nodes, or strings that become text). */
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
  node.append(...children);
  return node;
}

/** Sets a node's text; one that is the same already is left alone, and with it whatever is selected there. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Rows of a table, one for each item by its key, in the order of the items. */
export class Rows {
  /** `make(item)` gives `{node, update(item, now)}`. */
  constructor(body, keyOf, make) {
    this._body = body;
    this._keyOf = keyOf;
    this._make = make;
    this._rows = new Map();
  }

  show(items, now) {
    const shown = new Map();
    for (const item of items) {
      const key = this._keyOf(item);
      const row = this._rows.get(key) ?? this._make(item);
      row.update(item, now);
      shown.set(key, row);
    }
    for (const [key, row] of this._rows) if (!shown.has(key)) row.node.remove();
    this._rows = shown;
    let place = this._body.firstChild;
    for (const { node } of shown.values()) {
      if (node === place) place = place.nextSibling;
      else this._body.insertBefore(node, place);
    }
  }
}
