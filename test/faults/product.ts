import { chmodSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { type Agent, AgentTunnel, type Answer } from '../support/agent.ts';
import { Control } from '../support/control.ts';
import { makeShim, type Shim } from '../support/pkcs11-shim.ts';
import { type Scene, startScene } from '../support/scene.ts';

const Status = z.object({
  hsm: z.object({
    state: z.string(),
    error: z.string().optional(),
    health: z.object({ state: z.string(), error: z.string().nullable() }).optional(),
  }),
  processes: z.array(z.object({ kind: z.string(), name: z.string(), pid: z.number() })),
});
export type Status = z.infer<typeof Status>;

const Alarm = z.object({
  subject: z.string(),
  detail: z.object({ keyholder: z.string(), what: z.string() }),
});

const service = (id: string) => ({
  id,
  hosts: [{ pattern: `${id}.test` }],
  auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
  fields: [{ key: 'token' }],
});

/** The real program on a token behind the shim, with one credential that is in use and several that were never used. */
export class Product {
  readonly shim: Shim;
  readonly scene: Scene;
  readonly control: Control;
  readonly bot: Agent;

  private constructor(shim: Shim, scene: Scene, control: Control, bot: Agent) {
    this.shim = shim;
    this.scene = scene;
    this.control = control;
    this.bot = bot;
  }

  /**
   * `cold`: ids of services with a credential each, `secret of ID`, to be used for the first time during a fault. `flags`
   * and `settings`: further ones of serve.
   */
  static async start(
    cold: readonly string[],
    flags: readonly string[] = [],
    settings: object = {},
  ): Promise<Product> {
    const shim = makeShim();
    const configuration = join(dirname(shim.module), 'sallyport.json');
    writeFileSync(configuration, JSON.stringify(settings));
    const ids = ['hot', ...cold];
    const scene = await startScene({
      initFlags: ['--pkcs11-module', shim.module],
      flags: ['--config', configuration, '--workers', '1', ...flags],
      services: ids.map(service),
      hosts: ids.map((id) => `${id}.test:443`),
    });
    const bot = await scene.addAgent('bot');
    const control = new Control(scene.sallyport.data);
    for (const id of ids) {
      await control.setCredential(id, 'token', `secret of ${id}`);
      await control.call('PUT', '/v1/grants', { agent: 'bot', service: id });
    }
    scene.upstream.respond = (_request, response) => response.end('answer\n');
    return new Product(shim, scene, control, bot);
  }

  tunnel(id: string): Promise<AgentTunnel> {
    return AgentTunnel.open(this.scene.sallyport.proxy, this.bot, `${id}.test`);
  }

  async status(): Promise<Status> {
    return Status.parse(await this.control.call('GET', '/v1/status'));
  }

  /** What the vault's journals say of the HSM, oldest first. */
  alarms() {
    const folder = join(this.scene.sallyport.data, 'journal');
    const lines = readdirSync(folder)
      .filter((name) => name.includes('-vault-'))
      .sort()
      .flatMap((name) => readFileSync(join(folder, name), 'utf8').trim().split('\n'));
    return lines
      .filter((line) => line.startsWith('{"type":"alarm"') && line.includes('"action":"hsm"'))
      .map((line) => Alarm.parse(JSON.parse(line)));
  }

  killKeyholder(): Promise<void> {
    return this.kill('keyholder');
  }

  /** Ends the one of that kind, as a crash does; waits for one where another is being started. */
  async kill(of: 'keyholder' | 'vault'): Promise<void> {
    for (let tries = 0; tries < 100; tries++) {
      const found = (await this.status()).processes.find(({ kind }) => kind === of);
      // Never a pid that is none: -1 would be everybody.
      if (found && found.pid > 1) {
        process.kill(found.pid, 'SIGKILL');
        return;
      }
      await delay(50);
    }
    throw new Error(`no ${of} was started`);
  }

  moveToken(away: boolean): void {
    const tokens = join(this.scene.sallyport.data, 'token', 'tokens');
    if (away) renameSync(tokens, `${tokens}.gone`);
    else renameSync(`${tokens}.gone`, tokens);
  }

  readPin(): string {
    return readFileSync(this.scene.sallyport.pinFile, 'utf8');
  }

  writePin(pin: string): void {
    chmodSync(this.scene.sallyport.pinFile, 0o600);
    writeFileSync(this.scene.sallyport.pinFile, pin);
  }

  async remove(): Promise<void> {
    this.shim.control();
    this.control.close();
    await this.scene.remove();
    this.shim.remove();
  }
}

/** Runs `work` every `everyMs` until told to end; answers what went wrong, and the longest that one took in ms. */
export function repeat(everyMs: number, work: () => Promise<string | undefined>) {
  const wrong: string[] = [];
  let longest = 0;
  let runs = 0;
  let going = true;
  const loop = (async () => {
    while (going) {
      const began = performance.now();
      const failure = await work().catch((error: unknown) => String(error));
      if (failure !== undefined) wrong.push(failure);
      longest = Math.max(longest, performance.now() - began);
      runs++;
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  })();
  return {
    end: async () => {
      going = false;
      await loop;
      return { wrong, longest, runs };
    },
  };
}

/** The code of a problem document (RFC 9457) that the proxy answered with. */
export function problemOf({ status, body }: Answer): string {
  if (status < 400) return `${status}`;
  const { code } = z.object({ code: z.string() }).parse(JSON.parse(body.toString()));
  return `${status} ${code}`;
}
