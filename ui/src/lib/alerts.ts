/** Alerts in the order in which people want them, and what has changed since they last looked. */
import type { Alert, AlertsUpdate } from './contract';
import type { Tone } from './state';
import { toneOfSeverity } from './state';

/** How long an alert counts as recently resolved, in ms: as long as the server keeps it. */
export const RECENT_MS = 15 * 60_000;

const RANK: Readonly<Record<Tone, number>> = { bad: 0, warn: 1, good: 2, none: 3 };

/** All active alerts of one name. */
export interface AlertGroup {
  readonly name: string;
  readonly alerts: readonly Alert[];
  /** Labels that several share; name and severity are said otherwise. */
  readonly shared: readonly (readonly [string, string])[];
}

/** One alert among others: its rule's name and its labels, in one string. */
export function identity(alert: Alert): string {
  const labels = Object.entries(alert.labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([alert.name, alert.severity, ...labels]);
}

export function summaryOf(alert: Alert): string {
  return alert.annotations.summary ?? alert.annotations.description ?? '';
}

/** Firing before pending, critical before warning, then the newest first. */
export function compare(a: Alert, b: Alert): number {
  return (
    Number(b.state === 'firing') - Number(a.state === 'firing') ||
    RANK[toneOfSeverity(a.severity)] - RANK[toneOfSeverity(b.severity)] ||
    (b.activeAt ?? 0) - (a.activeAt ?? 0)
  );
}

/** Active alerts by name; a group stands where its most urgent alert would. */
export function groupsOf(alerts: readonly Alert[]): AlertGroup[] {
  const byName = new Map<string, Alert[]>();
  for (const alert of [...alerts].sort(compare)) {
    const others = byName.get(alert.name);
    if (others) others.push(alert);
    else byName.set(alert.name, [alert]);
  }
  return [...byName].map(([name, members]) => ({ name, alerts: members, shared: sharedBy(members) }));
}

const SAID_OTHERWISE = ['alertname', 'severity'];

function chips(alert: Alert): [string, string][] {
  return Object.entries(alert.labels).filter(([name]) => !SAID_OTHERWISE.includes(name));
}

function sharedBy(alerts: readonly Alert[]): [string, string][] {
  const [first] = alerts;
  if (!first || alerts.length === 1) return [];
  return chips(first).filter(([name, value]) => alerts.every((a) => a.labels[name] === value));
}

/** The labels of an alert that tell it from the others of its group. */
export function ownLabels(alert: Alert, group: AlertGroup): [string, string][] {
  return chips(alert).filter(([name]) => !group.shared.some(([known]) => known === name));
}

/** What was resolved lately, newest first; `now` is the server's clock in ms. */
export function recentlyResolved(update: AlertsUpdate | null, now: number): Alert[] {
  return (update?.resolved ?? [])
    .filter((a) => a.resolvedAt !== null && now - a.resolvedAt <= RECENT_MS)
    .sort((a, b) => (b.resolvedAt ?? 0) - (a.resolvedAt ?? 0));
}

/**
 * The update that a poll stands for. `/api/v1/alerts` has active alerts only, so an alert that
 * fired at the last look and is gone counts as resolved at `at` (ms); earlier ones are kept while
 * they are recent.
 */
export function polled(before: AlertsUpdate | null, active: readonly Alert[], at: number): AlertsUpdate {
  const present = new Set(active.map(identity));
  const gone = (before?.alerts ?? [])
    .filter((a) => a.state === 'firing' && !present.has(identity(a)))
    .map((a): Alert => ({ ...a, state: 'resolved', resolvedAt: at }));
  return { alerts: active, resolved: [...gone, ...recentlyResolved(before, at)] };
}

/** What to say aloud about the change between two updates; empty when nothing began or ended. */
export function newsOf(before: AlertsUpdate, after: AlertsUpdate): string {
  const [old, present] = [firing(before), firing(after)];
  const begun = [...present].filter(([key]) => !old.has(key)).map(([, name]) => name);
  const over = [...old].filter(([key]) => !present.has(key)).map(([, name]) => name);
  return [
    begun.length > 0 ? `Alert firing: ${begun.join(', ')}.` : '',
    over.length > 0 ? `Resolved: ${over.join(', ')}.` : '',
  ]
    .filter(Boolean)
    .join(' ');
}

function firing(update: AlertsUpdate): Map<string, string> {
  const those = update.alerts.filter((a) => a.state === 'firing');
  return new Map(those.map((a) => [identity(a), a.severity ? `${a.name} (${a.severity})` : a.name]));
}
