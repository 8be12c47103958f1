// The three lists: operations in flight, failures and rollbacks, and recent operations.

import { Rows, element, setText } from "./dom.js";
import { NOTHING, age, bytes, clock, count, duration, joined, moment, percent, plural } from "./format.js";

const LONG = 180; // characters of an error message that are shown while it is collapsed
const SLASHES = 20; // of a key, after which a line break is allowed

const OUTCOMES = {
  ok: ["✓", "ok"],
  miss: ["∅", "miss"],
  error: ["✕", "error"],
  cancelled: ["◌", "cancelled"],
  committed: ["✓", "committed"],
  rolled_back: ["↺", "rolled back"],
  closed: ["✓", "closed"],
  commit_failed: ["✕", "commit failed"],
  rollback_failed: ["✕", "rollback failed"],
};

function cell(kind, ...children) {
  return element("td", { role: "cell", class: kind }, ...children);
}

const blank = (kind) => cell(`${kind} blank`, NOTHING);

function tag(outcome) {
  const [sign, words] = OUTCOMES[outcome] ?? ["", String(outcome)];
  const drawn = element("span", { "aria-hidden": "true", class: "sign" }, sign);
  return element("span", { class: "tag", "data-outcome": outcome }, drawn, words);
}

function row(...cells) {
  return element("tr", { role: "row" }, ...cells);
}

/** Isolates text from the program, which may run from right to left, from the text around it. */
const foreign = (words) => element("bdi", {}, words);

const time = (epoch) => element("time", { datetime: new Date(epoch * 1000).toISOString() }, clock(epoch));

function about(kind, { store, process }) {
  const name = element("span", { class: "store" }, foreign(store ?? NOTHING));
  const pid = element("span", { class: "several" }, ` pid ${process}`);
  return cell("about", element("div", {}, element("b", {}, kind), " ", name, pid));
}

function key(value) {
  return value === null || value === undefined ? blank("key") : cell("key", element("code", {}, path(value)));
}

/** Returns a key with line breaks allowed after its first slashes. */
function path(value) {
  const text = String(value);
  const words = element("bdi");
  for (const part of text.split("/", SLASHES).slice(0, -1)) words.append(`${part}/`, element("wbr"));
  words.append(text.slice(words.textContent.length));
  return words;
}

/** Makes the row of an operation in flight, with a bar if its size is known. */
function inFlightRow(item) {
  const ageNode = cell("age");
  const moved = element("span", { class: "moved" });
  const progress = cell("progress", moved);
  const node = row(ageNode, about(item.operation ?? "operation", item), key(item.key), progress);
  let bar = null;
  return {
    node,
    update(latest) {
      setText(ageNode, age(latest.age));
      if (latest.expected > 0 && bar === null) {
        const label = `${latest.operation} ${latest.key ?? ""} in ${latest.store}`;
        bar = element("progress", { "aria-label": label, class: latest.direction ?? "" });
        progress.append(bar);
      }
      if (bar) {
        bar.max = latest.expected ?? Math.max(latest.bytes, 1);
        bar.value = Math.min(latest.bytes, bar.max);
      }
      setText(moved, movedText(latest));
    },
  };
}

function movedText({ bytes: moved, expected, direction }) {
  const share = Math.floor((100 * moved) / expected) / 100;
  if (expected > 0) return `${joined(percent(share))} of ${joined(bytes(expected))}`;
  if (direction === null) return "no data to transfer";
  return moved > 0 ? `${joined(bytes(moved))} so far` : "no data transferred yet";
}

function transactionRow(item) {
  const ageNode = cell("age");
  const notes = item.notes ? foreign(item.notes) : element("span", { class: "none" }, "no notes");
  const node = row(ageNode, about("transaction", item), cell("notes", notes), cell("progress", "open"));
  return { node, update: (latest) => setText(ageNode, age(latest.age)) };
}

function message(error, errorType) {
  if (!error) return errorType ?? NOTHING;
  const name = element("b", {}, error.type);
  const [between, words] = afterName(String(error.type), String(error.message ?? ""));
  if (words.length <= LONG) return element("span", {}, name, between, foreign(words));
  const more = element("summary", {}, name, between, foreign(`${words.slice(0, LONG)}…`));
  return element("details", {}, more, element("p", {}, foreign(words)));
}

/** Returns what separates the name of an error and its message, and the message without a repetition of the name. */
function afterName(name, words) {
  if (words === "" || words === name) return ["", ""];
  return words.startsWith(`${name} `) ? [" ", words.slice(name.length + 1)] : [": ", words];
}

function failureRow(item) {
  const isOperation = item.what === "operation";
  const notes = item.notes ? [foreign(item.notes), " · "] : [];
  const node = row(
    cell("when", time(item.time)),
    cell("outcome", tag(item.outcome)),
    about(isOperation ? (item.operation ?? "operation") : "transaction", item),
    isOperation ? key(item.key) : cell("notes", ...notes, plural(item.operations ?? 0, "operation")),
    item.error || item.error_type ? cell("error", message(item.error, item.error_type)) : blank("error"),
    cell("took", joined(duration(item.duration))),
  );
  const timeNode = node.querySelector("time");
  return { node, update: (_, now) => setText(timeNode, moment(item.time, now)) };
}

function recentRow(item) {
  const node = row(
    cell("when", time(item.time)),
    about(item.operation ?? "operation", item),
    key(item.key),
    cell("outcome", tag(item.outcome)),
    item.direction ? cell("bytes", joined(bytes(item.bytes))) : blank("bytes"),
    cell("took", joined(duration(item.duration))),
  );
  const timeNode = node.querySelector("time");
  return { node, update: (_, now) => setText(timeNode, moment(item.time, now)) };
}

export class Lists {
  constructor(root) {
    const find = (name) => root.querySelector(`#${name}`);
    const rowsOf = (panel, keyOf, make) => new Rows(panel.querySelector("tbody"), keyOf, make);
    this._panels = { flight: find("in-flight"), failures: find("failures"), recent: find("recent") };
    this._inFlight = rowsOf(
      this._panels.flight,
      (item) => item.operation_id ?? `transaction ${item.transaction_id}`,
      (item) => (item.operation_id ? inFlightRow(item) : transactionRow(item)),
    );
    this._failures = rowsOf(this._panels.failures, (item) => item.id, failureRow);
    this._recent = rowsOf(this._panels.recent, (item) => item.id, recentRow);
  }

  show(snapshot) {
    const { inFlight, inFlightTotal, transactions, failures, recent, notListed, now } = snapshot;
    const rows = [...transactions, ...inFlight];
    this._inFlight.show(rows, now);
    this._failures.show(failures, now);
    this._recent.show(recent, now);
    head(this._panels.flight, rows.length > 0, [
      plural(inFlightTotal, "operation"),
      transactions.length > 0 ? plural(transactions.length, "transaction") : "",
      inFlightTotal > inFlight.length ? `the ${inFlight.length} oldest are shown` : "",
    ]);
    head(this._panels.failures, failures.length > 0, [
      failures.length > 0 ? `latest ${failures.length}` : "none",
      notListed > 0 ? `${count(notListed)} more not listed` : "",
    ]);
    head(this._panels.recent, recent.length > 0, [recent.length > 0 ? `latest ${recent.length}` : "none"]);
  }
}

/** Sets the note beside the heading of a panel, and shows its table, or the text for an empty list. */
function head(panel, isFilled, words) {
  setText(panel.querySelector(".note"), words.filter(Boolean).join(" · "));
  panel.querySelector(".scroll").hidden = !isFilled;
  panel.querySelector(".empty").hidden = isFilled;
}
