/**
 * The live connection as a pure state machine: `step(state, event, random)` gives the next state
 * and what the runner must do. Five attempts with growing, jittered waits; then the page polls the
 * query API, says so, offers a retry by hand, and looks for the live channel once a minute.
 */

export type Phase = 'connecting' | 'open' | 'waiting' | 'polling';

export interface Connection {
  readonly phase: Phase;
  /** Failed attempts since the last success. */
  readonly attempt: number;
  readonly hidden: boolean;
}

export type ConnectionEvent =
  | 'opened'
  | 'closed' // closed, refused, or silent for too long
  | 'timer' // the wait asked for by `wait` is over
  | 'retry' // a person pressed the button
  | 'hidden'
  | 'visible';

export type Effect =
  | { readonly do: 'connect' | 'poll' | 'stop-polling' | 'pause' | 'resume' | 'stop-waiting' }
  | { readonly do: 'wait'; readonly ms: number };

export interface Step {
  readonly state: Connection;
  readonly effects: readonly Effect[];
}

export const MAX_ATTEMPTS = 5;
export const LOOK_AGAIN_MS = 60_000;
const FIRST_WAIT_MS = 1000;
const CAP_MS = 16_000;
const JITTER = 0.2;

export const INITIAL: Connection = { phase: 'connecting', attempt: 0, hidden: false };

/** The wait before attempt n (from 1): 1, 2, 4, 8, 16 s, each ±20 % so that pages spread out. */
export function backoffMs(attempt: number, random: number): number {
  const base = Math.min(FIRST_WAIT_MS * 2 ** (attempt - 1), CAP_MS);
  return Math.round(base * (1 - JITTER + 2 * JITTER * random));
}

export function step(state: Connection, event: ConnectionEvent, random: number): Step {
  switch (event) {
    case 'opened':
      return {
        state: { ...state, phase: 'open', attempt: 0 },
        effects: [
          { do: 'stop-polling' },
          { do: 'stop-waiting' },
          ...(state.hidden ? [{ do: 'pause' } as const] : []),
        ],
      };
    case 'closed':
      return closed(state, random);
    case 'timer':
      // A hidden page does not knock: it does when somebody looks again.
      if (state.hidden || state.phase === 'open') return { state, effects: [] };
      return connecting(state);
    case 'retry':
      if (state.phase === 'open') return { state, effects: [] };
      return connecting({ ...state, attempt: 0 });
    case 'hidden':
      return {
        state: { ...state, hidden: true },
        effects: state.phase === 'open' ? [{ do: 'pause' }] : [{ do: 'stop-polling' }],
      };
    case 'visible':
      return visible(state);
  }
}

function connecting(state: Connection): Step {
  // While the page already polls it goes on doing so until the channel is open.
  const phase = state.attempt > MAX_ATTEMPTS ? 'polling' : 'connecting';
  return { state: { ...state, phase }, effects: [{ do: 'stop-waiting' }, { do: 'connect' }] };
}

function closed(state: Connection, random: number): Step {
  const attempt = Math.min(state.attempt + 1, MAX_ATTEMPTS + 1);
  if (attempt <= MAX_ATTEMPTS) {
    return {
      state: { ...state, phase: 'waiting', attempt },
      effects: [{ do: 'wait', ms: backoffMs(attempt, random) }],
    };
  }
  return {
    state: { ...state, phase: 'polling', attempt },
    effects: [
      ...(state.hidden ? [] : [{ do: 'poll' } as const]),
      { do: 'wait', ms: LOOK_AGAIN_MS },
    ],
  };
}

function visible(state: Connection): Step {
  const shown = { ...state, hidden: false };
  if (state.phase === 'open') return { state: shown, effects: [{ do: 'resume' }] };
  const again = connecting({ ...shown, attempt: 0 });
  return state.phase === 'polling'
    ? { state: again.state, effects: [{ do: 'poll' }, ...again.effects] }
    : again;
}

/** How long the channel may be silent before it counts as dead, in ms. */
export function silenceLimitMs(refreshSeconds: number): number {
  return Math.max(3 * refreshSeconds * 1000, 15_000);
}
