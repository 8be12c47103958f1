// The page: one stream updates one model, which is painted at most once per second.

import { Charts } from "./charts.js";
import { Connection } from "./connection.js";
import { setText } from "./dom.js";
import { age, day } from "./format.js";
import { Lists } from "./lists.js";
import { Model } from "./model.js";
import { Operations } from "./operations.js";
import { Painter } from "./painter.js";
import { choices, programTexts } from "./processes.js";
import { Selection } from "./selection.js";
import { Stream } from "./stream.js";
import { Totals } from "./totals.js";

const find = (id) => document.getElementById(id);
const root = document.documentElement;
const emptyText = find("nothing").textContent;
const unknownText = (what, name, everything) =>
  `No operation of the ${what} “${name}” has been seen yet. Select “${everything}” above to see the others.`;

let model = new Model();
let shown = null; // the snapshot on the page
let isPaused = false;
let painted = 0;

const charts = new Charts(find("charts"));
const lists = new Lists(find("lists"));
const table = new Operations(find("operations"));
const totals = new Totals(find("totals"));
const connection = new Connection(find("connection"));
const painter = new Painter(paint);
const store = new Selection(find("store"), "store", "All stores", follow);
const process = new Selection(find("process"), "process", "All processes", follow);
const stream = new Stream({ onmessage: receive, onstate: updateConnection });

find("pause").addEventListener("click", () => pause(!isPaused));
setInterval(tick, 1000);
addEventListener("pageshow", (event) => event.persisted && follow());
addEventListener("pagehide", () => stream.close());
stream.follow(selection());

function selection() {
  return { store: store.value, process: process.value };
}

function receive(kind, data) {
  if (kind === "gap") return connection.setMissed(data.missed);
  if (kind === "history") connection.setServer(model.applyHistory(data));
  if (kind === "summary") model.applySummary(data);
  store.setChoices(data.stores.map((name) => [name, name]));
  showProcesses();
  painter.request();
}

function updateConnection(state) {
  if (connection.setState(state, model.latest?.now ?? null)) charts.expireLabels();
  root.dataset.connection = connection.kind;
  showState();
}

function follow() {
  model = new Model();
  charts.expireLabels();
  pause(false);
  stream.follow(selection());
}

/** Shows what concerns several processes only if there are several. */
function showProcesses() {
  const { all } = model.processes;
  process.setChoices(choices(all));
  root.toggleAttribute("data-processes", all.length > 1 || process.value !== null);
}

function pause(wanted) {
  isPaused = wanted;
  root.toggleAttribute("data-paused", isPaused);
  setText(find("pause-text"), isPaused ? "Resume" : "Pause");
  showState();
  if (model.latest) painter.request();
}

function paint() {
  if ((isPaused && shown) || !model.latest) return;
  shown = model.snapshot();
  charts.show(shown);
  table.show(shown);
  lists.show(shown);
  totals.show(shown);
  const { operations, commits, rollbacks } = shown.totals;
  setText(find("nothing"), nothingText());
  showReplay();
  root.dataset.content = operations + commits + rollbacks + shown.inFlightTotal > 0 ? "some" : "none";
  root.dataset.painted = String((painted += 1));
  root.toggleAttribute("data-beat", painted % 2 === 0);
  showState();
}

/** Shows that the events are recorded ones, and when the latest of them was emitted. */
function showReplay() {
  const { replayed } = shown;
  find("replay").hidden = replayed === null;
  if (replayed !== null) setText(find("replay").querySelector("span"), `of ${day(replayed)}`);
}

function nothingText() {
  if (store.value !== null) return unknownText("store", store.value, "All stores");
  return process.value === null ? emptyText : unknownText("process", process.value, "All processes");
}

function tick() {
  connection.tick();
  showState();
}

function showState() {
  const behind = isPaused && shown && model.latest ? model.latest.now - shown.now : 0;
  const words = { connecting: "Connecting", live: "Live", lost: "Connection lost" }[connection.kind];
  setText(find("state"), isPaused ? `Paused, ${age(behind)} behind` : words);
  const status = connection.kind === "lost" ? words : isPaused ? "Paused" : "";
  const program = programTexts(model.program, model.processes.all, process.value);
  setText(find("program"), program.join(" · "));
  const replay = shown !== null && shown.replayed !== null ? "Replay" : "";
  document.title = [status, replay, program.join(" "), "Encore"].filter(Boolean).join(" – ");
}
