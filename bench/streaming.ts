import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { connect } from './agent.ts';
import { makeCertificates } from './certificates.ts';
import { AUTHORIZATION, HOST, type Target } from './peer.ts';
import { startDirect } from './peers/direct.ts';
import { startSallyport } from './peers/sallyport.ts';
import { freePort } from './processes.ts';
import { machine, save } from './report.ts';

const USAGE = `usage: node bench/streaming.ts [--streams N] [--seconds N] [--interval MS] [--output FILE]
How long an event of a stream (SSE) takes from the server's write to the agent: directly, and through Sallyport.`;

/** An event as models stream them. The number is the moment of its sending, in nanoseconds. */
const event = (at: bigint): string =>
  `event: delta\ndata: {"at":"${at}","delta":{"type":"text","text":"a word or two"}}\n\n`;
/** Within which an event that arrived is to be on its way. */
const LATE_MS = 5;
const AT = /"at":"(\d+)"/g;

/** A server that answers with events, each written by itself. */
async function startServer(folder: string, port: number, intervalMs: number) {
  const certificates = makeCertificates(folder, HOST);
  const { certificate, key } = certificates;
  const server = https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
  server.on('request', (request, response) => {
    if (request.headers.authorization !== AUTHORIZATION) return void response.writeHead(401).end();
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    let timer: NodeJS.Timeout | undefined;
    const begin = (): void => {
      timer = setInterval(() => response.write(event(process.hrtime.bigint())), intervalMs);
    };
    // Not all streams at the same moment: the last of a burst would wait for all the others, here and on the way.
    const first = setTimeout(begin, Math.random() * intervalMs);
    response.on('close', () => {
      clearTimeout(first);
      clearInterval(timer);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return { server, certificates };
}

/** Reads events from `target` for a while; returns how long each took, in milliseconds, in order of length. */
async function measure(target: Target, streams: number, seconds: number): Promise<number[]> {
  const times: number[] = [];
  const sockets = await Promise.all(Array.from({ length: streams }, () => connect(target)));
  const field = target.field === undefined ? '' : `${target.field}\r\n`;
  for (const socket of sockets) {
    socket.on('data', (chunk: Buffer) => {
      const now = process.hrtime.bigint();
      for (const [, at] of chunk.toString('latin1').matchAll(AT))
        times.push(Number(now - BigInt(at ?? 0)) / 1e6);
    });
    socket.write(`GET /events HTTP/1.1\r\nHost: ${HOST}\r\n${field}\r\n`);
  }
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  for (const socket of sockets) socket.destroy();
  return times.sort((a, b) => a - b);
}

const { values } = parseArgs({
  options: {
    streams: { type: 'string', default: '32' },
    seconds: { type: 'string', default: '5' },
    interval: { type: 'string', default: '20' },
    output: { type: 'string', default: join(import.meta.dirname, 'results', 'streaming.json') },
  },
});
const [streams, seconds, interval] = [values.streams, values.seconds, values.interval].map(Number);
if (!streams || !seconds || !interval) {
  process.stderr.write(`${USAGE}\n`);
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), 'sallyport-streaming-'));
const stops: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
const peers: object[] = [];
try {
  const upstreamPort = await freePort();
  const { server, certificates } = await startServer(folder, upstreamPort, interval);
  stops.push(() => server.close());
  process.stdout.write(`${streams} streams, an event every ${interval} ms on each\n`);
  for (const start of [startDirect, startSallyport]) {
    const peer = await start({ folder: join(folder, start.name), upstreamPort, certificates });
    stops.push(() => peer.stop());
    const times = await measure(peer.target, streams, seconds);
    if (times.length === 0) throw new Error(`${peer.name}: no event arrived`);
    const at = (share: number): number => times[Math.floor(share * (times.length - 1))] ?? 0;
    const late = times.filter((time) => time > LATE_MS).length / times.length;
    const figures = { events: times.length, p50: at(0.5), p99: at(0.99), most: at(1), late };
    peers.push({ name: peer.name, ...figures });
    const text = `p50 ${figures.p50.toFixed(2)} ms  p99 ${figures.p99.toFixed(2)} ms  most ${figures.most.toFixed(2)} ms`;
    const share = `${(100 * late).toFixed(2)} % after ${LATE_MS} ms`;
    process.stdout.write(
      `${peer.name.padEnd(10)} ${String(times.length).padStart(6)} events  ${text}  ${share}\n`,
    );
  }
  const plan = { streams, seconds, interval };
  save(values.output, { date: new Date().toISOString(), machine: machine(), plan, peers });
} finally {
  for (const stop of stops.toReversed()) await stop();
}
