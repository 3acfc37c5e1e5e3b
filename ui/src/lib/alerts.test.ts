import { describe, expect, it } from 'vitest';
import { groupsOf, identity, newsOf, ownLabels, polled, RECENT_MS, recentlyResolved } from './alerts';
import { alert, type Alert, type AlertsUpdate } from './contract';

const NOW = Date.UTC(2026, 10, 21, 12);
const make = (name: string, severity: string, secondsAgo: number, more: object = {}): Alert =>
  alert({
    name,
    severity,
    state: 'firing',
    active_at: new Date(NOW - secondsAgo * 1000).toISOString(),
    ...more,
  });
const ended = (a: Alert, msAgo: number): Alert => ({ ...a, state: 'resolved', resolvedAt: NOW - msAgo });
const update = (alerts: Alert[], resolved: Alert[] = []): AlertsUpdate => ({ alerts, resolved });

describe('the order of alerts', () => {
  it('is firing first, then critical, then newest, with one name together', () => {
    const groups = groupsOf([
      make('Slow', 'warning', 5),
      make('Failing', 'warning', 60),
      make('Down', 'critical', 1, { state: 'pending' }),
      make('Failing', 'critical', 40),
      make('Old', 'critical', 90),
      make('Cold', 'info', 2),
    ]);
    expect(groups.map((g) => [g.name, ...g.alerts.map((a) => a.severity)])).toEqual([
      ['Failing', 'critical', 'warning'],
      ['Old', 'critical'],
      ['Slow', 'warning'],
      ['Cold', 'info'],
      ['Down', 'critical'],
    ]);
  });

  it('says what a group shares once, and what tells its alerts apart at each', () => {
    const [group] = groupsOf(
      ['i1', 'i2'].map((instance) =>
        make('Down', 'critical', 1, { labels: { alertname: 'Down', severity: 'critical', job: 'chat', instance } }),
      ),
    );
    expect(group?.shared).toEqual([['job', 'chat']]);
    expect(group?.alerts.map((a) => ownLabels(a, group))).toEqual([[['instance', 'i1']], [['instance', 'i2']]]);
  });
});

describe('resolved alerts', () => {
  const old = ended(make('Old', 'warning', 9999), RECENT_MS + 1);
  const fresh = ended(make('Fresh', 'warning', 100), 20_000);

  it('are shown while they are recent, newest first', () => {
    const newer = ended(make('Newer', 'warning', 100), 10_000);
    expect(recentlyResolved(update([], [fresh, old, newer]), NOW).map((a) => a.name)).toEqual(['Newer', 'Fresh']);
    expect(recentlyResolved(null, NOW)).toEqual([]);
  });

  it('are found by comparing polls, which name only the active ones', () => {
    const [a, b] = [make('A', 'critical', 50), make('B', 'warning', 50)];
    const pending = make('P', 'warning', 5, { state: 'pending' });
    const next = polled(update([a, b, pending], [fresh, old]), [b], NOW);
    expect(next.alerts).toEqual([b]);
    expect(next.resolved.map((r) => [r.name, r.resolvedAt])).toEqual([
      ['A', NOW],
      ['Fresh', NOW - 20_000],
    ]);
    expect(polled(null, [a], NOW)).toEqual(update([a]));
  });
});

it('one alert is the same whatever the order of its labels', () => {
  const [x, y] = [{ a: '1', b: '2' }, { b: '2', a: '1' }].map((labels) => make('A', 'critical', 1, { labels }));
  expect(identity(x!)).toBe(identity(y!));
});

it('news tell what began and what ended, and are silent about new values', () => {
  const [a, b] = [make('A', 'critical', 50), make('B', '', 50)];
  expect(newsOf(update([a]), update([{ ...a, value: 7 }]))).toBe('');
  expect(newsOf(update([a]), update([b]))).toBe('Alert firing: B. Resolved: A (critical).');
  expect(newsOf(update([]), update([{ ...a, state: 'pending' }]))).toBe('');
});
