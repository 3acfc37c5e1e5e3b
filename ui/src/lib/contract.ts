/**
 * The server's contract: shapes of `/api/dashboards/operational`, `/api/dashboard/ws` and the
 * parts of the Prometheus API which the page reads.
 *
 * Whatever arrives is checked here once, so that the rest of the page may trust its types: a
 * missing or odd member becomes a harmless default, an unknown message is ignored.
 */

export type State = 'target_met' | 'ok' | 'warning' | 'critical' | 'no_data';
export type Labels = Readonly<Record<string, string>>;

export interface Threshold {
  readonly target: number | null;
  readonly warning: number | null;
  readonly critical: number | null;
  readonly better: 'lower' | 'higher';
}

export interface PanelQuery {
  readonly id: string;
  readonly expr: string;
  readonly legend: string;
}

export interface Panel {
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly kind: 'timeseries' | 'stat';
  readonly unit: string;
  readonly queries: readonly PanelQuery[];
  readonly threshold: Threshold | null;
  /** The query whose value decides the state of the panel. */
  readonly stateOf: string | null;
}

export interface Dashboard {
  readonly title: string;
  readonly app: string | null;
  readonly refreshSeconds: number;
  readonly panels: readonly Panel[];
}

/** One value of one series at one moment; `null` where the server had NaN, Inf or nothing. */
export interface Reading {
  readonly labels: Labels;
  readonly value: number | null;
}

export interface PanelState {
  readonly state: State;
  readonly value: number | null;
}

export interface MetricUpdate {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly panels: Readonly<Record<string, Readonly<Record<string, readonly Reading[]>>>>;
  readonly states: Readonly<Record<string, PanelState>>;
}

export interface Alert {
  readonly name: string;
  readonly state: 'pending' | 'firing' | 'resolved';
  readonly severity: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  /** Milliseconds since the epoch; `null` when the server did not say. */
  readonly activeAt: number | null;
  readonly resolvedAt: number | null;
  readonly value: number | null;
}

export interface AlertsUpdate {
  readonly alerts: readonly Alert[];
  readonly resolved: readonly Alert[];
}

export interface Target {
  readonly job: string;
  readonly instance: string;
  readonly health: 'up' | 'down' | 'unknown';
  readonly lastScrape: number | null;
  readonly lastError: string;
  readonly scrapeSeconds: number | null;
}

export interface Health {
  readonly status: 'healthy' | 'degraded' | 'unhealthy';
  readonly targets: readonly Target[];
  readonly up: number;
  readonly total: number;
}

export type Message =
  | { readonly type: 'metric_update'; readonly data: MetricUpdate }
  | { readonly type: 'alert'; readonly data: AlertsUpdate }
  | { readonly type: 'health_status'; readonly data: Health };

type Obj = Record<string, unknown>;

const isObj = (v: unknown): v is Obj => typeof v === 'object' && v !== null && !Array.isArray(v);
const obj = (v: unknown): Obj => (isObj(v) ? v : {});
const list = (v: unknown): unknown[] => (Array.isArray(v) ? v : []);
const text = (v: unknown, otherwise = ''): string => (typeof v === 'string' ? v : otherwise);

/** A finite number, also from the strings in which Prometheus writes its values; else null. */
export function finite(v: unknown): number | null {
  const n = typeof v === 'number' ? v : typeof v === 'string' && v.trim() !== '' ? Number(v) : NaN;
  return Number.isFinite(n) ? n : null;
}

/** Milliseconds of an RFC 3339 time; null for none, nonsense, and Go's zero time. */
export function instant(v: unknown): number | null {
  if (typeof v !== 'string') return null;
  const ms = Date.parse(v);
  return Number.isFinite(ms) && ms > 0 ? ms : null;
}

function labels(v: unknown): Labels {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(obj(v))) out[name] = String(value);
  return out;
}

function threshold(v: unknown): Threshold | null {
  if (!isObj(v)) return null;
  const { target, warning, critical } = v;
  return {
    target: finite(target),
    warning: finite(warning),
    critical: finite(critical),
    better: v.better === 'higher' ? 'higher' : 'lower',
  };
}

function panel(v: unknown): Panel | null {
  const p = obj(v);
  const id = text(p.id);
  if (!id) return null;
  const queries = list(p.queries).map((q, i) => {
    const query = obj(q);
    return { id: text(query.id, String(i)), expr: text(query.expr), legend: text(query.legend) };
  });
  return {
    id,
    title: text(p.title, id),
    description: text(p.description),
    kind: p.kind === 'stat' ? 'stat' : 'timeseries',
    unit: text(p.unit),
    queries: queries.filter((q) => q.expr !== ''),
    threshold: threshold(p.threshold),
    stateOf: typeof p.state_of === 'string' ? p.state_of : null,
  };
}

export function dashboard(v: unknown): Dashboard {
  const d = obj(v);
  return {
    title: text(d.title, 'Operational dashboard'),
    app: text(d.app) || null,
    refreshSeconds: Math.max(finite(d.refresh_seconds) ?? 5, 0.5),
    panels: list(d.panels).flatMap((p) => panel(p) ?? []),
  };
}

const STATES: readonly string[] = ['target_met', 'ok', 'warning', 'critical', 'no_data'];

function panelState(v: unknown): PanelState {
  const s = obj(v);
  const word = text(s.state);
  return { state: STATES.includes(word) ? (word as State) : 'no_data', value: finite(s.value) };
}

function metricUpdate(v: Obj): MetricUpdate | null {
  const at = finite(v.at);
  if (at === null) return null;
  const panels: Record<string, Record<string, Reading[]>> = {};
  for (const [id, queries] of Object.entries(obj(v.panels))) {
    const byQuery: Record<string, Reading[]> = {};
    for (const [query, readings] of Object.entries(obj(queries))) {
      byQuery[query] = list(readings).map((r) => {
        const reading = obj(r);
        return { labels: labels(reading.labels), value: finite(reading.value) };
      });
    }
    panels[id] = byQuery;
  }
  const states: Record<string, PanelState> = {};
  for (const [id, s] of Object.entries(obj(v.states))) states[id] = panelState(s);
  return { at, panels, states };
}

/** An alert of the WebSocket, or of `/api/v1/alerts` where severity and name are labels. */
export function alert(v: unknown): Alert {
  const a = obj(v);
  const own = labels(a.labels);
  const resolvedAt = instant(a.resolved_at);
  const state = text(a.state);
  return {
    name: text(a.name) || own.alertname || 'unnamed',
    state: state === 'pending' || state === 'firing' ? state : 'resolved',
    severity: text(a.severity) || own.severity || '',
    labels: own,
    annotations: labels(a.annotations),
    activeAt: instant(a.active_at ?? a.activeAt),
    resolvedAt,
    value: finite(a.value),
  };
}

/** A target of the WebSocket, or of `/api/v1/targets`. */
export function target(v: unknown): Target {
  const t = obj(v);
  const own = labels(t.labels);
  const health = text(t.health);
  return {
    job: text(t.job) || own.job || '',
    instance: text(t.instance) || own.instance || '',
    health: health === 'up' || health === 'down' ? health : 'unknown',
    lastScrape: instant(t.last_scrape ?? t.lastScrape),
    lastError: text(t.last_error ?? t.lastError),
    scrapeSeconds: finite(t.scrape_seconds ?? t.lastScrapeDuration),
  };
}

/** Health out of a list of targets, for when only the Prometheus API is reachable. */
export function healthOf(targets: readonly Target[]): Health {
  const up = targets.filter((t) => t.health === 'up').length;
  const down = targets.filter((t) => t.health === 'down').length;
  const status = down === 0 ? 'healthy' : up === 0 ? 'unhealthy' : 'degraded';
  return { status, targets, up, total: targets.length };
}

function healthStatus(v: Obj): Health {
  const targets = list(v.targets).map(target);
  const derived = healthOf(targets);
  const status = text(v.status);
  return {
    status:
      status === 'healthy' || status === 'degraded' || status === 'unhealthy'
        ? status
        : derived.status,
    targets,
    up: finite(v.up) ?? derived.up,
    total: finite(v.total) ?? derived.total,
  };
}

/** Reads one WebSocket message. Unknown types and broken ones give null and are ignored. */
export function message(raw: unknown): Message | null {
  let parsed: unknown;
  try {
    parsed = typeof raw === 'string' ? JSON.parse(raw) : null;
  } catch {
    return null;
  }
  if (!isObj(parsed) || !isObj(parsed.data)) return null;
  const data = parsed.data;
  switch (parsed.type) {
    case 'metric_update': {
      const update = metricUpdate(data);
      return update && { type: 'metric_update', data: update };
    }
    case 'alert':
      return {
        type: 'alert',
        data: {
          alerts: list(data.alerts).map(alert),
          resolved: list(data.resolved).map(alert),
        },
      };
    case 'health_status':
      return { type: 'health_status', data: healthStatus(data) };
    default:
      return null;
  }
}
