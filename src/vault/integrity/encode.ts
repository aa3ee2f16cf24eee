import { COLUMNS, LATER_COLUMNS, type PolicyRow } from '../../store/schema.ts';

/**
 * The bytes that a row's MAC is over: an unambiguous encoding of the table's name and every column but `mac`, in the
 * order of their names. For each text: u32 length (big-endian), UTF-8 bytes; for each column its name, one byte for
 * the type (0 null, 1 integer, 2 text, 3 bytes, 4 a number that no column of ours holds), and the value: nothing, 8
 * bytes two's complement, or as a text. A column that the table got later is left out where it is null: rows from
 * before keep their MAC.
 */
export function encodeRow(entry: PolicyRow): Buffer {
  const values: Readonly<Record<string, unknown>> = { ...entry.row };
  const parts = [text('sallyport row v1'), text(entry.table)];
  const later: readonly string[] = LATER_COLUMNS[entry.table] ?? [];
  for (const column of [...COLUMNS[entry.table]].sort()) {
    if (column === 'mac' || (values[column] === null && later.includes(column))) continue;
    parts.push(text(column), value(values[column]));
  }
  return Buffer.concat(parts);
}

function value(of: unknown): Buffer {
  if (of === null) return Buffer.from([0]);
  if (typeof of === 'number' && Number.isSafeInteger(of)) {
    const integer = Buffer.alloc(9, 1);
    integer.writeBigInt64BE(BigInt(of), 1);
    return integer;
  }
  if (typeof of === 'number') return Buffer.concat([Buffer.from([4]), text(String(of))]);
  if (typeof of === 'string') return Buffer.concat([Buffer.from([2]), text(of)]);
  if (of instanceof Uint8Array) return Buffer.concat([Buffer.from([3]), counted(of)]);
  throw new TypeError(`a column holds a ${typeof of}, which no column may`);
}

function text(of: string): Buffer {
  return counted(Buffer.from(of, 'utf8'));
}

function counted(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
