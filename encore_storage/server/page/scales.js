// The vertical scales. One of quantities is logarithmic while a burst would flatten everything else, and says so.

import { duration, joined } from "./format.js";

const LOW = 0.05; // of the height: lower values cannot be read
const SPACE = 0.16; // of the height between two marks
const SHARE = 0.05; // of the values, from which on too many are low
const ROUND = [1, 1.5, 2, 3, 4, 5, 6, 8, 10]; // times a power of ten: the marks of a side that no other mark is on

/** The scale of values of either sign, linear or logarithmic. From 0 to `unit`, it is linear in both cases. */
export class QuantityScale {
  /** `unit` is the smallest value of interest; `least` are the ends of the shortest axis; `room` is above the peak. */
  constructor(unit, least, { room = 1.08, incrs, format }) {
    this.isLogarithmic = false;
    this._unit = unit;
    this._hasTwoSides = least[0] < 0;
    const beyond = (value) => this._backward(this._forward(value ?? 0) * room);
    this.scale = {
      distr: 100,
      fwd: (value) => this._forward(value),
      bwd: (value) => this._backward(value),
      range: (_, min, max) => this._withRoom(Math.min(least[0], beyond(min)), Math.max(least[1], beyond(max))),
    };
    this.axis = {
      incrs,
      splits: (_, __, min, max, interval) =>
        this._onBothSides(this.isLogarithmic ? this._decades(min, max) : multiples(interval, min, max), min, max),
      filter: (_, marks) => marks,
      values: (_, marks) => marks.map((mark) => format(Math.abs(mark))),
    };
  }

  /** Chooses the scale for the columns to show. */
  choose(columns) {
    const sizes = columns.flat().filter(Boolean).map(Math.abs);
    const low = Math.max(0, ...sizes) * LOW;
    this.isLogarithmic = sizes.filter((size) => size < low).length > sizes.length * SHARE;
  }

  _forward(value) {
    return this.isLogarithmic ? Math.asinh(value / this._unit) : value;
  }

  _backward(value) {
    return this.isLogarithmic ? Math.sinh(value) * this._unit : value;
  }

  /** Returns the range, extended so that the smaller of two sides has room for a mark. */
  _withRoom(min, max) {
    if (!this._hasTwoSides) return [min, max];
    const larger = this._forward(Math.max(max, -min));
    const least = roundUp(this._backward((larger * SPACE) / (1 - SPACE)));
    return [Math.min(min, -least), Math.max(max, least)];
  }

  /** Adds a mark on each side that has none. */
  _onBothSides(marks, min, max) {
    if (!this._hasTwoSides) return marks;
    const below = marks.some((mark) => mark < 0) ? [] : [-roundDown(-min)];
    const above = marks.some((mark) => mark > 0) ? [] : [roundDown(max)];
    return [...below, ...marks, ...above];
  }

  /** Returns zero and as many powers of ten on both sides as have room. */
  _decades(min, max) {
    const [low, high] = [this._forward(min), this._forward(max)];
    const until = Math.floor(Math.log10(Math.max(max, -min) / this._unit));
    const step = Math.ceil((SPACE * (high - low)) / Math.LN10);
    const powers = [];
    for (let power = until; this._forward(10 ** power * this._unit) > SPACE * (high - low); power -= step) powers.push(power);
    const marks = powers.map((power) => 10 ** power * this._unit);
    return [...marks.map((mark) => -mark), 0, ...marks.reverse()].filter((mark) => mark >= min && mark <= max);
  }
}

const roundNumbers = (value) => ROUND.map((one) => Number(`${one}e${value.toExponential().split("e")[1]}`));
const roundUp = (value) => roundNumbers(value).find((one) => one >= value);
const roundDown = (value) => roundNumbers(value).findLast((one) => one <= value);

function multiples(interval, min, max) {
  const marks = [];
  for (let count = Math.ceil(min / interval); count * interval <= max; count += 1) marks.push(count * interval);
  return marks;
}

/** The scale of durations, which is always logarithmic. */
export class LatencyScale {
  constructor() {
    this.isLogarithmic = true;
    this.scale = { distr: 3, log: 10, range: logRange };
    this.axis = {
      splits: logarithmic,
      filter: (_, marks) => marks,
      values: (_, marks) => marks.map((mark) => joined(duration(mark))),
    };
  }

  choose() {}
}

/** Returns the decades of an axis, with 2 and 5 in between where there are few. */
function logarithmic(_, __, min, max) {
  const decades = Math.log10(max / min);
  const steps = decades < 1.5 ? [1, 2, 5] : [1];
  const marks = [];
  const skip = decades > 5 ? 2 : 1;
  for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power += skip) {
    marks.push(...steps.map((step) => Number((step * 10 ** power).toPrecision(3))));
  }
  return marks.filter((mark) => mark >= min && mark <= max);
}

function logRange(_, min, max) {
  if (min === null || max === null) return [0.0001, 1];
  return [Math.max(min, 1e-9) / 1.5, Math.max(max * 1.5, min * 8)];
}
