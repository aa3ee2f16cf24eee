import { renameSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { AgentTunnel, basic, connect } from '../support/agent.ts';
import { until } from '../support/processes.ts';
import { Product, problemOf } from './product.ts';

/* The vault dies while its HSM cannot be used. */

interface Outage {
  readonly outage: string;
  readonly begin: (product: Product) => void;
  /** What `status` and serve's log say of it. */
  readonly says: RegExp;
  /** What an agent is told. */
  readonly code: string;
  readonly logins?: number;
  readonly end: (product: Product) => void;
}

let pin = '';

function wrongPin(product: Product): void {
  pin = product.readPin();
  product.writePin('x'.repeat(40));
}

const OUTAGES: readonly Outage[] = [
  {
    outage: 'the token is away',
    begin: (product) => product.moveToken(true),
    says: /does not answer|shows no token/,
    code: 'hsm_unavailable',
    end: (product) => product.moveToken(false),
  },
  {
    outage: 'the PIN is a wrong one, and is corrected in its file',
    begin: wrongPin,
    says: /refused the PIN/,
    code: 'hsm_pin_wrong',
    logins: 1,
    end: (product) => product.writePin(pin),
  },
  {
    outage: 'the PIN is a wrong one, and its file is replaced',
    begin: wrongPin,
    says: /refused the PIN/,
    code: 'hsm_pin_wrong',
    logins: 1,
    end: (product) => {
      const { pinFile } = product.scene.sallyport;
      writeFileSync(`${pinFile}.new`, pin, { mode: 0o400 });
      renameSync(`${pinFile}.new`, pinFile);
    },
  },
  {
    outage: 'the PIN’s file is gone',
    begin: (product) =>
      renameSync(product.scene.sallyport.pinFile, `${product.scene.sallyport.pinFile}.gone`),
    says: /PIN file is empty/,
    code: 'hsm_pin_missing',
    logins: 0,
    end: (product) => renameSync(`${product.scene.sallyport.pinFile}.gone`, product.scene.sallyport.pinFile),
  },
];

t.setTimeout(240_000);
const product = await Product.start(OUTAGES.map((_outage, index) => `cold-${index}`));
t.teardown(() => product.remove());
const { sallyport, upstream } = product.scene;

for (const [index, { outage, begin, says, code, logins, end }] of OUTAGES.entries()) {
  t.test(outage, async (t) => {
    const printed = sallyport.stderr().length;
    const log = (): string => sallyport.stderr().slice(printed);
    product.shim.calls();
    begin(product);
    await product.kill('vault');
    const began = performance.now();
    const status = (await sallyport.failure(['--json', 'status'])).replace(/^\d+ /, '');
    t.ok(
      performance.now() - began < 10_000,
      `status answered after ${Math.round(performance.now() - began)} ms`,
    );
    t.match(JSON.parse(status), { hsm: { state: 'unavailable', error: says } });
    t.equal((await fetch(`${sallyport.api}/healthz`)).status, 200);
    t.match(
      await sallyport.failure(['agent', 'add', 'another']),
      /\[hsm_unavailable\]/,
      'nothing can be changed',
    );
    const { answer: refused } = await connect(sallyport.proxy, `cold-${index}.test:443`, basic(product.bot));
    t.equal(problemOf(refused), '503 hsm_unavailable', 'an agent is refused');
    t.match(refused.body.toString(), code, 'and told why');
    t.match(log(), says, 'the log says why');

    await product.kill('keyholder');
    await product.kill('vault');
    await until('it is known again', 20_000, async () =>
      product.status().then(
        ({ hsm }) => says.test(hsm.error ?? ''),
        () => false,
      ),
    );
    await sleep(1_500); // whatever is tried by the clock
    t.ok(log().split('\n').length < 20, 'the log is not full of it');
    if (logins !== undefined)
      t.equal(product.shim.calls().filter((name) => name === 'C_Login').length, logins, 'logins tried');

    end(product);
    await until('it is served again', 10_000, async () => {
      const answer = await AgentTunnel.open(sallyport.proxy, product.bot, `cold-${index}.test`).then(
        async (tunnel) => {
          const { status } = await tunnel.request(`/cold-${index}`);
          tunnel.close();
          return status;
        },
        () => 0,
      );
      return answer === 200;
    });
    t.equal((await product.status()).hsm.state, 'ok');
    t.equal(upstream.received.filter(({ path }) => path === `/cold-${index}`).length, 1);
    t.match(log(), /can use its HSM again, after \d+ s/);
    t.match(await sallyport.json(['audit', 'verify']), { intact: true });
    const states = product.alarms().map(({ subject }) => subject);
    t.ok(states.includes(code) && states.at(-1) === 'ok', `${states}`);
    t.notMatch(log(), /could not be started again/);
  });
}
