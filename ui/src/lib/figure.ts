/** The current figure of a panel: what its tile says, out of the newest readings. */
import type { MetricUpdate, Panel, PanelState } from './contract';
import type { Series } from './series';
import { latest, legendFor, seriesKey } from './series';
import { classify, worst } from './state';

export interface Part {
  readonly key: string;
  readonly query: string;
  readonly legend: string;
  readonly value: number | null;
}

export interface Figure {
  /** Null where nothing judges the panel (no threshold). */
  readonly state: PanelState | null;
  readonly value: number | null;
  /** The part that `value` belongs to; null when it stands for several or none. */
  readonly lead: string | null;
  readonly parts: readonly Part[];
  /** Milliseconds since the epoch of the reading. */
  readonly at: number | null;
}

/** Until the first live reading comes, the end of the fetched history stands in for it. */
export function figureOf(panel: Panel, update: MetricUpdate | null, history: Series | null): Figure {
  const readings = update?.panels[panel.id];
  const parts = readings ? partsOf(panel, readings) : history ? endOf(history) : [];
  const at = readings && update ? update.at : ((history?.times.at(-1) ?? NaN) * 1000 || null);
  const lead = panel.stateOf ?? panel.queries[0]?.id;
  const leading = parts.filter((p) => p.query === lead);
  const judged = panel.stateOf !== null || panel.threshold !== null;
  const given = update?.states[panel.id];
  if (!judged) {
    // Several series of one query stand beside each other: none of them speaks for the panel.
    const first = leading.length === 1 ? leading[0] : undefined;
    const known = parts.some((p) => p.value !== null);
    const state = known ? null : classify(null, null);
    return { state, value: first?.value ?? null, lead: first?.key ?? null, parts, at };
  }
  const own = worst(
    leading.map((p) => p.value),
    panel.threshold,
  );
  const state = given ?? classify(own, panel.threshold);
  const value = state.value ?? own;
  const speaker = leading.find((p) => p.value === value) ?? leading[0];
  return { state, value, lead: speaker?.key ?? null, parts, at };
}

function partsOf(panel: Panel, readings: MetricUpdate['panels'][string]): Part[] {
  return panel.queries.flatMap((query) =>
    (readings[query.id] ?? []).map(({ labels, value }) => ({
      key: seriesKey(query.id, labels),
      query: query.id,
      legend: legendFor(query, labels, panel),
      value,
    })),
  );
}

function endOf(history: Series): Part[] {
  const end = history.times.at(-1);
  return history.columns.map((column) => {
    const { key, query, legend } = column;
    const last = latest(history, column);
    // What ended long before the window's end is not the current value.
    const recent = last && end !== undefined && end - last.at <= 2 * history.step;
    return { key, query, legend, value: recent ? last.value : null };
  });
}
