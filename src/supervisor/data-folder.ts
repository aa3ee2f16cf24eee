import { lstatSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { SallyportError } from '../errors.ts';
import { Installation } from './installation.ts';
import { checkEntries, checkParents } from './permissions.ts';

/**
 * Refuses a data folder that another user could have prepared or can read: a symbolic link, another owner, open to
 * group or others, what is in it likewise. Returns what is odd, a sentence each. Throws data_folder_missing,
 * data_folder_unsafe.
 */
export function checkDataFolder(path: string): string[] {
  const info = lstatSync(path, { throwIfNoEntry: false });
  if (!info) {
    throw new SallyportError(
      'data_folder_missing',
      `There is no data folder at ${path}: run \`sallyport init\` first.`,
    );
  }
  const unsafe = (why: string): never => {
    throw new SallyportError('data_folder_unsafe', `The data folder ${path} ${why}.`);
  };
  if (info.isSymbolicLink()) unsafe('is a symbolic link: name the folder itself');
  if (!info.isDirectory()) unsafe('is not a folder');
  if (info.uid !== process.getuid?.())
    unsafe(`belongs to user ${info.uid}: serve must be started by its owner`);
  if ((info.mode & 0o077) !== 0) unsafe(`is open to other users: run \`chmod 700 ${path}\``);
  return [...checkEntries(path), ...checkParents(path)];
}

/** Reads what `init` chose. Throws data_folder_missing, invalid_settings. */
export function readInstallation(path: string): Installation {
  const file = join(path, 'sallyport.json');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const message = `There is no ${file} to be read: is ${path} a folder made by \`sallyport init\`?`;
    throw new SallyportError('data_folder_missing', message, { cause });
  }
  try {
    return Installation.parse(JSON.parse(text));
  } catch (cause) {
    const message = `${file} is not what \`sallyport init\` wrote: restore it from a backup.`;
    throw new SallyportError('invalid_settings', message, { cause });
  }
}

/**
 * Holds the data folder for this process until it ends. An abstract Unix socket named for the folder's inode: the
 * kernel lets one process have it and frees it at the process's death, however that comes. Throws already_running.
 */
export async function lockDataFolder(path: string): Promise<net.Server> {
  const name = lockName(path);
  const server = net.createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const message = `Another \`sallyport serve\` is running on ${path}: stop it first, or use it.`;
      reject(new SallyportError('already_running', message, { cause }));
    });
    server.listen(name, resolve);
  });
  server.unref();
  return server;
}

/** Whether a `serve` holds the data folder now. */
export async function isServed(path: string): Promise<boolean> {
  const socket = net.connect(lockName(path));
  const served = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  });
  socket.destroy();
  return served;
}

function lockName(path: string): string {
  const { dev, ino } = lstatSync(path);
  return `\0sallyport-${dev}-${ino}`;
}

/**
 * Finds whether a listener's address is free and which port it means where the port is 0. The workers share the port
 * (`reusePort`), which would let them join another program's listener unnoticed: hence this exclusive probe first.
 * Throws address_in_use.
 */
export async function probeListener(address: { host: string; port: number }, what: string): Promise<number> {
  const server = net.createServer();
  const port = await new Promise<number>((resolve, reject) => {
    server.once('error', (cause) => {
      const message = `The ${what} cannot listen on ${address.host}:${address.port} (${cause.message}): choose another.`;
      reject(new SallyportError('address_in_use', message, { cause }));
    });
    server.listen({ ...address, exclusive: true }, () => {
      const bound = server.address();
      resolve(typeof bound === 'object' && bound ? bound.port : address.port);
    });
  });
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
