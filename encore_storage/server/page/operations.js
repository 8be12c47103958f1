// The table of operations by store, sorted by the column that the user selects.

import { Rows, element, setAttribute, setText } from "./dom.js";
import { NOTHING, bytes, count, duration, joined, percent, plural, rate } from "./format.js";

const whole = (value) => [count(value), ""];
const orNothing = (value) => (value > 0 ? whole(value) : [NOTHING, ""]);

/** The columns: how they are formatted, and whether their first order is from the largest to the smallest. */
const COLUMNS = {
  operation: { isText: true },
  rate: { format: rate },
  errors: { format: orNothing, kind: "error" },
  misses: { format: orNothing },
  hit_ratio: { format: percent },
  retries: { format: orNothing },
  bytes_per_second: { format: (value) => (value > 0 ? bytes(value, "/s") : [NOTHING, ""]) },
  p50: { format: duration },
  p99: { format: duration },
  in_flight: { format: orNothing },
};

const byName = (one, other) => compare(one.operation, other.operation) || compare(one.store, other.store);
const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);

/** Returns the rows in the order of a column. Unknown values are last in both orders, equal ones sorted by name. */
export function sorted(rows, column, isDescending) {
  const direction = isDescending ? -1 : 1;
  if (COLUMNS[column].isText) return [...rows].sort((one, other) => direction * byName(one, other));
  const place = ({ [column]: value }) => (value === null ? Infinity : direction * value);
  return [...rows].sort((one, other) => compare(place(one), place(other)) || byName(one, other));
}

/** Makes a row; `labels` are the headings by column, for a narrow panel. */
function rowOf({ store, operation }, labels) {
  const name = element("span", { class: "store" }, element("bdi", {}, store));
  const whole = { role: "rowheader", scope: "row", title: `${operation} ${store}` }; // the title is never cut off
  const heading = element("th", whole, element("b", {}, operation), " ", name);
  const cells = Object.entries(COLUMNS).filter(([, { isText }]) => !isText);
  const nodes = cells.map(([column, { kind }]) =>
    element("td", { "role": "cell", "class": kind ?? "", "data-column": column, "data-label": labels[column] }),
  );
  return {
    node: element("tr", { role: "row" }, heading, ...nodes),
    update(item) {
      cells.forEach(([column, { format }], place) => {
        const text = joined(format(item[column]));
        setText(nodes[place], text);
        nodes[place].classList.toggle("none", text === NOTHING);
      });
    },
  };
}

export class Operations {
  /** Finds its headings by `data-sort`, the name of a column. */
  constructor(panel) {
    this._panel = panel;
    this._note = panel.querySelector(".note");
    this._shown = [];
    this._column = "rate";
    this._isDescending = true;
    this._headings = [...panel.querySelectorAll("[data-sort]")];
    const labels = Object.fromEntries(this._headings.map((one) => [one.dataset.sort, one.textContent]));
    this._rows = new Rows(
      panel.querySelector("tbody"),
      ({ store, operation }) => JSON.stringify([store, operation]),
      (item) => rowOf(item, labels),
    );
    for (const heading of this._headings) {
      heading.querySelector("button").addEventListener("click", () => this._sortBy(heading.dataset.sort));
    }
    this._showOrder();
  }

  show({ table, tableOmitted }) {
    this._shown = table;
    const more = tableOmitted > 0 ? ` · ${plural(tableOmitted, "row")} more, less busy` : "";
    setText(this._note, table.length > 0 ? `by store${more}` : "none");
    this._panel.querySelector(".scroll").hidden = table.length === 0;
    this._panel.querySelector(".empty").hidden = table.length > 0;
    this._showRows();
  }

  /** Sorts by a column: text from A to Z, numbers from the largest; in the other order if selected again. */
  _sortBy(column) {
    this._isDescending = column === this._column ? !this._isDescending : !COLUMNS[column].isText;
    this._column = column;
    this._showOrder();
    this._showRows();
  }

  _showRows() {
    this._rows.show(sorted(this._shown, this._column, this._isDescending));
  }

  _showOrder() {
    for (const heading of this._headings) {
      if (heading.dataset.sort !== this._column) heading.removeAttribute("aria-sort");
      else setAttribute(heading, "aria-sort", this._isDescending ? "descending" : "ascending");
    }
  }
}
