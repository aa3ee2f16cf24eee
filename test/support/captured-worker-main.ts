import { readFileSync } from 'node:fs';
import net from 'node:net';

/**
 * Stands in for a worker's main.ts: hands its channel to the vault over to the test, and runs what the test sends.
 * See captured-worker.ts.
 */
const { port } = JSON.parse(readFileSync(new URL('../captor.json', import.meta.url), 'utf8'));

const vault = new net.Socket({ fd: 3, readable: true, writable: true });
const captor = net.connect(port, '127.0.0.1', () => {
  captor.write('v');
  captor.pipe(vault).pipe(captor);
});
vault.on('close', () => process.exit(1));

const commands = net.connect(port, '127.0.0.1', () => commands.write('c'));
let text = '';
commands.on('data', async (chunk) => {
  text += String(chunk);
  const end = text.indexOf('\n');
  if (end < 0) return; // one at a time: the test waits for each outcome
  const { action, given } = JSON.parse(text.slice(0, end));
  text = text.slice(end + 1);
  commands.write(`${JSON.stringify(await attempt(action, given))}\n`);
});

async function attempt(action: string, given: unknown[]): Promise<object> {
  try {
    // Whoever has captured a worker runs in it what they want.
    const value: unknown = await new Function(`return ${action}`)()(...given);
    return { value: value ?? null };
  } catch (error) {
    return { code: error instanceof Error && 'code' in error ? String(error.code) : String(error) };
  }
}
