import { readFileSync } from 'node:fs';
import t from 'tap';
import { z } from 'zod';
import { catalogService, catalogServices } from '../../src/catalog/catalog.ts';
import { compileTargets } from '../../src/catalog/rule.ts';
import { parseService, type Service } from '../../src/catalog/service.ts';
import { Injection, RuleHost } from '../../src/channel/messages/policy.ts';

const file = z
  .object({ count: z.number(), services: z.array(z.looseObject({ id: z.string() })) })
  .parse(JSON.parse(readFileSync(new URL('../../src/catalog/services.json', import.meta.url), 'utf8')));

/** Values that the catalog's public fields could have. */
const EXAMPLES: Readonly<Record<string, string>> = {
  header_name: 'X-Key',
  token_url: 'https://token.example/token',
};

function examplePublicFields(service: Service): Record<string, string> {
  const wildcard = service.hosts.find(({ pattern }) => pattern.startsWith('*'))?.pattern;
  const host = wildcard === undefined ? 'host.example' : `mine${wildcard.replace(/^\*+/, '')}`;
  const fields = service.fields.filter(({ secret }) => !secret);
  return Object.fromEntries(
    fields.map(({ key }) => [key, /host$/.test(key) ? host : (EXAMPLES[key] ?? 'value')]),
  );
}

t.test('every entry of the catalog parses, and nothing of it is lost', async (t) => {
  t.equal(catalogServices().size, file.count);
  for (const entry of file.services) {
    const service = catalogService(entry.id);
    // What was written is kept: hosts and fields gain their defaults, nothing else changes.
    t.match(JSON.parse(JSON.stringify(service)), entry, entry.id);
    t.same(
      parseService(JSON.parse(JSON.stringify(service))),
      service,
      `${entry.id} reads back from the store`,
    );
  }
});

t.test('every entry compiles to destinations and injections that a worker accepts', async (t) => {
  for (const service of catalogServices().values()) {
    const targets = compileTargets(service, examplePublicFields(service));
    t.ok(targets.length > 0, service.id);
    for (const { hosts, inject } of targets) {
      z.array(RuleHost).min(1).parse(hosts);
      z.array(Injection).min(1).parse(inject);
      const places = hosts.map(({ pattern, port }) => `${pattern}:${port}`);
      t.equal(new Set(places).size, places.length, `${service.id}: each host and port once`);
      for (const { pattern } of hosts) t.notMatch(pattern, /[{}]/, `${service.id}: hosts are filled in`);
    }
  }
});

t.test('an unknown id is no service, also when it is a name that objects have', async (t) => {
  t.equal(catalogService('nothing'), undefined);
  t.equal(catalogService('constructor'), undefined);
  t.equal(catalogService('__proto__'), undefined);
});
