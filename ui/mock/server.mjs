// Development only: the built page with made-up data in the shapes of the server's contract.
//   node mock/server.mjs [--port 9798] [--scenario calm|fault|empty|failing]
// POST /mock/drop closes the live channel and refuses it; POST /mock/accept takes it again.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '9798' },
    scenario: { type: 'string', default: 'fault' },
    static: { type: 'string', default: join(import.meta.dirname, '../../src/vedette/web/static') },
  },
});
const REFRESH = 1;
const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.html': 'text/html' };
let scenario = options.scenario;
let refusing = false;

const limit = (target, warning, critical, better = 'lower') => ({ target, warning, critical, better });
const hash = (n) => {
  const x = Math.sin(n * 12.9898) * 43758.5453;
  return x - Math.floor(x);
};
/** Smooth noise in −1..1, the same for the same moment. */
const noise = (t, seed) => {
  const at = (k) => hash(Math.floor(t / k) + seed * 101);
  const mix = (k) => at(k) + (hash(Math.floor(t / k) + 1 + seed * 101) - at(k)) * ((t / k) % 1);
  return mix(40) + 0.6 * mix(11) + 0.25 * mix(3) - 0.925;
};
/** A fault of two minutes that began three minutes ago, and comes again every hour. */
const began = Date.now() / 1000 - 170;
const fault = (t) => {
  if (scenario !== 'fault') return 0;
  const x = ((((t - began) % 3600) + 3600) % 3600) / 240;
  return x > 1 ? 0 : Math.min(1, x * 6, (1 - x) * 6);
};

const wave = (base, swing, seed, bad = 0) => (t) => Math.max(0, base + swing * noise(t, seed) + bad * fault(t));
const PANELS = [
  ['request_rate', 'Requests', 'Requests per second over 1m, by status class.', 'req/s', null, null,
    [['all', 'all', [[{}, wave(14, 4, 1)]]], ['4xx', '4xx', [[{}, wave(0.3, 0.2, 2)]]], ['5xx', '5xx', [[{}, wave(0, 0.05, 3, 2.4)]]]]],
  ['error_rate', 'Failed streams', 'Share of streams that ended in provider cut, stall, time-out or error, over 1m; streams that the client left are not counted.', 'ratio', limit(0.01, 0.02, 0.05), 'ratio',
    [['ratio', 'failed', [[{}, wave(0.004, 0.006, 4, 0.16)]]]]],
  ['latency', 'Response time', 'Duration of HTTP responses over 1m.', 's', null, null,
    [['p50', 'p50', [[{}, wave(0.35, 0.05, 5, 0.5)]]], ['p95', 'p95', [[{}, wave(1.1, 0.2, 6, 2.6)]]], ['p99', 'p99', [[{}, wave(1.9, 0.4, 7, 5)]]]]],
  ['first_token', 'First token', 'From receipt of the request to the first text token, 95th percentile over 1m.', 's', limit(0.5, 1, 2), 'p95',
    [['p95', 'p95', [[{}, wave(0.44, 0.06, 8, 1.2)]]], ['p50', 'p50', [[{}, wave(0.28, 0.03, 9, 0.5)]]]]],
  ['active_streams', 'Active streams', 'Answers being streamed at this moment.', 'count', limit(100, 200, 500), 'active',
    [['active', 'active', [[{}, (t) => Math.round(wave(38, 14, 10, 80)(t))]]]]],
  ['stream_states', 'How streams end', 'Streams per second by end state, over 1m.', 'streams/s', null, null,
    [['state', '{{state}}', [
      ...[['completed', 6, 1.2, -3], ['client_left', 1, 0.3, 0.5], ['provider_cut', 0, 0.02, 0.7], ['stalled', 0, 0.01, 0.3], ['timed_out', 0, 0.01, 0.4], ['error', 0.02, 0.03, 0.5]]
        .map(([state, base, swing, bad], i) => [{ state }, wave(base, swing, 20 + i, bad)])]]]],
  ['cache_kb', 'Knowledge cache', 'Share of look-ups answered from the kb cache, over 1m.', 'ratio', limit(0.6, 0.4, 0.2, 'higher'), 'hit_rate',
    [['hit_rate', 'hit rate', [[{}, wave(0.72, 0.05, 11)]]]]],
  ['cache_tts', 'Speech cache', 'Share of look-ups answered from the tts cache, over 1m.', 'ratio', limit(0.5, 0.3, 0.1, 'higher'), 'hit_rate',
    [['hit_rate', 'hit rate', [[{}, wave(0.44, 0.05, 12)]]]]],
  ['tokens', 'Tokens', 'Tokens per second over 1m, by kind.', 'tokens/s', null, null,
    [['kind', '{{kind}}', [[{ kind: 'completion' }, wave(1450, 300, 13, -800)], [{ kind: 'prompt' }, wave(5200, 700, 14)]]]]],
  ['targets', 'Targets up', 'Share of scrape targets that answered their latest scrape.', 'ratio', limit(1, 0.999, 0.5, 'higher'), 'up',
    [['up', 'up', [[{}, (t) => (fault(t) > 0.9 ? 2 / 3 : 1)]]]]],
].map(([id, title, description, unit, threshold, stateOf, queries]) => ({
  id, title, description, unit, threshold, state_of: stateOf, kind: 'timeseries',
  queries: queries.map(([query, legend, series]) => ({ id: query, legend, series, expr: `mock(${id},${query})` })),
}));
const EXPRS = new Map(PANELS.flatMap((p) => p.queries.map((q) => [q.expr, q])));

const classify = (v, t) => {
  if (v === null || v === undefined) return 'no_data';
  const beyond = (l) => l !== null && (t.better === 'lower' ? v > l : v < l);
  return beyond(t.critical) ? 'critical' : beyond(t.warning) ? 'warning' : beyond(t.target) ? 'ok' : 'target_met';
};
const seriesAt = (query, t) => (scenario === 'empty' ? [] : query.series.map(([labels, f]) => ({ labels, value: f(t) })));
const iso = (s) => new Date(s * 1000).toISOString();

function update() {
  const now = Date.now() / 1000;
  const panels = {};
  const states = {};
  for (const p of PANELS) {
    panels[p.id] = Object.fromEntries(p.queries.map((q) => [q.id, seriesAt(q, now)]));
    const value = p.state_of ? (panels[p.id][p.state_of]?.[0]?.value ?? null) : null;
    if (p.state_of) states[p.id] = { state: classify(value, p.threshold), value };
  }
  return { at: Math.round(now * 1000), panels, states };
}

function alerts() {
  const hot = fault(Date.now() / 1000);
  const firing = hot > 0.2 ? [
    { name: 'FirstTokenSlow', state: 'firing', severity: 'warning', labels: { alertname: 'FirstTokenSlow', severity: 'warning', app: 'shop-chat' }, annotations: { summary: 'First token p95 is 1.64 s, above 1 s' }, active_at: iso(began + 41), value: 1.6412 },
    { name: 'StreamsFailing', state: 'firing', severity: 'critical', labels: { alertname: 'StreamsFailing', severity: 'critical', app: 'shop-chat', team: 'chat' }, annotations: { summary: '16.4 % of the streams fail' }, active_at: iso(began + 22), value: 0.1643 },
    { name: 'TargetDown', state: 'pending', severity: 'warning', labels: { alertname: 'TargetDown', severity: 'warning', job: 'node', instance: '127.0.0.1:9100' }, annotations: { summary: 'node 127.0.0.1:9100 does not answer' }, active_at: iso(began + 90), value: 0 },
  ] : [];
  const resolved = scenario === 'empty' ? [] : [
    { name: 'CacheCold', state: 'resolved', severity: 'warning', labels: { cache: 'tts' }, annotations: { summary: 'Hit rate below 30 %' }, active_at: iso(began - 900), resolved_at: iso(began - 700), value: 0.28 },
  ];
  return { alerts: firing, resolved };
}

function health() {
  if (scenario === 'empty') return { status: 'healthy', targets: [], up: 0, total: 0 };
  const now = Date.now() / 1000;
  const down = fault(now) > 0.9;
  const targets = [
    { job: 'shop-chat', instance: '127.0.0.1:8001', health: 'up', last_scrape: iso(now - 0.7), last_error: '', scrape_seconds: 0.0061 },
    { job: 'vedette', instance: '127.0.0.1:9797', health: 'up', last_scrape: iso(now - 0.4), last_error: '', scrape_seconds: 0.0032 },
    { job: 'node', instance: '127.0.0.1:9100', health: down ? 'down' : 'up', last_scrape: iso(now - 0.9), last_error: down ? 'connection refused' : '', scrape_seconds: 0.0187 },
  ];
  const up = targets.filter((t) => t.health === 'up').length;
  return { status: up === targets.length ? 'healthy' : 'degraded', targets, up, total: targets.length };
}

function api(url) {
  const q = url.searchParams;
  switch (url.pathname) {
    case '/api/dashboards/operational':
      return { success: true, timestamp: iso(Date.now() / 1000), title: 'Operations', app: 'shop-chat', refresh_seconds: REFRESH,
        panels: PANELS.map((p) => ({ ...p, queries: p.queries.map(({ id, expr, legend }) => ({ id, expr, legend })) })) };
    case '/api/v1/query_range': {
      const query = EXPRS.get(q.get('query'));
      const [start, end, step] = ['start', 'end', 'step'].map((n) => Number(q.get(n)));
      const result = scenario === 'empty' ? [] : query.series.map(([metric, f]) => {
        const values = [];
        for (let t = start; t <= end; t += step) {
          const gap = scenario === 'calm' && hash(Math.floor(t / 120)) > 0.9;
          if (!gap) values.push([t, String(f(t))]);
        }
        return { metric, values };
      });
      return { status: 'success', data: { resultType: 'matrix', result } };
    }
    case '/api/v1/query': {
      const t = Number(q.get('time'));
      const result = seriesAt(EXPRS.get(q.get('query')), t).map(({ labels, value }) => ({ metric: labels, value: [t, String(value)] }));
      return { status: 'success', data: { resultType: 'vector', result } };
    }
    case '/api/v1/alerts':
      return { status: 'success', data: { alerts: alerts().alerts.map((a) => ({ ...a, activeAt: a.active_at, value: String(a.value) })) } };
    case '/api/v1/targets':
      return { status: 'success', data: { activeTargets: health().targets.map((t) => ({ labels: { job: t.job, instance: t.instance }, health: t.health, lastScrape: t.last_scrape, lastError: t.last_error, lastScrapeDuration: t.scrape_seconds })) } };
    default:
      return null;
  }
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://127.0.0.1');
  const send = (status, type, body) => {
    response.writeHead(status, { 'Content-Type': type, 'Content-Security-Policy': "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self'" });
    response.end(body);
  };
  if (url.pathname === '/mock/drop') {
    refusing = true;
    for (const socket of sockets) socket.destroy();
    return send(204, 'text/plain', '');
  }
  if (url.pathname === '/mock/accept') refusing = false;
  if (url.pathname === '/mock/scenario') scenario = url.searchParams.get('name') ?? scenario;
  if (url.pathname.startsWith('/mock/')) return send(204, 'text/plain', '');
  if (url.pathname.startsWith('/api/')) {
    if (scenario === 'failing' && url.pathname.includes('query_range') && hash(url.search.length) > 0.5) {
      return send(422, 'application/json', JSON.stringify({ status: 'error', errorType: 'execution', error: 'the query needs more samples than the limit of 50,000,000' }));
    }
    const body = api(url);
    return body ? send(200, 'application/json', JSON.stringify(body)) : send(404, 'application/json', '{}');
  }
  const name = url.pathname.startsWith('/static/') ? url.pathname.slice(8) : 'index.html';
  const file = join(options.static, normalize(name));
  if (!file.startsWith(normalize(options.static)) || !existsSync(file)) return send(404, 'text/plain', 'not found');
  return send(200, TYPES[extname(file)] ?? 'application/octet-stream', readFileSync(file));
});

const sockets = new Set();
function frame(text) {
  const body = Buffer.from(text);
  const head = body.length < 126 ? Buffer.from([0x81, body.length]) : Buffer.alloc(body.length < 65536 ? 4 : 10);
  if (head.length === 4) head.set([0x81, 126]), head.writeUInt16BE(body.length, 2);
  if (head.length === 10) head.set([0x81, 127]), head.writeBigUInt64BE(BigInt(body.length), 2);
  return Buffer.concat([head, body]);
}
server.on('upgrade', (request, socket) => {
  if (refusing || request.url !== '/api/dashboard/ws') return socket.destroy();
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  const tell = (type, data) => socket.writable && socket.write(frame(JSON.stringify({ type, data })));
  let beats = 0;
  const beat = () => {
    if (beats++ % 3 === 0) tell('health_status', health()), tell('alert', alerts());
    tell('metric_update', update());
  };
  beat();
  const timer = setInterval(beat, REFRESH * 1000);
  sockets.add(socket);
  socket.on('data', (data) => (data[0] & 0x0f) === 8 && socket.end());
  socket.on('error', () => socket.destroy());
  socket.on('close', () => (clearInterval(timer), sockets.delete(socket)));
  return undefined;
});
server.listen(Number(options.port), '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${server.address().port}/ (${scenario})\n`);
});
