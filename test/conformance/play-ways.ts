import { once } from 'node:events';
import tls from 'node:tls';
import type { Test } from 'tap';
import { End } from '../proxy/listener/end.ts';
import { type Scene, SECRET, startScene, tunnel } from '../proxy/listener/scene.ts';
import type { TestRule, WorkerOptions } from '../support/worker.ts';
import type { WayRow, WayStep } from './ways-in.ts';

/** A worker, and servers that rows name. `own`: limits of the rule for listed.test. */
export function start(
  t: Test,
  limits: NonNullable<WorkerOptions['limits']> = {},
  own: NonNullable<TestRule['limits']> = {},
): Promise<Scene> {
  return startScene(t, {
    tls: true,
    secure: ['listed.test:443'],
    plain: ['listed.test:80', 'listed.test:8443', 'open.test:443', 'open.test:80', 'plain.test:80'],
    rules: [
      { host: 'listed.test', limits: own },
      { host: 'other.test' },
      { host: 'plain.test', port: 80, plainHttp: true, id: 'plain' },
    ],
    limits,
  });
}

/** Plays the row's steps and checks each; stops at the first that fails. */
export async function play(t: Test, scene: Scene, { item, says, from, steps }: WayRow): Promise<void> {
  let agent = await begin(scene, from);
  const others: End[] = [];
  const upstreams = new Map<string, End>();
  const upstream = async (of: string): Promise<End> => {
    const end = upstreams.get(of) ?? (await scene.upstream(of));
    upstreams.set(of, end);
    return end;
  };
  const login = `\x01\x03bot${String.fromCharCode(scene.worker.token.length)}${scene.worker.token}`;
  const filled = (text: string): string =>
    text.replace('AUTH', scene.authorization).replace('LOGIN', login).replaceAll('SECRET', SECRET);
  let problem: object | undefined;
  for (const [index, step] of steps.entries()) {
    if ('newAgent' in step) {
      others.push(agent);
      agent = await scene.agent();
      continue;
    }
    const { expected, found } = await take(step, agent, upstream, scene, filled);
    if (expected === found) continue;
    problem = { step: index, expected, found };
    break;
  }
  t.same(problem, undefined, `${item}: ${says}`);
  for (const end of [agent, ...others, ...upstreams.values()]) end.socket.destroy();
  scene.forget();
}

async function begin(scene: Scene, from: WayRow['from']): Promise<End> {
  if (from === 'port') return scene.agent();
  if (from === 'tunnel') return tunnel(scene, 'listed.test');
  const { tlsPort, ca } = scene.worker;
  const socket = tls.connect({ port: tlsPort, servername: 'proxy.test', ca: ca.cert });
  await once(socket, 'secureConnect');
  return new End(socket);
}

async function take(
  step: Exclude<WayStep, { newAgent: true }>,
  agent: End,
  upstream: (of: string) => Promise<End>,
  scene: Scene,
  filled: (text: string) => string,
): Promise<{ expected?: string; found?: string }> {
  if ('agent' in step) agent.send(filled(step.agent));
  else if ('agentGets' in step) return gets(agent, step.agentGets);
  else if ('agentSees' in step) return sees(agent, step.agentSees);
  else if ('agentEnds' in step) agent.socket.end();
  else if ('upstream' in step) (await upstream(step.of)).send(filled(step.upstream));
  else if ('upstreamGets' in step) return gets(await upstream(step.of), filled(step.upstreamGets));
  else if ('upstreamSees' in step) return sees(await upstream(step.of), step.upstreamSees);
  else if ('untouched' in step) return { expected: '0', found: String(scene.waiting(step.untouched)) };
  else await new Promise((resolve) => setTimeout(resolve, step.wait));
  return {};
}

async function gets(end: End, expected: string) {
  return { expected, found: await end.read(expected.length) };
}

async function sees(end: End, expected: string) {
  const { rest, ending } = await end.finish();
  const how = expected === 'gone' && ending !== 'open' ? 'gone' : ending;
  return { expected, found: rest === '' ? how : `${how} after ${rest}` };
}
