/**
 * What commands print. Results go to standard output, notes to standard error, so that output can be piped and,
 * with `--json`, is nothing but JSON.
 */

/** Prints a command's result: with `json` one JSON document on one line, else the text of `human`. */
export function printResult(json: boolean, document: unknown, human: () => string): void {
  const text = json ? JSON.stringify(document) : human();
  if (text !== '') process.stdout.write(`${text}\n`);
}

/** Prints a note on standard error. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Resolves once all that was written to it has gone out, also to a pipe whose reader takes its time. */
export function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}

/** A table with a header, columns aligned; `empty` where there are no rows. Control bytes are shown as `\xNN`. */
export function table(
  headers: readonly string[],
  rows: readonly (readonly string[])[],
  empty: string,
): string {
  if (rows.length === 0) return empty;
  const lines = [headers, ...rows].map((row) => row.map(printable));
  const widths = headers.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Lines of `name  value`, names aligned. */
export function properties(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}`).join('\n');
}

/** Makes text from elsewhere harmless to a terminal. */
export function printable(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}
