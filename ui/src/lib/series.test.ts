import { describe, expect, it } from 'vitest';
import type { Panel } from './contract';
import { append, EMPTY, fromMatrix, latest, legendFor, MAX_SERIES, seriesKey } from './series';

const panel: Panel = {
  id: 'p',
  title: 'Panel',
  description: '',
  kind: 'timeseries',
  unit: 's',
  queries: [
    { id: 'a', expr: 'a', legend: '{{ state }}' },
    { id: 'b', expr: 'b', legend: '' },
  ],
  threshold: null,
  stateOf: null,
};
const query = panel.queries[0]!;
const grid = { start: 100, end: 140, step: 10 };
const reading = (state: string, value: number | null) => ({ labels: { state }, value });

describe('history', () => {
  it('stands on one grid, with null where a series is absent', () => {
    const series = fromMatrix(
      panel,
      { a: [{ labels: { state: 'x' }, points: [[100, 1], [120, null], [140, 3]] }] },
      grid,
    );
    expect(series.times).toEqual([100, 110, 120, 130, 140]);
    expect(series.columns.map((c) => c.values)).toEqual([[1, null, null, null, 3]]);
  });

  it('says how many series it left out', () => {
    const many = Array.from({ length: MAX_SERIES + 5 }, (_, i) => ({ labels: { state: `${i}` }, points: [] }));
    const series = fromMatrix(panel, { a: many }, grid);
    expect([series.columns.length, series.omitted]).toEqual([MAX_SERIES, 5]);
  });

  it('is empty, not wrong, when the span is shorter than a step', () => {
    expect(fromMatrix(panel, {}, { start: 20, end: 10, step: 10 }).times).toEqual([]);
  });
});

describe('live readings', () => {
  const start = fromMatrix(
    panel,
    { a: [{ labels: { state: 'x' }, points: [[100, 1], [110, 1], [120, 1], [130, 1], [140, 1]] }] },
    grid,
  );

  it('keep the step: the newest stands last, those between are replaced', () => {
    let series = start;
    for (let at = 141; at <= 160; at++) series = append(series, panel, { a: [reading('x', at)] }, at, 100);
    expect(series.times).toEqual([100, 110, 120, 130, 140, 150, 160]);
    expect(series.columns[0]?.values.slice(-2)).toEqual([150, 160]);
  });

  it('stay bounded however long the page is open', () => {
    let series = start;
    for (let at = 141; at < 5000; at++) series = append(series, panel, { a: [reading('x', 1)] }, at, at - 40);
    expect(series.times.length).toBeLessThanOrEqual(6);
    expect(series.times[0]).toBeGreaterThanOrEqual(4999 - 40);
  });

  it('make a gap where a series is missing and a column where one is new', () => {
    const series = append(start, panel, { a: [reading('y', 5)] }, 150, 100);
    expect(series.columns.map((c) => [c.legend, c.values.at(-1)])).toEqual([['x', null], ['y', 5]]);
    expect(series.columns[1]?.values).toEqual([null, null, null, null, null, 5]);
  });

  it('drop a series that has left the window', () => {
    const series = append(start, panel, { a: [reading('y', 5)] }, 1000, 960);
    expect(series.columns.map((c) => c.legend)).toEqual(['y']);
    expect(series.times).toEqual([1000]);
  });

  it('that come late or twice change nothing', () => {
    expect(append(start, panel, { a: [reading('x', 9)] }, 140, 100)).toBe(start);
  });

  it('start a chart that had no history', () => {
    const series = append(EMPTY, panel, { a: [reading('x', 2)] }, 5, 0);
    expect([series.times, series.columns[0]?.values]).toEqual([[5], [2]]);
  });
});

describe('names', () => {
  it('fill in labels, and fall back to the labels themselves', () => {
    expect(legendFor(query, { state: 'done' }, panel)).toBe('done');
    expect(legendFor({ ...query, legend: '{{nope}}!' }, {}, panel)).toBe('!');
    expect(legendFor(panel.queries[1]!, { __name__: 'm', job: 'j' }, panel)).toBe('job=j');
    expect(legendFor(panel.queries[1]!, {}, panel)).toBe('b');
  });

  it('do not depend on the order of the labels', () => {
    expect(seriesKey('q', { a: '1', b: '2' })).toBe(seriesKey('q', { b: '2', a: '1' }));
    expect(seriesKey('q', { a: '1' })).not.toBe(seriesKey('r', { a: '1' }));
  });
});

it('finds the last known value and its time', () => {
  const series = fromMatrix(panel, { a: [{ labels: {}, points: [[110, 7]] }] }, grid);
  expect(latest(series, series.columns[0]!)).toEqual({ at: 110, value: 7 });
});
