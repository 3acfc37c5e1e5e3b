/** Runs the connection machine: owns the socket, the wait, and the watch over a silent channel. */
import type { Message } from './contract';
import { message } from './contract';
import type { Connection, ConnectionEvent, Effect } from './connection';
import { INITIAL, step } from './connection';

export interface LiveHandlers {
  /** Called for every message that the page knows. */
  received(message: Message): void;
  /** Called on every change of state; `retryAt` (ms) while a wait runs. */
  changed(state: Connection, retryAt: number | null): void;
  /** The page must fetch for itself (true) or need no longer (false). */
  poll(active: boolean): void;
  /** The channel is open, or the tab is seen again: what was missed must be fetched. */
  caughtUp(): void;
}

/** The part of WebSocket that is used; tests give their own. */
export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  send(data: string): void;
  close(): void;
}

export interface Surroundings {
  open(): Socket;
  after(ms: number, action: () => void): () => void;
  random(): number;
  now(): number;
}

export class LiveChannel {
  #state: Connection = INITIAL;
  #socket: Socket | null = null;
  #stopWaiting: (() => void) | null = null;
  #stopWatching: (() => void) | null = null;
  #retryAt: number | null = null;
  #silenceLimitMs: number;

  constructor(
    private readonly handlers: LiveHandlers,
    private readonly world: Surroundings,
    silenceLimitMs: number,
  ) {
    this.#silenceLimitMs = silenceLimitMs;
  }

  /** Connects for the first time; `hidden` when the tab is in the background already. */
  start(hidden: boolean): void {
    this.#state = { ...this.#state, hidden };
    this.#connect();
    this.handlers.changed(this.#state, null);
  }

  /** How long the channel may be silent; known once the dashboard says how often it refreshes. */
  expectBeatWithin(ms: number): void {
    this.#silenceLimitMs = ms;
  }

  handle(event: ConnectionEvent): void {
    const { state, effects } = step(this.#state, event, this.world.random());
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
    if (event === 'opened' || (event === 'visible' && state.phase === 'open')) {
      this.handlers.caughtUp();
    }
    this.handlers.changed(this.#state, this.#retryAt);
  }

  stop(): void {
    this.#stopWaiting?.();
    this.#drop();
  }

  #perform(effect: Effect): void {
    switch (effect.do) {
      case 'connect':
        return this.#connect();
      case 'wait':
        this.#stopWaiting?.();
        this.#retryAt = this.world.now() + effect.ms;
        this.#stopWaiting = this.world.after(effect.ms, () => this.handle('timer'));
        return;
      case 'stop-waiting':
        this.#stopWaiting?.();
        this.#stopWaiting = null;
        this.#retryAt = null;
        return;
      case 'pause':
        this.#stopWatching?.();
        this.#socket?.send('{"type":"pause"}');
        return;
      case 'resume':
        this.#socket?.send('{"type":"resume"}');
        this.#watch();
        return;
      case 'poll':
        return this.handlers.poll(true);
      case 'stop-polling':
        return this.handlers.poll(false);
    }
  }

  #connect(): void {
    this.#drop();
    const socket = this.world.open();
    this.#socket = socket;
    socket.onopen = () => {
      this.#watch();
      this.handle('opened');
    };
    socket.onmessage = ({ data }) => {
      if (!this.#state.hidden) this.#watch();
      const known = message(data);
      if (known) this.handlers.received(known);
    };
    socket.onclose = () => {
      this.#drop();
      this.handle('closed');
    };
    this.#watch();
  }

  /** A half-open channel says nothing, so silence counts as closed. */
  #watch(): void {
    this.#stopWatching?.();
    this.#stopWatching = this.world.after(this.#silenceLimitMs, () => {
      this.#drop();
      this.handle('closed');
    });
  }

  #drop(): void {
    this.#stopWatching?.();
    this.#stopWatching = null;
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}

/** The browser's own surroundings. */
export function browser(path: string): Surroundings {
  return {
    open: () => {
      const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
      return new WebSocket(`${scheme}://${location.host}${path}`) as unknown as Socket;
    },
    after: (ms, action) => {
      const id = setTimeout(action, ms);
      return () => clearTimeout(id);
    },
    random: Math.random,
    now: Date.now,
  };
}
