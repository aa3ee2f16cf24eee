import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { until } from '../support/processes.ts';
import { valuesOf } from '../support/upstream.ts';
import { Product, problemOf, repeat } from './product.ts';

/** One fault, with agents at work. In each, requests with the hot credential and the API must go on. */
interface Fault {
  readonly fault: string;
  readonly provoke: (product: Product) => void | Promise<void>;
  /** How long a request may take that needs the HSM, until it is answered 503 hsm_unavailable. */
  readonly answeredWithinMs: number;
  /** What `status` says of the HSM. */
  readonly status: RegExp;
  /** What serve prints. */
  readonly log?: RegExp;
  /** How often a login is tried while it lasts. */
  readonly logins?: number;
  readonly mend: (product: Product) => void | Promise<void>;
  /** How long it may take until the HSM is in use again, once the fault is gone. */
  readonly backWithinMs: number;
}

const recover = (product: Product): void => product.shim.control();
let pin = '';

const FAULTS: readonly Fault[] = [
  {
    fault: 'the keyholder is killed, and again as often as it starts',
    provoke: async (product) => {
      product.shim.control('exit C_Initialize');
      await product.killKeyholder();
    },
    answeredWithinMs: 1_000,
    status: /keyholder ended|no keyholder/,
    mend: recover,
    backWithinMs: 5_000,
  },
  {
    fault: 'a call hangs for 30 s: the keyholder is killed at its deadline and another started',
    provoke: (product) => product.shim.control('delay C_DecryptInit 30000'),
    answeredWithinMs: 7_000,
    status: /keyholder|did not answer/,
    log: /killing keyholder-1-\d+: its HSM did not answer "unwrap" within 5000 ms/,
    mend: recover,
    backWithinMs: 20_000,
  },
  {
    fault: 'the token’s folder is moved away',
    provoke: (product) => product.moveToken(true),
    answeredWithinMs: 1_000,
    status: /HSM is lost/,
    mend: (product) => product.moveToken(false),
    backWithinMs: 5_000,
  },
  {
    fault: 'the token’s folder is moved away, and `status` is the first to see it',
    provoke: async (product) => {
      product.moveToken(true);
      const { hsm } = await product.status();
      if (hsm.state !== 'unavailable' || hsm.health?.state !== 'failing')
        throw new Error(`status and health do not agree: ${JSON.stringify(hsm)}`);
      await sleep(1_500);
    },
    answeredWithinMs: 1_000,
    status: /HSM is lost/,
    mend: (product) => product.moveToken(false),
    backWithinMs: 5_000,
  },
  {
    fault: 'the module aborts',
    provoke: (product) => product.shim.control('abort C_DecryptInit'),
    answeredWithinMs: 1_000,
    status: /keyholder ended/,
    mend: recover,
    backWithinMs: 5_000,
  },
  {
    fault: 'the HSM is started anew: sessions are gone, and for a while there is no token',
    provoke: (product) =>
      product.shim.control('fail C_DecryptInit 0xb3', 'fail C_SignInit 0x32', 'empty slots'),
    answeredWithinMs: 1_000,
    status: /HSM is lost/,
    mend: recover,
    backWithinMs: 6_000,
  },
  {
    fault: 'the token is away when the keyholder starts',
    provoke: async (product) => {
      product.shim.control('empty slots');
      await product.killKeyholder();
      await until('the next one has looked', 10_000, async () =>
        /shows no token/.test((await product.status()).hsm.error ?? ''),
      );
    },
    answeredWithinMs: 1_000,
    status: /shows no token/,
    logins: 0,
    mend: recover,
    backWithinMs: 7_000,
  },
  {
    fault: 'the PIN is a wrong one when the keyholder starts: it is tried once',
    provoke: async (product) => {
      pin = product.readPin();
      product.writePin('x'.repeat(40));
      await product.killKeyholder();
      await until('it was tried', 10_000, async () =>
        /CKR_PIN_INCORRECT/.test((await product.status()).hsm.error ?? ''),
      );
      await sleep(1_500);
    },
    answeredWithinMs: 1_000,
    status: /CKR_PIN_INCORRECT/,
    logins: 1,
    mend: (product) => product.writePin(pin),
    backWithinMs: 10_000,
  },
];

t.setTimeout(240_000);
const product = await Product.start(FAULTS.map((_fault, index) => `cold-${index}`));
t.teardown(() => product.remove());
const { upstream, sallyport } = product.scene;

for (const [index, each] of FAULTS.entries()) {
  t.test(each.fault, async (t) => {
    const hot = await product.tunnel('hot');
    const cold = await product.tunnel(`cold-${index}`); // its certificate is made before the fault, its secret not opened
    t.equal((await hot.request('/')).status, 200);
    product.shim.calls();
    const printed = sallyport.stderr().length;
    const journalled = product.alarms().length;
    const requests = repeat(20, async () => {
      const { status } = await hot.request('/hot');
      return status === 200 ? undefined : `${status}`;
    });
    const api = repeat(50, async () => void (await product.control.call('GET', '/v1/agents')));

    await each.provoke(product);
    const began = performance.now();
    t.equal(
      problemOf(await cold.request(`/cold-${index}`)),
      '503 hsm_unavailable',
      'a request that needs the HSM',
    );
    t.ok(
      performance.now() - began < each.answeredWithinMs,
      `answered after ${Math.round(performance.now() - began)} ms`,
    );
    await until('status says so', 3_000, async () => (await product.status()).hsm.state === 'unavailable');
    t.match((await product.status()).hsm.error, each.status);
    if (each.log) t.match(sallyport.stderr().slice(printed), each.log);
    if (each.logins !== undefined) {
      t.equal(product.shim.calls().filter((name) => name === 'C_Login').length, each.logins, 'logins tried');
    }

    await each.mend(product);
    await until(
      'the HSM is in use again',
      each.backWithinMs,
      async () => (await product.status()).hsm.state === 'ok',
    );
    t.equal(problemOf(await cold.request(`/cold-${index}`)), '200', 'the same request, once it is back');
    const log = sallyport.stderr().slice(printed);
    t.match(
      log,
      /^sallyport: keyholder-1-\d+ (cannot use its HSM: .+|ended, and another is started in its place)$/m,
    );
    await until('the log says that it is over', 2_000, () =>
      /^sallyport: keyholder-1-\d+ can use its HSM again, after \d+ s$/m.test(
        sallyport.stderr().slice(printed),
      ),
    );
    t.ok(log.split('\n').length <= 8, `${log.split('\n').length} lines, whatever was tried again and again`);
    const alarms = product.alarms().slice(journalled);
    t.match(alarms[0]?.subject, /^(hsm_unavailable|keyholder_ended)$/, 'the journal says so too');
    t.equal(alarms.at(-1)?.subject, 'ok');
    const carried = upstream.received.filter(({ path }) => path === `/cold-${index}`);
    t.same(
      carried.map((request) => valuesOf(request, 'authorization')),
      [[`Bearer secret of cold-${index}`]],
      'with its credential, and never without: nothing is lost',
    );
    const [served, answered] = await Promise.all([requests.end(), api.end()]);
    t.same(served.wrong, [], `${served.runs} requests with the hot credential, none failed`);
    t.ok(served.longest < 1_000, `none took longer than ${Math.round(served.longest)} ms`);
    t.same(answered.wrong, [], `the API answered ${answered.runs} times`);
    t.ok(answered.longest < 1_000, `within ${Math.round(answered.longest)} ms`);
    hot.close();
    cold.close();
  });
}
