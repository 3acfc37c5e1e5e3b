import { describe, expect, it } from 'vitest';
import type { MetricUpdate, Panel, Threshold } from './contract';
import { figureOf } from './figure';
import { fromMatrix } from './series';
import { classify, goal, limits, worst } from './state';

const lower: Threshold = { target: 0.5, warning: 1, critical: 2, better: 'lower' };
const higher: Threshold = { target: 0.6, warning: 0.4, critical: 0.2, better: 'higher' };

describe('states', () => {
  it.each([
    [0.5, lower, 'target_met'],
    [0.51, lower, 'ok'],
    [1, lower, 'ok'],
    [1.01, lower, 'warning'],
    [2, lower, 'warning'],
    [2.01, lower, 'critical'],
    [0.6, higher, 'target_met'],
    [0.5, higher, 'ok'],
    [0.39, higher, 'warning'],
    [0.1, higher, 'critical'],
    [null, lower, 'no_data'],
  ] as const)('%s under %o is %s', (value, threshold, state) => {
    expect(classify(value, threshold).state).toBe(state);
  });

  it('take the worst of several values', () => {
    expect(worst([1, null, 3], lower)).toBe(3);
    expect(worst([0.9, 0.1], higher)).toBe(0.1);
    expect(worst([null], lower)).toBeNull();
  });

  it('are put in words with their limits', () => {
    expect(limits(lower, 's').replaceAll('\u202f', ' ')).toBe('target ≤ 500 ms · warning > 1 s · critical > 2 s');
    expect(goal(higher, 'ratio').replaceAll('\u202f', ' ')).toBe('target ≥ 60 %');
    expect(limits(null, 's')).toBe('');
  });
});

describe('the figure of a tile', () => {
  const panel: Panel = {
    id: 'p',
    title: 'P',
    description: '',
    kind: 'timeseries',
    unit: 's',
    queries: [
      { id: 'p95', expr: 'x', legend: 'p95' },
      { id: 'p50', expr: 'y', legend: 'p50' },
    ],
    threshold: lower,
    stateOf: 'p95',
  };
  const update = (value: number | null): MetricUpdate => ({
    at: 5000,
    panels: { p: { p95: [{ labels: {}, value }], p50: [{ labels: {}, value: 0.1 }] } },
    states: { p: { state: value === null ? 'no_data' : 'warning', value } },
  });

  it('is the value that the server judged, with the others beside it', () => {
    const figure = figureOf(panel, update(1.5), null);
    expect(figure).toMatchObject({ state: { state: 'warning' }, value: 1.5, at: 5000 });
    expect(figure.parts.find((p) => p.key === figure.lead)?.legend).toBe('p95');
  });

  it('says no data where there is none', () => {
    expect(figureOf(panel, update(null), null).state?.state).toBe('no_data');
    expect(figureOf(panel, null, null)).toMatchObject({ state: { state: 'no_data' }, value: null, at: null });
  });

  it('is judged by the page until the first live reading comes', () => {
    const history = fromMatrix(panel, { p95: [{ labels: {}, points: [[20, 2.5]] }] }, { start: 10, end: 20, step: 10 });
    expect(figureOf(panel, null, history)).toMatchObject({ state: { state: 'critical' }, value: 2.5, at: 20_000 });
  });

  it('has no state without a limit, and no lead among equals', () => {
    const free = { ...panel, threshold: null, stateOf: null };
    expect(figureOf(free, update(1.5), null)).toMatchObject({ state: null, value: 1.5 });
    const equals = { ...free, queries: [free.queries[0]!] };
    const two = { ...update(1), panels: { p: { p95: [{ labels: { k: 'a' }, value: 1 }, { labels: { k: 'b' }, value: 2 }] } } };
    expect(figureOf(equals, two, null)).toMatchObject({ state: null, value: null, lead: null });
  });
});
