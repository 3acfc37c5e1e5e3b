import { describe, expect, it } from 'vitest';
import { errorFrom, matrixOf, vectorOf } from './api';
import { alert, dashboard, finite, message, target } from './contract';

describe('messages', () => {
  it('are read as the contract has them', () => {
    const update = message(
      JSON.stringify({
        type: 'metric_update',
        data: {
          at: 7,
          panels: { p: { q: [{ labels: { a: 'b' }, value: 1.5 }, { labels: {}, value: null }] } },
          states: { p: { state: 'critical', value: 1.5 } },
        },
      }),
    );
    expect(update).toEqual({
      type: 'metric_update',
      data: {
        at: 7,
        panels: { p: { q: [{ labels: { a: 'b' }, value: 1.5 }, { labels: {}, value: null }] } },
        states: { p: { state: 'critical', value: 1.5 } },
      },
    });
  });

  it.each(['', 'null', '[]', '{"type":"metric_update"}', '{"type":"metric_update","data":{}}', '{"type":"new","data":{}}', 5])(
    '%s is ignored',
    (raw) => expect(message(raw)).toBeNull(),
  );

  it('survive odd members', () => {
    const odd = message('{"type":"health_status","data":{"targets":[null,{"health":"sick"}],"status":9}}');
    expect(odd).toMatchObject({ data: { total: 2, up: 0, targets: [{ health: 'unknown' }, { health: 'unknown' }] } });
    const alerts = message('{"type":"alert","data":{"alerts":[{}],"resolved":"x"}}');
    expect(alerts).toMatchObject({ data: { alerts: [{ name: 'unnamed', value: null }], resolved: [] } });
  });
});

it('panels without an id or an expression are left out', () => {
  const board = dashboard({
    refresh_seconds: 0,
    panels: [{ title: 'no id' }, { id: 'p', queries: [{ id: 'a' }, { id: 'b', expr: 'up' }] }],
  });
  expect(board.panels.map((p) => [p.id, p.title, p.queries.length])).toEqual([['p', 'p', 1]]);
  expect(board.refreshSeconds).toBeGreaterThan(0);
});

describe('the Prometheus API', () => {
  it('turns NaN and Inf into gaps', () => {
    expect(['NaN', '+Inf', '-Inf', '', '1e3', 2].map(finite)).toEqual([null, null, null, null, 1000, 2]);
    const body = { data: { resultType: 'matrix', result: [{ metric: { a: 'b' }, values: [[1, 'NaN'], [2, '3']] }] } };
    expect(matrixOf(body)).toEqual([{ labels: { a: 'b' }, points: [[1, null], [2, 3]] }]);
  });

  it('gives alerts and targets in its own spelling', () => {
    expect(alert({ labels: { alertname: 'A', severity: 'critical' }, state: 'firing', activeAt: '2026-11-21T10:00:00Z', value: '1e+00' })).toMatchObject({
      name: 'A',
      severity: 'critical',
      activeAt: Date.UTC(2026, 10, 21, 10),
      value: 1,
    });
    expect(target({ labels: { job: 'j', instance: 'i' }, health: 'up', lastScrape: '0001-01-01T00:00:00Z', lastScrapeDuration: 0.5 })).toMatchObject({
      job: 'j',
      lastScrape: null,
      scrapeSeconds: 0.5,
    });
  });

  it('gives scalars as one series', () => {
    expect(vectorOf({ data: { resultType: 'scalar', result: [1, '4'] } })).toEqual([{ labels: {}, value: 4 }]);
  });

  it('says what went wrong in the words of the server', () => {
    expect(errorFrom(400, { status: 'error', error: 'parse error at char 3' }).message).toBe('parse error at char 3');
    expect(errorFrom(503, { error: { message: 'busy', hint: 'wait' } })).toMatchObject({ message: 'busy', hint: 'wait' });
    expect(errorFrom(500, null).message).toContain('500');
  });
});
