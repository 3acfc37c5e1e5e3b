/** States of figures: the same rule as the server's, for when the page must judge by itself. */
import type { PanelState, State, Threshold } from './contract';
import { plain } from './format';

export const WORDS: Readonly<Record<State, string>> = {
  target_met: 'On target',
  ok: 'OK',
  warning: 'Warning',
  critical: 'Critical',
  no_data: 'No data',
};

/** The four looks: what needs attention differs in colour, word and shape. */
export type Tone = 'good' | 'warn' | 'bad' | 'none';

export const TONES: Readonly<Record<State, Tone>> = {
  target_met: 'good',
  ok: 'good',
  warning: 'warn',
  critical: 'bad',
  no_data: 'none',
};

export const SHAPES: Readonly<Record<Tone, string>> = { good: '●', warn: '▲', bad: '◆', none: '○' };

/** On target up to and at the target; warning and critical begin strictly beyond their level. */
export function classify(value: number | null, threshold: Threshold | null): PanelState {
  if (value === null) return { state: 'no_data', value };
  if (threshold === null) return { state: 'ok', value };
  const { target, warning, critical } = threshold;
  const beyond = (limit: number | null): boolean =>
    limit !== null && (threshold.better === 'lower' ? value > limit : value < limit);
  if (beyond(critical)) return { state: 'critical', value };
  if (beyond(warning)) return { state: 'warning', value };
  return { state: beyond(target) ? 'ok' : 'target_met', value };
}

/** The worst of several values under a threshold: where one series is bad, the panel is. */
export function worst(values: readonly (number | null)[], threshold: Threshold | null): number | null {
  const known = values.filter((v) => v !== null);
  if (known.length === 0) return null;
  return threshold?.better === 'higher' ? Math.min(...known) : Math.max(...known);
}

/** The target alone, for where there is little room: "target ≤ 500 ms". */
export function goal(threshold: Threshold | null, unit: string): string {
  if (threshold === null || threshold.target === null) return '';
  return `target ${threshold.better === 'lower' ? '≤' : '≥'} ${plain(threshold.target, unit)}`;
}

/** The limits in words, for under a title: "target ≤ 500 ms · warning > 1 s · critical > 2 s". */
export function limits(threshold: Threshold | null, unit: string): string {
  if (!threshold) return '';
  const [within, beyond] = threshold.better === 'lower' ? ['≤', '>'] : ['≥', '<'];
  const parts: string[] = [];
  if (threshold.target !== null) parts.push(`target ${within} ${plain(threshold.target, unit)}`);
  if (threshold.warning !== null) parts.push(`warning ${beyond} ${plain(threshold.warning, unit)}`);
  if (threshold.critical !== null) {
    parts.push(`critical ${beyond} ${plain(threshold.critical, unit)}`);
  }
  return parts.join(' · ');
}

/** Severities of alerts in the looks of states. */
export function toneOfSeverity(severity: string): Tone {
  const word = severity.toLowerCase();
  if (['critical', 'emergency', 'fatal', 'page', 'error', 'high'].includes(word)) return 'bad';
  if (['info', 'none', 'low', 'debug'].includes(word)) return 'none';
  return 'warn';
}
