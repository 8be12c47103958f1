// The processes of a program: their names, and the marks for their starts and ends. No DOM.

import { plural } from "./format.js";

/** The marks on the charts by kind: a sign, words, and the name of a colour. */
export const MARKS = {
  restarted: { sign: "", words: "restart", colour: "soft" },
  started: { sign: "▸", words: "started", colour: "soft" },
  ended: { sign: "■", words: "ended", colour: "soft" },
  vanished: { sign: "✕", words: "vanished", colour: "error" },
};

const identity = ({ pid, started }) => `${pid} ${started}`;

export class Processes {
  constructor() {
    this.all = [];
    this._lost = []; // that ended with the server, which could not report it
  }

  /** Sets the list of a message. */
  set(processes) {
    this.all = processes;
  }

  /**
   * Sets the list of another server. Returns whether a process of the program has taken over: then it knows one of
   * those known here. Those that are missing have vanished after `time`.
   */
  takeOver(processes, time) {
    const known = new Set(processes.map(identity));
    const missing = this.all.filter((one) => !known.has(identity(one)));
    if (missing.length === this.all.length) return false;
    const vanished = (one) => (one.state === "running" ? { ...one, state: "vanished", ended_at: time } : one);
    this._lost.push(...missing.map(vanished));
    this.all = processes;
    return true;
  }

  /** Returns the marks since a time: `{time, kind, pid}`. A program of one process has none. */
  marks(since) {
    const all = [...this._lost, ...this.all];
    if (all.length < 2) return [];
    const started = all.map((one) => ({ time: one.started, kind: "started", pid: one.pid }));
    const over = all.filter((one) => one.ended_at !== null);
    const ended = over.map((one) => ({ time: one.ended_at, kind: one.state, pid: one.pid }));
    return [...started, ...ended].filter(({ time }) => time >= since).sort((one, other) => one.time - other.time);
  }
}

/** Returns the name of a program, its host, and its process, the selected one, or the number of those that run. */
export function programTexts(program, processes, selected) {
  if (program === null) return [];
  const running = processes.filter(({ state }) => state === "running");
  const pid = selected ?? (running.length === 1 ? running[0].pid : null);
  return [program.name, program.host, pid === null ? plural(running.length, "process", "processes") : `pid ${pid}`];
}

/** Returns the choices of a selection: the running processes first. */
export function choices(processes) {
  const isOver = ({ state }) => Number(state !== "running");
  const sorted = [...processes].sort((one, other) => isOver(one) - isOver(other) || one.pid - other.pid);
  return sorted.map(({ pid, name, state }) => [
    String(pid),
    `${pid} ${name}${state === "running" ? "" : ` (${MARKS[state].words})`}`,
  ]);
}
