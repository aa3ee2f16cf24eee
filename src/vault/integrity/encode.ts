import { COLUMNS, LATER_COLUMNS, type PolicyRow, type PolicyTable } from '../../store/schema.ts';

/**
 * The bytes that a row's MAC is over: an unambiguous encoding of the table's name and every column but `mac`, in the
 * order of their names. For each text: u32 length (big-endian), UTF-8 bytes; for each column its name, one byte for
 * the type (0 null, 1 integer, 2 text, 3 bytes, 4 a number that no column of ours holds), and the value: nothing, 8
 * bytes two's complement, or as a text. A column that the table got later is left out where it is null: rows from
 * before keep their MAC.
 */
export function encodeRow(entry: PolicyRow): Buffer {
  const { head, columns } = PLANS[entry.table];
  const present = columns
    .map(({ name, column, later }) => ({ name, later, value: columnOf(entry.row, column) }))
    .filter(({ later, value }) => !(later && value === null));
  let length = head.length;
  for (const { name, value } of present) length += name.length + sizeOf(value);
  const out = Buffer.allocUnsafe(length);
  let at = head.copy(out);
  for (const { name, value } of present) {
    at += name.copy(out, at);
    at = write(out, at, value);
  }
  return out;
}

interface Plan {
  readonly head: Buffer;
  readonly columns: readonly { readonly column: string; readonly name: Buffer; readonly later: boolean }[];
}

/** What is the same in all rows of a table: a store has a hundred thousand. */
const PLANS: { readonly [T in PolicyTable]: Plan } = {
  agents: plan('agents'),
  authorities: plan('authorities'),
  services: plan('services'),
  credentials: plan('credentials'),
  credential_versions: plan('credential_versions'),
  grants: plan('grants'),
};

function plan(table: PolicyTable): Plan {
  const later: readonly string[] = LATER_COLUMNS[table] ?? [];
  const columns = [...COLUMNS[table]].sort().filter((column) => column !== 'mac');
  return {
    head: Buffer.concat([text('sallyport row v1'), text(table)]),
    columns: columns.map((column) => ({ column, name: text(column), later: later.includes(column) })),
  };
}

function columnOf(row: PolicyRow['row'], column: string): unknown {
  return Reflect.get(row, column);
}

/** A number that no column of ours holds is written as text. */
function asText(of: number): string | undefined {
  return Number.isSafeInteger(of) ? undefined : String(of);
}

function sizeOf(of: unknown): number {
  if (of === null) return 1;
  if (typeof of === 'number') return asText(of) === undefined ? 9 : 5 + Buffer.byteLength(String(of));
  if (typeof of === 'string') return 5 + Buffer.byteLength(of);
  if (of instanceof Uint8Array) return 5 + of.length;
  throw new TypeError(`a column holds a ${typeof of}, which no column may`);
}

function write(out: Buffer, at: number, of: unknown): number {
  if (of === null) return out.writeUInt8(0, at);
  if (of instanceof Uint8Array) {
    const start = out.writeUInt32BE(of.length, out.writeUInt8(3, at));
    out.set(of, start);
    return start + of.length;
  }
  if (typeof of === 'number' && asText(of) === undefined)
    return out.writeBigInt64BE(BigInt(of), out.writeUInt8(1, at));
  const string = String(of);
  const start = at + 5;
  const end = start + out.write(string, start);
  out.writeUInt8(typeof of === 'number' ? 4 : 2, at);
  out.writeUInt32BE(end - start, at + 1);
  return end;
}

function text(of: string): Buffer {
  const bytes = Buffer.from(of, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
