// The three lists: what is in flight, what failed or was rolled back, what ended last.

import { Rows, element, setText } from "./dom.js";
import { NOTHING, age, bytes, clock, count, duration, joined, moment, percent, plural } from "./format.js";

const LONG = 180; // characters of an error's message that are shown before it must be opened
const SLASHES = 20; // of a key, after which its line may be broken

const OUTCOMES = {
  ok: ["✓", "ok"],
  miss: ["∅", "miss"],
  error: ["✕", "error"],
  cancelled: ["◌", "cancelled"],
  committed: ["✓", "committed"],
  rolled_back: ["↺", "rolled back"],
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

/** Words from the program: they may run from right to left, and must not take what is around them along. */
const foreign = (words) => element("bdi", {}, words);

const time = (epoch) => element("time", { datetime: new Date(epoch * 1000).toISOString() }, clock(epoch));

function about(kind, store) {
  return cell("about", element("b", {}, kind), " ", element("span", { class: "store" }, foreign(store ?? NOTHING)));
}

function key(value) {
  return value === null || value === undefined ? blank("key") : cell("key", element("code", {}, path(value)));
}

/** A key, whose line is broken after a slash where that helps; of many slashes, only after the first. */
function path(value) {
  const text = String(value);
  const words = element("bdi");
  for (const part of text.split("/", SLASHES).slice(0, -1)) words.append(`${part}/`, element("wbr"));
  words.append(text.slice(words.textContent.length));
  return words;
}

/** An operation in flight; those that have a known size get a bar. */
function inFlightRow(one) {
  const ageNode = cell("age");
  const moved = element("span", { class: "moved" });
  const progress = cell("progress", moved);
  const node = row(ageNode, about(one.operation ?? "operation", one.store), key(one.key), progress);
  let bar = null;
  return {
    node,
    update(now) {
      setText(ageNode, age(now.age));
      if (now.expected > 0 && bar === null) {
        const label = `${now.operation} ${now.key ?? ""} in ${now.store}`;
        bar = element("progress", { "aria-label": label, class: now.direction ?? "" });
        progress.append(bar);
      }
      if (bar) {
        bar.max = now.expected ?? Math.max(now.bytes, 1);
        bar.value = Math.min(now.bytes, bar.max);
      }
      setText(moved, movedText(now));
    },
  };
}

function movedText({ bytes: moved, expected, direction }) {
  if (expected > 0) return `${joined(percent(Math.floor((100 * moved) / expected) / 100))} of ${joined(bytes(expected))}`;
  if (direction === null) return "no bytes to move";
  return moved > 0 ? `${joined(bytes(moved))} so far` : "nothing moved yet";
}

function transactionRow(one) {
  const ageNode = cell("age");
  const notes = one.notes ? foreign(one.notes) : element("span", { class: "none" }, "no notes");
  const node = row(ageNode, about("transaction", one.store), cell("notes", notes), cell("progress", "open"));
  return { node, update: (now) => setText(ageNode, age(now.age)) };
}

function message(error, errorType) {
  if (!error) return errorType ?? NOTHING;
  const name = element("b", {}, error.type);
  const words = String(error.message ?? "");
  if (words.length <= LONG) return element("span", {}, name, words ? ": " : "", foreign(words));
  const more = element("summary", {}, name, ": ", foreign(`${words.slice(0, LONG)}…`));
  return element("details", {}, more, element("p", {}, foreign(words)));
}

function failureRow(one) {
  const isOperation = one.what === "operation";
  const notes = one.notes ? [foreign(one.notes), " · "] : [];
  const node = row(
    cell("when", time(one.time)),
    cell("outcome", tag(one.outcome)),
    about(isOperation ? (one.operation ?? "operation") : "transaction", one.store),
    isOperation ? key(one.key) : cell("notes", ...notes, plural(one.operations ?? 0, "operation")),
    one.error || one.error_type ? cell("error", message(one.error, one.error_type)) : blank("error"),
    cell("took", joined(duration(one.duration))),
  );
  const told = node.querySelector("time");
  return { node, update: (_, now) => setText(told, moment(one.time, now)) };
}

function recentRow(one) {
  const node = row(
    cell("when", time(one.time)),
    about(one.operation ?? "operation", one.store),
    key(one.key),
    cell("outcome", tag(one.outcome)),
    one.direction ? cell("bytes", joined(bytes(one.bytes))) : blank("bytes"),
    cell("took", joined(duration(one.duration))),
  );
  const told = node.querySelector("time");
  return { node, update: (_, now) => setText(told, moment(one.time, now)) };
}

export class Lists {
  constructor(root) {
    const find = (name) => root.querySelector(`#${name}`);
    const rowsOf = (panel, keyOf, make) => new Rows(panel.querySelector("tbody"), keyOf, make);
    this._panels = { flight: find("in-flight"), failures: find("failures"), recent: find("recent") };
    this._underWay = rowsOf(
      this._panels.flight,
      (one) => one.operation_id ?? `transaction ${one.transaction_id}`,
      (one) => (one.operation_id ? inFlightRow(one) : transactionRow(one)),
    );
    this._failures = rowsOf(this._panels.failures, (one) => one.id, failureRow);
    this._recent = rowsOf(this._panels.recent, (one) => one.id, recentRow);
  }

  show(snapshot) {
    const { inFlight, inFlightTotal, transactions, failures, recent, notListed, now } = snapshot;
    const underWay = [...transactions, ...inFlight];
    this._underWay.show(underWay, now);
    this._failures.show(failures, now);
    this._recent.show(recent, now);
    head(this._panels.flight, underWay.length > 0, [
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

/** The line beside a panel's heading; and either its table or what stands for an empty one. */
function head(panel, isFilled, words) {
  setText(panel.querySelector(".note"), words.filter(Boolean).join(" · "));
  panel.querySelector(".scroll").hidden = !isFilled;
  panel.querySelector(".empty").hidden = isFilled;
}
