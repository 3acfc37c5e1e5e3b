import { describe, expect, it } from 'vitest';
import { alert, dashboard, healthOf, target, type AlertsUpdate, type MetricUpdate, type State } from './contract';
import { verdictOf, type Known } from './verdict';

const board = dashboard({
  panels: [
    { id: 'a', title: 'Failed streams' },
    { id: 'b', title: 'First token' },
    { id: 'c', title: 'Active', kind: 'stat' },
  ],
});
const update = (...states: State[]): MetricUpdate => ({
  at: 1,
  panels: {},
  states: Object.fromEntries(states.map((state, i) => ['abc'.charAt(i), { state, value: 1 }])),
});
const alerts = (...states: string[]): AlertsUpdate => ({
  alerts: states.map((s) => {
    const [state, severity] = s.split(' ');
    return alert({ name: 'X', state, severity });
  }),
  resolved: [],
});
const targets = (...healths: string[]) => healthOf(healths.map((health) => target({ health })));

const calm: Known = {
  board,
  update: update('target_met', 'ok', 'no_data'),
  alerts: alerts(),
  health: targets('up', 'unknown'),
  empty: false,
  stale: false,
};
const said = (change: Partial<Known>): string => {
  const { tone, word, reasons } = verdictOf({ ...calm, ...change });
  return [tone, word, ...reasons.map((r) => `${r.text} ${r.href}`)].join(' | ');
};

describe('the verdict', () => {
  it('is good when nothing is wrong, and only when figures have come', () => {
    expect(said({})).toBe('good | All good');
    expect(said({ update: null })).toBe('none | No data | waiting for figures #figures');
    expect(said({ update: null, alerts: null, health: null })).toBe('none | No data');
    expect(said({ empty: true })).toBe('none | No data | no application reports yet #figures');
  });

  it('is the worst of alerts, figures and targets, and leads to each', () => {
    expect(
      said({
        update: update('warning', 'critical', 'critical'),
        alerts: alerts('firing warning', 'firing critical', 'firing page'),
        health: targets('up', 'down'),
      }),
    ).toBe('bad | Critical | 2 critical alerts #alerts | 2 figures critical #panel-b | 1 target down #targets');
    expect(said({ update: update('ok', 'ok', 'critical'), alerts: alerts('firing warning') })).toBe(
      'bad | Critical | Active: critical #tile-c | 1 warning alert #alerts',
    );
    expect(said({ update: update('warning') })).toBe('warn | Warning | Failed streams: warning #panel-a');
  });

  it('is critical when every target is down, and speaks before any application reports', () => {
    expect(said({ empty: true, health: targets('down', 'down') })).toBe('bad | Critical | 2 targets down #targets');
    expect(said({ health: targets('down', 'up') })).toBe('warn | Warning | 1 target down #targets');
  });

  it('leaves pending and merely informing alerts alone', () => {
    expect(said({ alerts: alerts('pending critical', 'firing info') })).toBe('good | All good');
  });

  it('neither alarms nor calms with old figures', () => {
    expect(said({ stale: true })).toBe('none | Unknown | last heard: All good #alerts');
    expect(said({ stale: true, alerts: alerts('firing critical') })).toBe(
      'none | Unknown | last heard: Critical #alerts',
    );
  });
});
