import t from 'tap';
import { Carrier, SECRET } from '../support/carry.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const handshake = (host: string) =>
  `GET /socket HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`;
const SWITCHED = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`;
const stream = (host: string) => `GET /events HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const EVENT =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n';

const HOSTS = [
  'socket.test',
  'events.test',
  'silent.test',
  'replaced.test',
  'another.test',
  'kept.test',
  'last.test',
];

type Rules = Parameters<Parameters<Carrier['worker']['change']>[0]>[0]['rules'];

async function open(carrier: Carrier, host: string, request: (host: string) => string, answer: string) {
  const agent = await carrier.agent(host);
  agent.send(request(host));
  const upstream = await carrier.upstream(host);
  await upstream.readTo('\r\n\r\n');
  upstream.send(answer);
  if (answer !== '') await agent.readTo(answer === EVENT ? '\n\n\r\n' : '\r\n\r\n');
  return { agent, upstream };
}

/** How the request to `host` ended, once its record is written, a turn after the fact. */
async function outcome(carrier: Carrier, host: string): Promise<Record<string, unknown> | undefined> {
  for (let tries = 0; tries < 50; tries++) {
    const found = outcomeOf(carrier, host);
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return undefined;
}

function outcomeOf(carrier: Carrier, host: string): Record<string, unknown> | undefined {
  const lines = carrier.worker.journal.split('\n').filter((line) => line.startsWith('{"type":'));
  const records = lines.map((line) => JSON.parse(line));
  const ids = records.filter((record) => record.host === host).map(({ id }) => id);
  return records.find(({ type, id }) => type === 'outcome' && ids.includes(id));
}

t.test('a change of rights reaches what lasts', async (t) => {
  const carrier = await Carrier.start(HOSTS);
  t.teardown(() => carrier.stop());
  /** Changes the rule of one host, or takes it away. */
  const change = (host: string, to?: Partial<Rules[number]>) =>
    carrier.worker.change(({ rules }) => ({
      rules: rules.flatMap((rule) => {
        if (rule.hosts[0]?.pattern !== host) return [rule];
        return to ? [{ ...rule, ...to }] : [];
      }),
    }));

  const kept = await open(carrier, 'kept.test', handshake, SWITCHED);

  for (const [what, host, request, answer] of [
    ['a WebSocket', 'socket.test', handshake, SWITCHED],
    ['an event stream', 'events.test', stream, EVENT],
    ['an answer that has not begun', 'silent.test', stream, ''],
  ] as const) {
    const { agent, upstream } = await open(carrier, host, request, answer);
    await change(host);
    const ends = await Promise.all([agent.finish(500), upstream.finish(500)]);
    t.notOk(
      ends.some(({ ending }) => ending === 'open'),
      `${what} is closed on both sides when the change is in force`,
    );
    t.match(
      await outcome(carrier, host),
      { error: 'policy_denied', status: null },
      `${what}: its record says why`,
    );
  }

  for (const [host, to] of [
    ['replaced.test', { version: 2 }],
    ['another.test', { credential: 'credential-2' }],
  ] as const) {
    const { agent } = await open(carrier, host, handshake, SWITCHED);
    await change(host, to);
    t.not((await agent.finish(500)).ending, 'open', `${host}: its credential is not in use any more`);
  }

  kept.agent.send('\x81\x85\0\0\0\0hello');
  t.equal(await kept.upstream.read(11), '\x81\x85\0\0\0\0hello', 'what keeps its right goes on');
  const size = String.fromCharCode(SECRET.length);
  kept.upstream.send(`\x81${size}${SECRET}`);
  t.equal(await kept.agent.read(2 + SECRET.length), `\x81${size}${'*'.repeat(SECRET.length)}`);
  kept.upstream.socket.end();
  t.equal((await kept.agent.finish()).ending, 'closed');
  t.match(await outcome(carrier, 'kept.test'), { error: null, status: 101 }, 'its record says how it ended');
  t.match(carrier.worker.journal, /"type":"scrub",.*"where":"body","hits":1/, 'and that it was scrubbed');

  const { agent } = await open(carrier, 'last.test', handshake, SWITCHED);
  await carrier.worker.change(() => ({ agents: [] }));
  t.not((await agent.finish(500)).ending, 'open', 'with its agent everything goes');
});
