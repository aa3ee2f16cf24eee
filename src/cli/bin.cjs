#!/usr/bin/env node
'use strict';
// Plain JavaScript that an old Node (12 and up) can run: it finds the Node that Sallyport brings along, becomes it,
// and only there loads the program. A command that holds secrets runs so that no signal opens a debugger in it and the
// kernel makes no core of it; which has to be said before Node begins.

const fs = require('fs');
const path = require('path');

const OLDEST = 24;
/** Without it SIGUSR1 opens Node's inspector, by which whoever may send a signal runs any code here (measured). */
const NO_DEBUGGER = '--disable-sigusr1';
/**
 * Commands through whose hands PINs, credentials, tokens and passphrases go. Not `run`: what it starts is not ours, and
 * the flag blocks the signal, which `run` passes on.
 */
const HOLD_SECRETS = ['agent', 'backup', 'credential', 'hsm', 'init', 'serve'];
const root = path.resolve(__dirname, '..', '..');
const bundled = findBundled();

if (bundled && fs.realpathSync(process.execPath) !== bundled) {
  become(bundled);
} else if (Number(process.versions.node.split('.')[0]) >= OLDEST) {
  if (holdsSecrets() && process.execArgv.indexOf(NO_DEBUGGER) < 0) become(process.execPath);
  else start();
} else {
  fail(
    'This is Node ' +
      process.versions.node +
      ' and the bundled one is missing: run scripts/setup in the checkout (or npm install), or use Node ' +
      OLDEST +
      ' or newer.',
  );
}

function findBundled() {
  try {
    const file = fs.realpathSync(require.resolve('node/bin/node', { paths: [root] }));
    fs.accessSync(file, fs.constants.X_OK);
    return file;
  } catch (_) {
    return null; // Not installed: the running one may do.
  }
}

/** The first word that is no option is the command. */
function holdsSecrets() {
  const words = process.argv
    .slice(2)
    .filter((word, index, all) => word[0] !== '-' && all[index - 1] !== '--data');
  return HOLD_SECRETS.indexOf(words[0]) >= 0;
}

/** Replaces this process by `node` where Node can; else runs a child and passes on signals and how it ended. */
function become(node) {
  let file = node;
  let args = [__filename].concat(process.argv.slice(2));
  if (holdsSecrets()) {
    args = ['--core=0:0', node, NO_DEBUGGER].concat(args);
    file = findPrlimit();
    if (!file) {
      return fail(
        'Core dumps cannot be switched off, which would hold secrets: install prlimit (package util-linux).',
      );
    }
  }
  const stdio = inherited();
  if (typeof process.execve === 'function' && stdio.length === 3) {
    process.execve(file, [file].concat(args), process.env);
  }
  const child = require('child_process').spawn(file, args, { stdio: stdio });
  // A terminal gives Ctrl-C and Ctrl-\ to the child itself; passing them on would count them twice.
  const terminal = Boolean(process.stdin.isTTY);
  ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'].forEach((signal) => {
    process.on(signal, () => {
      if (!terminal || (signal !== 'SIGINT' && signal !== 'SIGQUIT')) child.kill(signal);
    });
  });
  child.on('error', (error) => fail(`The bundled Node at ${file} does not run: ${error.message}`));
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

function findPrlimit() {
  return (process.env.PATH || '/usr/bin:/bin')
    .split(':')
    .map((folder) => path.join(folder, 'prlimit'))
    .find((file) => {
      try {
        fs.accessSync(file, fs.constants.X_OK);
        return true;
      } catch (_) {
        return false;
      }
    });
}

/** Descriptors that the child needs: the usual, and the one of --pin-fd, which Node closes for whatever it becomes. */
function inherited() {
  const stdio = [0, 1, 2];
  const match = /(?:^|\0)--pin-fd[=\0](\d{1,3})(?:\0|$)/.exec(process.argv.slice(2).join('\0'));
  if (match && Number(match[1]) > 2 && fs.existsSync(`/proc/self/fd/${match[1]}`)) {
    while (stdio.length < Number(match[1])) stdio.push('ignore');
    stdio.push(Number(match[1]));
  }
  return stdio;
}

function start() {
  process.removeAllListeners('warning'); // Node's own warnings are not the user's business.
  process.argv[1] = __filename;
  const compileCache = path.join(root, 'node_modules', '.cache', 'sallyport');
  try {
    fs.accessSync(path.join(root, 'node_modules'), fs.constants.W_OK);
    require('module').enableCompileCache(compileCache);
  } catch (_) {
    // Installed read-only: it only starts a little slower.
  }
  const built = path.join(__dirname, 'main.js');
  import(fs.existsSync(built) ? built : path.join(__dirname, 'main.ts'))
    .then((program) => program.main(process.argv))
    .catch((error) => fail(String(error?.message).split('\n')[0]));
}

function fail(message) {
  const text =
    process.argv.indexOf('--json') < 0
      ? `sallyport: ${message} [internal]`
      : JSON.stringify({ error: { code: 'internal', message: message } });
  process.stderr.write(`${text}\n`);
  process.exitCode = 1;
}
