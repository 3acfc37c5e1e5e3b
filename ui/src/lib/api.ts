/** Reads of the HTTP API. Every failure becomes an `ApiError` that a person can read. */
import type { Alert, Dashboard, Labels, Panel, PanelQuery, Reading, Target } from './contract';
import { alert, dashboard, finite, instant, target } from './contract';
import type { MatrixSeries } from './series';
import type { Grid } from './view';

const TIMEOUT_MS = 20_000;

/** What went wrong, and what to do about it. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly hint = '',
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

type Json = Record<string, unknown>;
const asObject = (v: unknown): Json =>
  typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Json) : {};
const asList = (v: unknown): unknown[] => (Array.isArray(v) ? v : []);

/** The message of an error body: Vedette's `{error: {...}}` or Prometheus' `{error: "..."}`. */
export function errorFrom(status: number, body: unknown): ApiError {
  const { error } = asObject(body);
  if (typeof error === 'string') return new ApiError(error);
  const { message, hint } = asObject(error);
  if (typeof message === 'string') {
    return new ApiError(message, typeof hint === 'string' ? hint : '');
  }
  return new ApiError(`The server answered with status ${status}.`);
}

async function getJson(path: string, params: URLSearchParams | null, signal?: AbortSignal): Promise<Json> {
  const address = params ? `${path}?${params}` : path;
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(address, {
      headers: { Accept: 'application/json' },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    body = await response.json().catch(() => null);
  } catch (cause) {
    if (signal?.aborted) throw cause;
    if (limit.aborted) throw new ApiError(`No answer within ${TIMEOUT_MS / 1000} s.`);
    throw new ApiError('The server cannot be reached.', 'Is it running? Try again in a moment.');
  }
  if (!response.ok) throw errorFrom(response.status, body);
  if (body === null) throw new ApiError('The answer was not JSON.');
  return asObject(body);
}

/** The list of panels, and the server's clock in ms (null when it did not say). */
export async function loadDashboard(
  signal?: AbortSignal,
): Promise<{ board: Dashboard; serverNow: number | null }> {
  const body = await getJson('/api/dashboards/operational', null, signal);
  return { board: dashboard(body), serverNow: instant(body.timestamp) };
}

function labelsOf(metric: unknown): Labels {
  return Object.fromEntries(Object.entries(asObject(metric)).map(([k, v]) => [k, String(v)]));
}

/** `data.result` of an answer to a query; scalars count as one series without labels. */
function results(body: Json): Json[] {
  const data = asObject(body.data);
  if (data.resultType === 'scalar') return [{ metric: {}, value: data.result }];
  return asList(data.result).map(asObject);
}

export function matrixOf(body: Json): MatrixSeries[] {
  return results(body).map((series) => ({
    labels: labelsOf(series.metric),
    points: asList(series.values).flatMap((pair) => {
      const [at, value] = asList(pair);
      const time = finite(at);
      return time === null ? [] : [[time, finite(value)] as const];
    }),
  }));
}

export function vectorOf(body: Json): Reading[] {
  return results(body).map((series) => ({
    labels: labelsOf(series.metric),
    value: finite(asList(series.value)[1]),
  }));
}

type PerQuery<T> = Record<string, T[]>;

async function perQuery<T>(
  panel: Panel,
  ask: (query: PanelQuery) => Promise<T[]>,
): Promise<PerQuery<T>> {
  const answers = await Promise.all(
    panel.queries.map(async (query) => [query.id, await ask(query)] as const),
  );
  return Object.fromEntries(answers);
}

/** The history of a panel over a grid, by query id. */
export function loadHistory(
  panel: Panel,
  grid: Grid,
  signal?: AbortSignal,
): Promise<PerQuery<MatrixSeries>> {
  return perQuery(panel, async ({ expr }) => {
    const params = new URLSearchParams({
      query: expr,
      start: String(grid.start),
      end: String(grid.end),
      step: String(grid.step),
    });
    return matrixOf(await getJson('/api/v1/query_range', params, signal));
  });
}

/** The values of a panel at `at` (seconds), by query id. */
export function loadInstant(
  panel: Panel,
  at: number,
  signal?: AbortSignal,
): Promise<PerQuery<Reading>> {
  return perQuery(panel, async ({ expr }) => {
    const params = new URLSearchParams({ query: expr, time: at.toFixed(3) });
    return vectorOf(await getJson('/api/v1/query', params, signal));
  });
}

export async function loadAlerts(signal?: AbortSignal): Promise<Alert[]> {
  const body = await getJson('/api/v1/alerts', null, signal);
  return asList(asObject(body.data).alerts).map(alert);
}

export async function loadTargets(signal?: AbortSignal): Promise<Target[]> {
  const body = await getJson('/api/v1/targets', new URLSearchParams({ state: 'active' }), signal);
  return asList(asObject(body.data).activeTargets).map(target);
}
