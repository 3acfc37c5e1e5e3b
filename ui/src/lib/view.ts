/** What the page shows: its whole state as a value, and its one spelling in the address. */

export const RANGES = { '5m': 300, '15m': 900, '1h': 3600, '6h': 21_600, '24h': 86_400 } as const;
export type Range = keyof typeof RANGES;

export interface View {
  readonly range: Range;
  /** A zoomed span in seconds since the epoch; null while the page follows the present. */
  readonly zoom: { readonly from: number; readonly to: number } | null;
  /** Panels that show their table. */
  readonly tables: readonly string[];
  /** Hidden series, as `panel/legend`. */
  readonly hidden: readonly string[];
}

export const DEFAULT_VIEW: View = { range: '15m', zoom: null, tables: [], hidden: [] };

const MIN_ZOOM_SECONDS = 10;
const MAX_ZOOM_SECONDS = 400 * 86_400;

/** Reads the address; what is missing or makes no sense falls back to the default. */
export function readView(search: string): View {
  const params = new URLSearchParams(search);
  const range = params.get('range') ?? '';
  const from = Number(params.get('from') ?? NaN);
  const to = Number(params.get('to') ?? NaN);
  const sound = to - from >= MIN_ZOOM_SECONDS && to - from <= MAX_ZOOM_SECONDS && from > 0;
  return {
    range: Object.hasOwn(RANGES, range) ? (range as Range) : DEFAULT_VIEW.range,
    zoom: sound ? { from, to } : null,
    tables: params.getAll('table').filter(Boolean),
    hidden: params.getAll('hide').filter(Boolean),
  };
}

/** Writes the address; parameters that are not the page's own (`other`) stay as they are. */
export function writeView(view: View, other = ''): string {
  const params = new URLSearchParams(other);
  for (const own of ['range', 'from', 'to', 'table', 'hide']) params.delete(own);
  if (view.range !== DEFAULT_VIEW.range) params.set('range', view.range);
  if (view.zoom) {
    params.set('from', String(view.zoom.from));
    params.set('to', String(view.zoom.to));
  }
  for (const id of view.tables) params.append('table', id);
  for (const key of view.hidden) params.append('hide', key);
  const query = params.toString();
  return query ? `?${query}` : '';
}

/** The zoom that a drag over [from, to] asks for, in whole seconds; null when it was a click. */
export function zoomTo(from: number, to: number): View['zoom'] {
  const a = Math.floor(Math.min(from, to));
  const b = Math.ceil(Math.max(from, to));
  if (!Number.isFinite(a) || !Number.isFinite(b) || a <= 0) return null;
  const missing = Math.max(0, MIN_ZOOM_SECONDS - (b - a));
  const before = Math.floor(missing / 2);
  return { from: a - before, to: b + (missing - before) };
}

export function toggled(items: readonly string[], item: string): string[] {
  return items.includes(item) ? items.filter((i) => i !== item) : [...items, item];
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400];
const POINTS = 300;

/** Step in seconds for a span: about 300 points, and never finer than the page refreshes. */
export function stepFor(spanSeconds: number, refreshSeconds: number): number {
  const wanted = Math.max(spanSeconds / POINTS, refreshSeconds, 1);
  return STEPS.find((s) => s >= wanted) ?? Math.ceil(wanted / 86_400) * 86_400;
}

export interface Grid {
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

/** The instants to ask for, all multiples of the step, so that reloading asks for the same ones. */
export function gridFor(view: View, nowSeconds: number, refreshSeconds: number): Grid {
  const { from, to } = spanOf(view, nowSeconds);
  const step = stepFor(to - from, refreshSeconds);
  return { start: Math.ceil(from / step) * step, end: Math.floor(to / step) * step, step };
}

/** The shown span in seconds since the epoch. */
export function spanOf(view: View, nowSeconds: number): { from: number; to: number } {
  return view.zoom ?? { from: nowSeconds - RANGES[view.range], to: nowSeconds };
}
