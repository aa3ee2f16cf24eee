import { startTokenEndpoint, type TokenEndpoint } from './token-endpoint.ts';
import { TOKEN_SERVICES } from './token-services.ts';
import { type Installation, install, TestVault } from './vault.ts';
import type { WorkerPeer } from './worker-peer.ts';

type Bot = Awaited<ReturnType<TestVault['addAgent']>>;

/** A vault with the services whose tokens are made by an exchange, their token endpoint, a worker, and an agent `bot`. */
export class TokenScene {
  readonly installation: Installation;
  readonly endpoint: TokenEndpoint;
  vault: TestVault;
  worker: WorkerPeer;
  readonly bot: Bot;

  private constructor(
    installation: Installation,
    endpoint: TokenEndpoint,
    vault: TestVault,
    worker: WorkerPeer,
    bot: Bot,
  ) {
    this.installation = installation;
    this.endpoint = endpoint;
    this.vault = vault;
    this.worker = worker;
    this.bot = bot;
  }

  static async start(): Promise<TokenScene> {
    const installation = await install();
    const endpoint = await startTokenEndpoint();
    const vault = await TestVault.start(installation, { worker: endpoint.settings });
    const worker = await vault.worker();
    await vault.call('POST', '/v1/services', { services: TOKEN_SERVICES });
    return new TokenScene(installation, endpoint, vault, worker, await vault.addAgent('bot'));
  }

  /** Another vault in the place of one that has ended. */
  async again(): Promise<TokenScene> {
    this.vault = await TestVault.start(this.installation, { worker: this.endpoint.settings });
    this.worker = await this.vault.worker();
    return this;
  }

  /** Asks for what a request to that service goes with, as a worker does. */
  readonly ask = (service: string, request?: { method: string; path: string }) => {
    const rule = this.worker.policy.rules.find((each) => each.service === service);
    if (!rule) throw new Error(`no rule for ${service}`);
    const { agent, id, credential, version } = rule;
    const asked = { agent, rule: id, credential, version, host: `${service}.test`, port: 443 };
    return this.worker.ask({ type: 'secret', ...asked, ...(request && { request }) }, [this.bot.token]);
  };

  async close(): Promise<void> {
    await this.vault.stop();
    await this.endpoint.close();
    this.installation.remove();
  }
}
