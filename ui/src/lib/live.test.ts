import { beforeEach, describe, expect, it } from 'vitest';
import type { Message } from './contract';
import type { Connection } from './connection';
import { LiveChannel, type Socket, type Surroundings } from './live';

class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  sent: string[] = [];
  closed = false;
  send(data: string): void {
    this.sent.push(data);
  }
  close(): void {
    this.closed = true;
  }
}

class FakeWorld implements Surroundings {
  sockets: FakeSocket[] = [];
  clock = 0;
  timers: { due: number; action: () => void }[] = [];
  open(): Socket {
    const socket = new FakeSocket();
    this.sockets.push(socket);
    return socket;
  }
  after(ms: number, action: () => void): () => void {
    const timer = { due: this.clock + ms, action };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((t) => t !== timer);
    };
  }
  random(): number {
    return 0.5;
  }
  now(): number {
    return this.clock;
  }
  pass(ms: number): void {
    this.clock += ms;
    for (const timer of [...this.timers]) {
      if (timer.due > this.clock || !this.timers.includes(timer)) continue;
      this.timers = this.timers.filter((t) => t !== timer);
      timer.action();
    }
  }
  get last(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error('no socket was opened');
    return socket;
  }
}

describe('the live channel', () => {
  let world: FakeWorld;
  let channel: LiveChannel;
  let messages: Message[];
  let states: Connection[];
  let polls: boolean[];
  let caughtUp: number;

  beforeEach(() => {
    world = new FakeWorld();
    messages = [];
    states = [];
    polls = [];
    caughtUp = 0;
    channel = new LiveChannel(
      {
        received: (m) => messages.push(m),
        changed: (s) => states.push(s),
        poll: (active) => polls.push(active),
        caughtUp: () => caughtUp++,
      },
      world,
      15_000,
    );
    channel.start(false);
    world.last.onopen?.();
  });

  it('hands on the messages it knows and ignores the rest', () => {
    world.last.onmessage?.({ data: '{"type":"metric_update","data":{"at":1}}' });
    world.last.onmessage?.({ data: '{"type":"weather","data":{}}' });
    world.last.onmessage?.({ data: 'not JSON' });
    expect(messages.map((m) => m.type)).toEqual(['metric_update']);
  });

  it('takes a silent channel for a dead one and opens another', () => {
    world.pass(14_000);
    world.last.onmessage?.({ data: '{"type":"weather","data":{}}' });
    world.pass(14_000);
    expect(states.at(-1)?.phase).toBe('open');
    const first = world.last;
    world.pass(1000);
    expect(first.closed).toBe(true);
    expect(states.at(-1)).toMatchObject({ phase: 'waiting', attempt: 1 });
    world.pass(1000);
    expect(world.sockets).toHaveLength(2);
    world.last.onopen?.();
    expect(caughtUp).toBe(2);
  });

  it('does not expect a beat while it is paused', () => {
    channel.handle('hidden');
    world.pass(3_600_000);
    expect(states.at(-1)).toMatchObject({ phase: 'open', hidden: true });
    channel.handle('visible');
    expect(world.last.sent).toEqual(['{"type":"pause"}', '{"type":"resume"}']);
    expect(caughtUp).toBe(2);
  });

  it('ends in polling when nothing answers, and leaves it when the channel opens again', () => {
    for (let i = 0; i < 6; i++) {
      world.last.onclose?.();
      world.pass(16_000);
    }
    expect(states.at(-1)?.phase).toBe('polling');
    expect(polls.at(-1)).toBe(true);
    world.pass(60_000);
    world.last.onopen?.();
    expect(polls.at(-1)).toBe(false);
    expect(states.at(-1)?.phase).toBe('open');
  });
});
