// Numbers, durations and times as people read them. Each quantity is a pair: the figure and its unit.

export const NOTHING = "–";

const SPACE = "\u202f"; // narrow, and no place to break a line
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const clockOf = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayOf = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

const DAY = 86_400;
const THOUSANDS = ["", "k", "M", "G", "T", "P", "E"];

/** Three digits at most, and no zeros that tell nothing. */
function digits(value) {
  const size = Math.abs(value);
  return String(Number(value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2)));
}

/** The value in the largest unit of thousands in which it is at least 1. */
function scaled(value, units) {
  let step = 0;
  let rest = value;
  while (Math.abs(rest) >= 999.5 && step < units.length - 1) {
    rest /= 1000;
    step += 1;
  }
  return [digits(rest), units[step]];
}

export const count = (value) => whole.format(value);

/** So many in a second; a number of ten thousand and more is shortened. */
export function rate(value, unit = "/s") {
  if (value === null) return [NOTHING, ""];
  if (Math.abs(value) < 9_999.5) return [Math.abs(value) < 99.95 ? digits(value) : whole.format(value), unit];
  const [figure, thousands] = scaled(value, THOUSANDS);
  return [figure, thousands + unit];
}

/** Bytes in decimal units. */
export function bytes(value, suffix = "") {
  if (value === null) return [NOTHING, ""];
  const [figure, thousands] = scaled(value, THOUSANDS);
  return [figure, `${thousands === "k" ? "k" : thousands}B${suffix}`];
}

/** How long something took: from nanoseconds to hours. */
export function duration(seconds) {
  if (seconds === null) return [NOTHING, ""];
  if (seconds === 0) return ["0", "s"];
  if (seconds < 0.9995) {
    const units = [[1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
    const [size, unit] = units.find(([one]) => seconds >= one * 0.9995) ?? units[2];
    return [digits(seconds / size), unit];
  }
  return seconds < 99.95 ? [digits(seconds), "s"] : [age(seconds), ""];
}

/** A share of the whole. */
export function percent(share) {
  if (share === null) return [NOTHING, ""];
  return [share > 0 && share < 0.0001 ? "<0.01" : digits(share * 100), "%"];
}

/** Whole seconds, minutes, hours or days: the two greatest that tell something. */
export function age(seconds) {
  const total = Math.max(0, Math.floor(seconds));
  const parts = [[DAY, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = Math.max(0, parts.findIndex(([size]) => total >= size));
  if (total === 0) return `0${SPACE}s`;
  const [size, unit] = parts[first];
  const told = [`${Math.floor(total / size)}${SPACE}${unit}`];
  const next = parts[first + 1];
  const rest = next ? Math.floor((total % size) / next[0]) : 0;
  if (rest > 0) told.push(`${rest}${SPACE}${next[1]}`);
  return told.join(" ");
}

/** The time of day, in the zone of whoever looks. */
export const clock = (epoch) => clockOf.format(new Date(epoch * 1000));

/** The time of day, with the date where that is another day than `now`. */
export function moment(epoch, now) {
  const [one, other] = [new Date(epoch * 1000), new Date(now * 1000)];
  return one.toDateString() === other.toDateString() ? clock(epoch) : dayOf.format(one);
}

/** A quantity as one string. */
export const joined = ([figure, unit]) => (unit ? `${figure}${unit === "%" ? "" : SPACE}${unit}` : figure);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
