import { describe, expect, it } from 'vitest';
import type { Connection, ConnectionEvent, Effect } from './connection';
import { backoffMs, INITIAL, LOOK_AGAIN_MS, MAX_ATTEMPTS, silenceLimitMs, step } from './connection';

function run(events: readonly ConnectionEvent[], from: Connection = INITIAL): { state: Connection; effects: Effect[] } {
  let state = from;
  let effects: readonly Effect[] = [];
  for (const event of events) ({ state, effects } = step(state, event, 0.5));
  return { state, effects: [...effects] };
}
const failures = (n: number): ConnectionEvent[] =>
  Array.from({ length: n }, () => ['closed', 'timer'] as const).flat();
const does = (effects: readonly Effect[], what: Effect['do']): boolean =>
  effects.some((e) => e.do === what);

describe('reconnecting', () => {
  it('waits 1, 2, 4, 8, 16 seconds without jitter', () => {
    const waits: number[] = [];
    let state = INITIAL;
    for (let i = 0; i < MAX_ATTEMPTS; i++) {
      const closed = step(state, 'closed', 0.5);
      for (const e of closed.effects) if (e.do === 'wait') waits.push(e.ms);
      state = step(closed.state, 'timer', 0.5).state;
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000]);
  });

  it('spreads every wait by at most a fifth and never beyond the cap', () => {
    for (let attempt = 1; attempt <= 9; attempt++) {
      const middle = Math.min(1000 * 2 ** (attempt - 1), 16_000);
      expect(backoffMs(attempt, 0)).toBe(middle * 0.8);
      expect(backoffMs(attempt, 1)).toBe(middle * 1.2);
    }
  });

  it('forgets the failures once the channel is open', () => {
    const { state } = run([...failures(4), 'opened']);
    expect(state).toEqual({ phase: 'open', attempt: 0, hidden: false });
  });

  it('polls after five failed attempts, and looks for the channel once a minute', () => {
    const { state, effects } = run([...failures(MAX_ATTEMPTS), 'closed']);
    expect(state.phase).toBe('polling');
    expect(effects).toEqual([{ do: 'poll' }, { do: 'wait', ms: LOOK_AGAIN_MS }]);
    const looking = step(state, 'timer', 0.5);
    expect(looking.state.phase).toBe('polling');
    expect(does(looking.effects, 'connect')).toBe(true);
    const opened = step(looking.state, 'opened', 0.5);
    expect(does(opened.effects, 'stop-polling')).toBe(true);
  });

  it('starts anew when a person asks for it, and does nothing when it is open', () => {
    const { state } = run([...failures(MAX_ATTEMPTS), 'closed']);
    const asked = step(state, 'retry', 0.5);
    expect(asked.state).toMatchObject({ phase: 'connecting', attempt: 0 });
    expect(does(asked.effects, 'connect')).toBe(true);
    expect(run(['opened', 'retry']).effects).toEqual([]);
  });
});

describe('a hidden tab', () => {
  it('pauses an open channel and resumes it', () => {
    expect(run(['opened', 'hidden']).effects).toEqual([{ do: 'pause' }]);
    expect(run(['opened', 'hidden', 'visible']).effects).toEqual([{ do: 'resume' }]);
  });

  it('does not knock while nobody looks, and knocks at once when somebody does', () => {
    const away = run(['opened', 'hidden', 'closed', 'timer']);
    expect(away.effects).toEqual([]);
    const back = step(away.state, 'visible', 0.5);
    expect(back.state).toMatchObject({ phase: 'connecting', attempt: 0 });
    expect(does(back.effects, 'connect')).toBe(true);
  });

  it('stops polling until it is seen again', () => {
    const { state } = run([...failures(MAX_ATTEMPTS), 'closed']);
    const away = step(state, 'hidden', 0.5);
    expect(away.effects).toEqual([{ do: 'stop-polling' }]);
    expect(does(step(away.state, 'visible', 0.5).effects, 'poll')).toBe(true);
  });
});

it('calls a channel dead after three missed beats, but not before a quarter of a minute', () => {
  expect(silenceLimitMs(1)).toBe(15_000);
  expect(silenceLimitMs(30)).toBe(90_000);
});
