/**
 * The points of one panel: one column of times and one column of values per series, aligned as
 * uPlot wants them. Bounded: points leave on the left as the window slides, and a panel keeps at
 * most `MAX_SERIES` series (it says how many it left out).
 */
import type { Labels, Panel, PanelQuery, Reading } from './contract';
import type { Grid } from './view';

export const MAX_SERIES = 24;

export interface Column {
  /** Identity across updates: query id and labels. */
  readonly key: string;
  readonly query: string;
  readonly legend: string;
  readonly values: readonly (number | null)[];
}

export interface Series {
  /** Seconds since the epoch, ascending. */
  readonly times: readonly number[];
  readonly columns: readonly Column[];
  /** Series that exist but are not shown. */
  readonly omitted: number;
  /** How far apart points are kept, in seconds. */
  readonly step: number;
}

export const EMPTY: Series = { times: [], columns: [], omitted: 0, step: 1 };

/** One series of a matrix answer: its labels, and pairs of seconds and value. */
export interface MatrixSeries {
  readonly labels: Labels;
  readonly points: readonly (readonly [number, number | null])[];
}

export function seriesKey(query: string, labels: Labels): string {
  const names = Object.keys(labels).sort();
  return JSON.stringify([query, ...names.map((n) => [n, labels[n]])]);
}

/** Fills `{{label}}`; without a template the labels themselves tell the series apart. */
export function legendFor(query: PanelQuery, labels: Labels, panel: Panel): string {
  if (query.legend) {
    return query.legend.replace(/\{\{\s*([A-Za-z_][\w.]*)\s*\}\}/g, (_, n: string) => labels[n] ?? '');
  }
  const own = Object.entries(labels).filter(([name]) => name !== '__name__');
  if (own.length) return own.map(([name, value]) => `${name}=${value}`).join(' ');
  return panel.queries.length > 1 ? query.id : panel.title;
}

/** Builds the columns of a panel from the answers to its queries, null where a series is absent. */
export function fromMatrix(
  panel: Panel,
  answers: Readonly<Record<string, readonly MatrixSeries[]>>,
  grid: Grid,
): Series {
  const count = grid.end < grid.start ? 0 : Math.round((grid.end - grid.start) / grid.step) + 1;
  const times = Array.from({ length: count }, (_, i) => grid.start + i * grid.step);
  const columns: Column[] = [];
  let omitted = 0;
  for (const query of panel.queries) {
    for (const { labels, points } of answers[query.id] ?? []) {
      if (columns.length === MAX_SERIES) {
        omitted++;
        continue;
      }
      const values = new Array<number | null>(count).fill(null);
      for (const [at, value] of points) {
        const i = Math.round((at - grid.start) / grid.step);
        if (i >= 0 && i < count) values[i] = value;
      }
      columns.push({
        key: seriesKey(query.id, labels),
        query: query.id,
        legend: legendFor(query, labels, panel),
        values,
      });
    }
  }
  return { times, columns, omitted, step: grid.step };
}

/**
 * Adds one live reading at `at` (seconds) and lets go what lies before `from`.
 *
 * Readings come more often than a long range keeps points: within one step of the grid the newest
 * replaces the one before it, so the last point is always the present and a day stays at a few
 * hundred points.
 */
export function append(
  series: Series,
  panel: Panel,
  readings: Readonly<Record<string, readonly Reading[]>>,
  at: number,
  from: number,
): Series {
  const last = series.times.at(-1);
  if (last !== undefined && at <= last) return series;
  const replaces =
    last !== undefined && Math.ceil(last / series.step) === Math.ceil(at / series.step);
  const kept = replaces ? series.times.length - 1 : series.times.length;
  const firstInside = series.times.findIndex((t) => t >= from);
  const drop = firstInside < 0 ? kept : Math.min(firstInside, kept);

  const fresh = new Map<string, { query: PanelQuery; reading: Reading }>();
  for (const query of panel.queries) {
    for (const reading of readings[query.id] ?? []) {
      fresh.set(seriesKey(query.id, reading.labels), { query, reading });
    }
  }
  const columns: Column[] = [];
  for (const column of series.columns) {
    const values = column.values.slice(drop, kept);
    values.push(fresh.get(column.key)?.reading.value ?? null);
    fresh.delete(column.key);
    if (values.some((v) => v !== null)) columns.push({ ...column, values });
  }
  let omitted = 0;
  for (const [key, { query, reading }] of fresh) {
    if (reading.value === null) continue;
    if (columns.length === MAX_SERIES) {
      omitted++;
      continue;
    }
    const values = new Array<number | null>(kept - drop).fill(null);
    values.push(reading.value);
    columns.push({
      key,
      query: query.id,
      legend: legendFor(query, reading.labels, panel),
      values,
    });
  }
  const times = series.times.slice(drop, kept);
  times.push(at);
  return { times, columns, omitted: omitted || series.omitted, step: series.step };
}

/** The last known value of a column, with its time. */
export function latest(series: Series, column: Column): { at: number; value: number } | null {
  for (let i = column.values.length - 1; i >= 0; i--) {
    const value = column.values[i];
    const at = series.times[i];
    if (value !== null && value !== undefined && at !== undefined) return { at, value };
  }
  return null;
}
