// Formatting of numbers, durations and times. A quantity is a pair: the figure and its unit.

export const NOTHING = "–";

const SPACE = "\u202f"; // narrow no-break space
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const clockOf = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayOf = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

const fullOf = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

const DAY = 86_400;
const THOUSANDS = ["", "k", "M", "G", "T", "P", "E"];

/** Formats a number with at most three digits and no trailing zeros. */
function digits(value) {
  const size = Math.abs(value);
  return String(Number(value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2)));
}

/** Returns the value in the largest unit, in steps of 1000, in which it is at least 1. */
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

/** Formats a rate per second; with an SI prefix from ten thousand on. */
export function rate(value, unit = "/s") {
  if (value === null) return [NOTHING, ""];
  if (Math.abs(value) < 9_999.5) return [Math.abs(value) < 99.95 ? digits(value) : whole.format(value), unit];
  const [figure, thousands] = scaled(value, THOUSANDS);
  return [figure, thousands + unit];
}

/** Formats bytes in decimal units. */
export function bytes(value, suffix = "") {
  if (value === null) return [NOTHING, ""];
  const [figure, thousands] = scaled(value, THOUSANDS);
  return [figure, `${thousands}B${suffix}`];
}

/** Formats a duration, from nanoseconds to hours. */
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

/** Formats a share of 1 as a percentage. */
export function percent(share) {
  if (share === null) return [NOTHING, ""];
  return [share > 0 && share < 0.0001 ? "<0.01" : digits(share * 100), "%"];
}

/** Formats whole seconds in the two largest units that are not zero. */
export function age(seconds) {
  const total = Math.max(0, Math.floor(seconds));
  const parts = [[DAY, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = Math.max(0, parts.findIndex(([size]) => total >= size));
  if (total === 0) return `0${SPACE}s`;
  const [size, unit] = parts[first];
  const words = [`${Math.floor(total / size)}${SPACE}${unit}`];
  const next = parts[first + 1];
  const rest = next ? Math.floor((total % size) / next[0]) : 0;
  if (rest > 0) words.push(`${rest}${SPACE}${next[1]}`);
  return words.join(" ");
}

/** Formats a date with the time of day. */
export const day = (epoch) => fullOf.format(new Date(epoch * 1000));

/** Formats the time of day in the time zone of the browser. */
export const clock = (epoch) => clockOf.format(new Date(epoch * 1000));

/** Formats the time of day, with the date if `now` is on another day. */
export function moment(epoch, now) {
  const [one, other] = [new Date(epoch * 1000), new Date(now * 1000)];
  return one.toDateString() === other.toDateString() ? clock(epoch) : dayOf.format(one);
}

/** Joins a quantity to one string. */
export const joined = ([figure, unit]) => (unit ? `${figure}${unit === "%" ? "" : SPACE}${unit}` : figure);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
