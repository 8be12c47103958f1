// Functions that build and change the page. They set text only, never HTML: keys and messages are not trusted.

/** Returns an element with attributes and children: nodes, or strings that become text. */
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
  node.append(...children);
  return node;
}

/** Sets the text of a node. Equal text is left alone, which keeps the selection of the user. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** The rows of a table: one for each item, identified by its key, in the order of the items. */
export class Rows {
  /** `make(item)` returns `{node, update(item, now)}`. */
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
