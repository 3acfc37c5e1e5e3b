/** Numbers, durations and moments as people read them. Every function takes null for "unknown". */

export interface Shown {
  /** The number alone, already rounded: "412". */
  readonly number: string;
  /** Its unit, to be set smaller beside it: "ms". */
  readonly unit: string;
}

export const NOTHING = '–';

/** Three significant digits at most and never an exponent: people compare these by eye. */
function rounded(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return trim(value.toFixed(1));
  if (size >= 1) return trim(value.toFixed(2));
  if (size >= 0.001) return trim(value.toFixed(3));
  return value > 0 ? '<0.001' : '>−0.001';
}

function trim(digits: string): string {
  return digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits;
}

/** 1234 → "1,234"; 1234567 → "1.23 M". */
function grouped(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e12) return `${rounded(value / 1e12)} T`;
  if (size >= 1e9) return `${rounded(value / 1e9)} G`;
  if (size >= 1e6) return `${rounded(value / 1e6)} M`;
  if (size >= 1000) return Math.round(value).toLocaleString('en-GB');
  return rounded(value);
}

function seconds(value: number): Shown {
  const size = Math.abs(value);
  if (size === 0) return { number: '0', unit: 'ms' };
  if (size < 0.001) return { number: rounded(value * 1e6), unit: 'µs' };
  if (size < 0.9995) return { number: rounded(value * 1000), unit: 'ms' };
  if (size < 120) return { number: trim(value.toFixed(size < 10 ? 2 : 1)), unit: 's' };
  if (size < 7200) return { number: trim((value / 60).toFixed(1)), unit: 'min' };
  return { number: trim((value / 3600).toFixed(1)), unit: 'h' };
}

function bytes(value: number): Shown {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let n = value;
  let i = 0;
  for (; Math.abs(n) >= 1000 && i < units.length - 1; i++) n /= 1000;
  return { number: rounded(n), unit: units[i] ?? 'B' };
}

function percent(value: number): Shown {
  const share = value * 100;
  const size = Math.abs(share);
  // Near 100 % one digit tells 99.9 from 100; near 0 two digits tell 0.05 from nothing.
  return { number: trim(share.toFixed(size < 1 ? 2 : 1)), unit: '%' };
}

/** A value in the unit of its panel ("s", "ratio", "bytes", "count", "req/s" or any other word). */
export function shown(value: number | null, unit: string): Shown {
  if (value === null || !Number.isFinite(value)) return { number: NOTHING, unit: '' };
  switch (unit) {
    case 's':
    case 'seconds':
      return seconds(value);
    case 'ms':
      return seconds(value / 1000);
    case 'ratio':
      return percent(value);
    case 'bytes':
    case 'B':
      return bytes(value);
    case 'B/s': {
      const b = bytes(value);
      return { number: b.number, unit: `${b.unit}/s` };
    }
    case 'count':
    case '':
      return { number: grouped(value), unit: '' };
    default:
      return { number: grouped(value), unit };
  }
}

/** `shown` in one piece: "412 ms", "98.5 %", "12 req/s". */
export function plain(value: number | null, unit: string): string {
  const s = shown(value, unit);
  return s.unit ? `${s.number}\u202f${s.unit}` : s.number;
}

const SELF_EVIDENT = ['s', 'ms', 'seconds', 'ratio', 'bytes', 'B', 'B/s'];

/** The unit to state once beside a title, where figures below it go without: "req/s". */
export function titleUnit(unit: string): string {
  return unit === 'count' || SELF_EVIDENT.includes(unit) ? '' : unit;
}

/** A figure under a title that states the unit: "412 ms", "98.5 %", but "12" for req/s. */
export function short(value: number | null, unit: string): string {
  return titleUnit(unit) ? shown(value, unit).number : plain(value, unit);
}

/**
 * Figures of one list, each under its title as `short` has it: plain numbers with as many digits
 * after the point as the largest needs, so that they compare by eye.
 */
export function aligned(values: readonly (number | null)[], unit: string): string[] {
  const top = Math.max(...values.map((v) => Math.abs(v ?? 0)), 0);
  if (SELF_EVIDENT.includes(unit) || top >= 1000) return values.map((v) => short(v, unit));
  const whole = values.every((v) => v === null || Number.isInteger(v));
  const digits = whole || top >= 100 ? 0 : top >= 10 ? 1 : 2;
  const least = 10 ** -digits;
  return values.map((v) => {
    if (v === null) return NOTHING;
    if (v !== 0 && Math.abs(v) < least / 2) return `<${least.toFixed(digits)}`;
    return v.toFixed(digits);
  });
}

/** Which power of the unit a whole axis uses, so that its ticks compare by eye. */
export function axisLabels(ticks: readonly number[], unit: string): string[] {
  const top = Math.max(...ticks.map(Math.abs), 0);
  if (unit === 's' || unit === 'ms' || unit === 'seconds') {
    const inSeconds = unit === 'ms' ? 0.001 : 1;
    const milli = top * inSeconds < 1;
    const factor = inSeconds * (milli ? 1000 : 1);
    return ticks.map((t) => `${trim((t * factor).toFixed(2))}\u202f${milli ? 'ms' : 's'}`);
  }
  if (unit === 'ratio') return ticks.map((t) => `${trim((t * 100).toFixed(2))}\u202f%`);
  if (unit === 'bytes' || unit === 'B' || unit === 'B/s') {
    return ticks.map((t) => plain(t, 'bytes'));
  }
  return ticks.map((t) => grouped(t));
}

/** 75 s → "1 min"; for "how long": the largest unit, a second one where it matters. */
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 && s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 60)} min`;
  if (s < 86_400) {
    const minutes = Math.floor((s % 3600) / 60);
    return minutes ? `${Math.floor(s / 3600)} h ${minutes} min` : `${Math.floor(s / 3600)} h`;
  }
  const hours = Math.floor((s % 86_400) / 3600);
  return hours ? `${Math.floor(s / 86_400)} d ${hours} h` : `${Math.floor(s / 86_400)} d`;
}

const pad = (n: number): string => String(n).padStart(2, '0');

/** Local wall-clock time with seconds: "14:03:05". */
export function clockTime(ms: number | null): string {
  if (ms === null) return NOTHING;
  const d = new Date(ms);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

/** Local date and time, for titles and tables: "2026-11-21 14:03:05". */
export function dateTime(ms: number | null): string {
  if (ms === null) return NOTHING;
  const d = new Date(ms);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clockTime(ms)}`;
}

/** The span as it is stated on the page; the date only where the two ends need it. */
export function period(fromMs: number, toMs: number): string {
  const sameDay = dateTime(fromMs).slice(0, 10) === dateTime(toMs).slice(0, 10);
  return sameDay
    ? `${clockTime(fromMs)} – ${clockTime(toMs)}`
    : `${dateTime(fromMs).slice(0, 16)} – ${dateTime(toMs).slice(0, 16)}`;
}

/** The browser's offset as "UTC+1" or "UTC−3:30"; minutes as `Date.getTimezoneOffset` has them. */
export function zone(offsetMinutes: number): string {
  if (offsetMinutes === 0) return 'UTC';
  const sign = offsetMinutes < 0 ? '+' : '−';
  const minutes = Math.abs(offsetMinutes);
  const rest = minutes % 60;
  return `UTC${sign}${Math.floor(minutes / 60)}${rest ? `:${pad(rest)}` : ''}`;
}
