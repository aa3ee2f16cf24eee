import t from 'tap';
import type { Failure } from '../../src/vault/integrity/verify.ts';
import { Findings } from '../../src/vault/policy/findings.ts';

const rows = Array.from({ length: 60_000 }, (_, index): Failure => {
  return { table: 'services', id: `forged-${index}`, reason: 'was inserted' };
});

t.test('however many rows failed, each is found again at once', async (t) => {
  const findings = new Findings();
  findings.found(rows, { table: 'state', id: '*', reason: 'strayed' }, []);
  const began = process.cpuUsage();
  t.ok(rows.every((row) => findings.failureOf(row.table, row.id) === row));
  const { user } = process.cpuUsage(began);
  t.ok(user < 1_000_000, `${user} µs`);
  t.equal(findings.failureOf('agents', 'forged-1'), undefined);
  t.equal(findings.failureOf('state', '*')?.reason, 'strayed');
  findings.accepted();
  t.equal(findings.failureOf('services', 'forged-1'), undefined);
});
