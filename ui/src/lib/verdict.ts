/** The one answer of the header: is anything wrong, how badly, and where to look. */
import type { AlertsUpdate, Dashboard, Health, MetricUpdate, Panel } from './contract';
import type { Tone } from './state';
import { TONES, toneOfSeverity } from './state';

export interface Reason {
  readonly tone: Tone;
  /** A few words: "2 critical alerts". */
  readonly text: string;
  /** The place on the page that shows it. */
  readonly href: string;
}

export interface Verdict {
  readonly tone: Tone;
  readonly word: string;
  /** Worst first; at most one of alerts, one of KPIs, one of targets. */
  readonly reasons: readonly Reason[];
}

export interface Known {
  readonly board: Dashboard | null;
  readonly update: MetricUpdate | null;
  readonly alerts: AlertsUpdate | null;
  readonly health: Health | null;
  /** No application reports yet, although the server does. */
  readonly empty: boolean;
  /** What is known is older than it should be. */
  readonly stale: boolean;
}

const WORDS: Readonly<Record<Tone, string>> = {
  bad: 'Critical',
  warn: 'Warning',
  good: 'All good',
  none: 'No data',
};
const BADNESS: Readonly<Record<Tone, number>> = { bad: 0, warn: 1, none: 2, good: 3 };

/** Where a panel is shown in full: its chart, or its tile where it has no chart. */
export function placeOf(panel: Panel): string {
  return `#${panel.kind === 'timeseries' ? 'panel' : 'tile'}-${panel.id}`;
}

/** The worst of firing alerts, states of KPIs and health of targets, in words. */
export function verdictOf(known: Known): Verdict {
  const reasons = [
    ...alertReason(known.alerts),
    ...kpiReason(known.board, known.update),
    ...targetReason(known.health),
  ].sort((a, b) => BADNESS[a.tone] - BADNESS[b.tone]);
  const worst = reasons[0];
  if (!known.update && !known.alerts && !known.health) {
    return { tone: 'none', word: WORDS.none, reasons: [] };
  }
  if (known.stale) {
    // Old figures may neither alarm nor calm anybody.
    const last = WORDS[worst?.tone ?? 'good'];
    return { tone: 'none', word: 'Unknown', reasons: [{ tone: 'none', text: `last heard: ${last}`, href: '#alerts' }] };
  }
  if (worst) return { tone: worst.tone, word: WORDS[worst.tone], reasons };
  if (known.empty || !known.update) {
    const text = known.update ? 'no application reports yet' : 'waiting for figures';
    return { tone: 'none', word: WORDS.none, reasons: [{ tone: 'none', text, href: '#figures' }] };
  }
  return { tone: 'good', word: WORDS.good, reasons: [] };
}

function alertReason(alerts: AlertsUpdate | null): Reason[] {
  const tones = (alerts?.alerts ?? [])
    .filter((a) => a.state === 'firing')
    .map((a) => toneOfSeverity(a.severity));
  for (const [tone, kind] of [['bad', 'critical'], ['warn', 'warning']] as const) {
    const count = tones.filter((t) => t === tone).length;
    if (count > 0) return [{ tone, text: `${count} ${kind} alert${count > 1 ? 's' : ''}`, href: '#alerts' }];
  }
  return [];
}

function kpiReason(board: Dashboard | null, update: MetricUpdate | null): Reason[] {
  const panels = board?.panels ?? [];
  for (const [tone, word] of [['bad', 'critical'], ['warn', 'warning']] as const) {
    const those = panels.filter((p) => TONES[update?.states[p.id]?.state ?? 'no_data'] === tone);
    const [first] = those;
    if (!first) continue;
    const text = those.length === 1 ? `${first.title}: ${word}` : `${those.length} figures ${word}`;
    return [{ tone, text, href: placeOf(first) }];
  }
  return [];
}

function targetReason(health: Health | null): Reason[] {
  const down = (health?.targets ?? []).filter((t) => t.health === 'down').length;
  if (!health || down === 0) return [];
  const tone = health.status === 'unhealthy' ? 'bad' : 'warn';
  return [{ tone, text: `${down} target${down > 1 ? 's' : ''} down`, href: '#targets' }];
}
