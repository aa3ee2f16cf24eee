import { readFileSync } from 'node:fs';
import { parseServices, type Service } from './service.ts';

let parsed: ReadonlyMap<string, Service> | undefined;

/** The services that come with Sallyport, by id. Read and checked once, when first asked for. */
export function catalogServices(): ReadonlyMap<string, Service> {
  parsed ??= new Map(
    parseServices(readFileSync(new URL('./services.json', import.meta.url), 'utf8')).map((service) => [
      service.id,
      service,
    ]),
  );
  return parsed;
}

/** The catalog's service of that id, or undefined. */
export function catalogService(id: string): Service | undefined {
  return catalogServices().get(id);
}
