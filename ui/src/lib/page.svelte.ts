/** The page's one store: what is shown, what is known, how fresh it is, and who fetches it. */
import { polled } from './alerts';
import { ApiError, loadAlerts, loadDashboard, loadHistory, loadInstant, loadTargets } from './api';
import type { AlertsUpdate, Dashboard, Health, Message, MetricUpdate, Panel, Reading } from './contract';
import { healthOf } from './contract';
import type { Connection } from './connection';
import { INITIAL, silenceLimitMs } from './connection';
import { browser, LiveChannel } from './live';
import type { Series } from './series';
import { append, EMPTY, fromMatrix } from './series';
import { classify, worst } from './state';
import { verdictOf } from './verdict';
import type { Range, View } from './view';
import { gridFor, readView, spanOf, toggled, writeView, zoomTo } from './view';

export interface Problem {
  readonly message: string;
  readonly hint: string;
}

export interface PanelData {
  readonly series: Series;
  readonly loading: boolean;
  readonly problem: Problem | null;
}

const UNLOADED: PanelData = { series: EMPTY, loading: true, problem: null };
const RETRY_MS = 10_000;
/** Asking costs the server a query per series, so it is done less often than listening. */
const FASTEST_POLL_SECONDS = 5;

function problemOf(error: unknown): Problem {
  if (error instanceof ApiError) return { message: error.message, hint: error.hint };
  throw error;
}

const aborted = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'AbortError';

export class Page {
  view: View = $state.raw(readView(location.search));
  board: Dashboard | null = $state.raw(null);
  boardProblem: Problem | null = $state.raw(null);
  data: Readonly<Record<string, PanelData>> = $state.raw({});
  update: MetricUpdate | null = $state.raw(null);
  alerts: AlertsUpdate | null = $state.raw(null);
  health: Health | null = $state.raw(null);
  connection: Connection = $state.raw(INITIAL);
  retryAt: number | null = $state(null);
  pollProblem: Problem | null = $state.raw(null);
  /** The browser's clock in ms, once a second. */
  now = $state(Date.now());
  /** When the newest figures arrived, by the browser's clock. */
  receivedAt: number | null = $state(null);

  /** Server's clock minus the browser's, in ms. */
  #skew = $state(0);
  #channel: LiveChannel;
  #history: AbortController | null = null;
  #polling: { stop(): void } | null = null;
  #lastRetry = 0;

  readonly refreshSeconds = $derived(this.board?.refreshSeconds ?? 5);
  readonly pollSeconds = $derived(Math.max(this.refreshSeconds, FASTEST_POLL_SECONDS));
  /** How often new figures are expected in the present phase. */
  readonly beatSeconds = $derived(
    this.connection.phase === 'polling' ? this.pollSeconds : this.refreshSeconds,
  );
  readonly serverNow = $derived(this.now + this.#skew);
  /** Shown span in seconds since the epoch, by the server's clock. */
  readonly span = $derived(
    spanOf(this.view, Math.max((this.update?.at ?? 0) / 1000, Math.floor(this.serverNow / 1000))),
  );
  /** The figures on the page are older than they should be. */
  readonly stale = $derived(
    this.receivedAt !== null &&
      this.now - this.receivedAt > Math.max(2.5 * this.beatSeconds * 1000, 4000),
  );
  /**
   * Hardly a panel has data: no application reports yet. A quarter may have some, because the
   * server scrapes itself and counts its targets.
   */
  readonly empty = $derived.by(() => {
    const loaded = (this.board?.panels ?? []).map((p) => this.data[p.id]);
    if (loaded.length === 0 || loaded.some((d) => !d || d.loading || d.problem)) return false;
    const filled = loaded.filter((d) => d && d.series.columns.length > 0).length;
    return filled <= loaded.length / 4;
  });

  /** Is anything wrong: what the header says. */
  readonly verdict = $derived(verdictOf(this));

  constructor() {
    this.#channel = new LiveChannel(
      {
        received: (m) => this.#receive(m),
        changed: (state, retryAt) => {
          this.connection = state;
          this.retryAt = retryAt;
        },
        poll: (active) => (active ? this.#startPolling() : this.#stopPolling()),
        caughtUp: () => {
          if (this.receivedAt !== null) {
            this.receivedAt = Date.now();
            void this.reload();
          }
        },
      },
      browser('/api/dashboard/ws'),
      silenceLimitMs(this.refreshSeconds),
    );
  }

  /** Starts fetching and listening; returns the function that ends it. */
  start(): () => void {
    void this.#loadBoard();
    this.#channel.start(document.hidden);
    const ticker = setInterval(() => this.#tick(), 1000);
    const seen = (): void => this.#channel.handle(document.hidden ? 'hidden' : 'visible');
    const moved = (): void => {
      const before = this.view;
      this.view = readView(location.search);
      // Following a link within the page moves too, and needs no new figures.
      if (writeView(before) !== writeView(this.view)) void this.reload();
    };
    document.addEventListener('visibilitychange', seen);
    addEventListener('popstate', moved);
    return () => {
      clearInterval(ticker);
      document.removeEventListener('visibilitychange', seen);
      removeEventListener('popstate', moved);
      this.#stopPolling();
      this.#history?.abort();
      this.#channel.stop();
    };
  }

  retry(): void {
    this.#channel.handle('retry');
    if (this.board === null) void this.#loadBoard();
  }

  setRange(range: Range): void {
    this.#show({ ...this.view, range, zoom: null }, 'push');
    void this.reload();
  }

  zoom(from: number, to: number): void {
    const zoom = zoomTo(from, to);
    if (!zoom) return;
    this.#show({ ...this.view, zoom }, 'push');
    void this.reload();
  }

  /** From a zoom to what was shown before it; from a shared link straight to the present. */
  back(): void {
    if (history.state?.zoomed === true) history.back();
    else this.follow();
  }

  follow(): void {
    this.#show({ ...this.view, zoom: null }, 'push');
    void this.reload();
  }

  toggleTable(panel: Panel): void {
    this.#show({ ...this.view, tables: toggled(this.view.tables, panel.id) }, 'replace');
  }

  toggleSeries(panel: Panel, legend: string): void {
    const hidden = toggled(this.view.hidden, `${panel.id}/${legend}`);
    this.#show({ ...this.view, hidden }, 'replace');
  }

  isHidden(panel: Panel, legend: string): boolean {
    return this.view.hidden.includes(`${panel.id}/${legend}`);
  }

  /** Fetches the history of every panel for the present view. */
  async reload(only?: readonly Panel[]): Promise<void> {
    const board = this.board;
    if (!board) return;
    if (!only) this.#history?.abort();
    this.#history = only && this.#history ? this.#history : new AbortController();
    const { signal } = this.#history;
    await Promise.all((only ?? board.panels).map((panel) => this.#loadPanel(panel, signal)));
  }

  async #loadPanel(panel: Panel, signal: AbortSignal): Promise<void> {
    const grid = gridFor(this.view, this.serverNow / 1000, this.refreshSeconds);
    this.#setPanel(panel, { loading: true });
    try {
      const answers = await loadHistory(panel, grid, signal);
      const series = fromMatrix(panel, answers, grid);
      this.#setPanel(panel, { series, loading: false, problem: null });
    } catch (error) {
      if (signal.aborted || aborted(error)) return;
      this.#setPanel(panel, { loading: false, problem: problemOf(error) });
    }
  }

  #setPanel(panel: Panel, change: Partial<PanelData>): void {
    this.data = { ...this.data, [panel.id]: { ...UNLOADED, ...this.data[panel.id], ...change } };
  }

  async #loadBoard(): Promise<void> {
    this.#lastRetry = Date.now();
    try {
      const { board, serverNow } = await loadDashboard();
      if (serverNow !== null) this.#skew = serverNow - Date.now();
      this.board = board;
      this.boardProblem = null;
      this.#channel.expectBeatWithin(silenceLimitMs(board.refreshSeconds));
      await this.reload();
    } catch (error) {
      this.boardProblem = problemOf(error);
    }
  }

  #tick(): void {
    this.now = Date.now();
    if (document.hidden || this.now - this.#lastRetry < RETRY_MS) return;
    if (this.board === null) {
      void this.#loadBoard();
      return;
    }
    const failed = this.board.panels.filter((p) => this.data[p.id]?.problem);
    if (failed.length === 0) return;
    this.#lastRetry = this.now;
    void this.reload(failed);
  }

  #receive({ type, data }: Message): void {
    switch (type) {
      case 'metric_update':
        return this.#take(data);
      case 'alert':
        this.alerts = data;
        return;
      case 'health_status':
        this.health = data;
        return;
    }
  }

  /** A new reading: remembered for the tiles, and appended unless the page looks at the past. */
  #take(update: MetricUpdate): void {
    this.now = this.receivedAt = Date.now();
    this.#skew = update.at - this.now;
    this.update = update;
    if (this.view.zoom || !this.board) return;
    const at = update.at / 1000;
    const { from } = spanOf(this.view, at);
    const next: Record<string, PanelData> = { ...this.data };
    for (const panel of this.board.panels) {
      const readings = update.panels[panel.id];
      const known = next[panel.id];
      if (!readings || !known || known.loading) continue;
      next[panel.id] = { ...known, series: append(known.series, panel, readings, at, from) };
    }
    this.data = next;
  }

  #show(view: View, how: 'push' | 'replace'): void {
    this.view = view;
    const address = `${location.pathname}${writeView(view, location.search)}${location.hash}`;
    if (how === 'push') history.pushState({ zoomed: view.zoom !== null }, '', address);
    else history.replaceState(history.state, '', address);
  }

  #startPolling(): void {
    if (this.#polling) return;
    let stopped = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const abort = new AbortController();
    const round = async (): Promise<void> => {
      await this.#pollOnce(abort.signal);
      if (!stopped) timer = setTimeout(() => void round(), this.pollSeconds * 1000);
    };
    this.#polling = {
      stop: () => {
        stopped = true;
        clearTimeout(timer);
        abort.abort();
      },
    };
    void round();
  }

  #stopPolling(): void {
    this.#polling?.stop();
    this.#polling = null;
    this.pollProblem = null;
  }

  async #pollOnce(signal: AbortSignal): Promise<void> {
    const board = this.board;
    if (!board) return;
    const at = this.serverNow;
    try {
      const [alerts, targets, ...panels] = await Promise.all([
        loadAlerts(signal),
        loadTargets(signal),
        ...board.panels.map((panel) => loadInstant(panel, at / 1000, signal)),
      ]);
      this.alerts = polled(this.alerts, alerts, at);
      this.health = healthOf(targets);
      this.#take(updateOf(board, at, panels));
      this.pollProblem = null;
    } catch (error) {
      if (signal.aborted || aborted(error)) return;
      this.pollProblem = problemOf(error);
    }
  }
}

/** The readings of a poll in the form of a live update, judged by the page. */
function updateOf(
  board: Dashboard,
  at: number,
  panels: readonly Record<string, Reading[]>[],
): MetricUpdate {
  const byPanel: Record<string, Record<string, Reading[]>> = {};
  const states: Record<string, ReturnType<typeof classify>> = {};
  board.panels.forEach((panel, i) => {
    const readings = panels[i] ?? {};
    byPanel[panel.id] = readings;
    if (panel.stateOf === null) return;
    const values = (readings[panel.stateOf] ?? []).map((r) => r.value);
    states[panel.id] = classify(worst(values, panel.threshold), panel.threshold);
  });
  return { at, panels: byPanel, states };
}
