// The page: one stream into one model, which is painted at most once a second.

import { Charts } from "./charts.js";
import { Connection } from "./connection.js";
import { setText } from "./dom.js";
import { age } from "./format.js";
import { Lists } from "./lists.js";
import { Model } from "./model.js";
import { Painter } from "./painter.js";
import { StoreFilter } from "./stores.js";
import { Stream } from "./stream.js";
import { Totals } from "./totals.js";

const find = (id) => document.getElementById(id);
const root = document.documentElement;
const title = document.title;
const nothing = find("nothing").textContent;
const unknown = (store) => `The store “${store}” has told nothing yet. Above, all stores can be chosen.`;

let model = new Model();
let shown = null; // the snapshot on the page
let isPaused = false;
let painted = 0;

const charts = new Charts(find("charts"));
const lists = new Lists(find("lists"));
const totals = new Totals(find("totals"));
const connection = new Connection(find("connection"));
const painter = new Painter(paint);
const filter = new StoreFilter(find("store"), follow);
const stream = new Stream({ onmessage: received, onstate: connected });

setText(find("host"), location.host);
find("pause").addEventListener("click", () => pause(!isPaused));
setInterval(tick, 1000);
addEventListener("pageshow", (event) => event.persisted && follow(filter.store));
addEventListener("pagehide", () => stream.close());
stream.follow(filter.store);

function received(kind, data) {
  if (kind === "gap") return connection.missed(data.missed);
  if (kind === "history" && model.takeHistory(data)) connection.missed(null);
  if (kind === "summary") model.takeSummary(data);
  filter.offer(data.stores);
  painter.request();
}

function connected(state) {
  if (connection.take(state, model.latest?.now ?? null)) charts.tellAnew();
  root.dataset.connection = connection.kind;
  showState();
}

function follow(store) {
  model = new Model();
  charts.tellAnew();
  pause(false);
  stream.follow(store);
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
  lists.show(shown);
  totals.show(shown);
  const { operations, commits, rollbacks } = shown.totals;
  setText(find("nothing"), filter.store === null ? nothing : unknown(filter.store));
  root.dataset.content = operations + commits + rollbacks + shown.inFlightTotal > 0 ? "some" : "none";
  root.dataset.painted = String((painted += 1));
  root.toggleAttribute("data-beat", painted % 2 === 0);
  showState();
}

function tick() {
  connection.tick();
  showState();
}

function showState() {
  const behind = isPaused && shown && model.latest ? model.latest.now - shown.now : 0;
  const words = { connecting: "Connecting", live: "Live", lost: "Connection lost" }[connection.kind];
  setText(find("state"), isPaused ? `Paused, ${age(behind)} behind` : words);
  const told = connection.kind === "lost" ? words : isPaused ? "Paused" : "";
  document.title = told ? `${told} – ${title}` : title;
}
