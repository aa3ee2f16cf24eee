'use strict';
// Says whether node_modules holds what package-lock.json asks for, and whether its native parts load in this Node. Run on
// the bundled Node. Prints what is wrong and exits with 1, so that scripts/setup installs again.

const fs = require('fs');
const path = require('path');

const root = path.resolve(__dirname, '..');
const NATIVE = ['pkcs11js', 'better-sqlite3', 'sodium-native'];

try {
  compareLocks();
  NATIVE.forEach((name) => require(require.resolve(name, { paths: [root] })));
  new (require(require.resolve('better-sqlite3', { paths: [root] })))(':memory:').close(); // it loads its binary late
} catch (error) {
  console.error(String(error.message).split('\n')[0]);
  process.exitCode = 1;
}

/** npm writes what it installed into node_modules/.package-lock.json, in the same form. */
function compareLocks() {
  const wanted = read('package-lock.json');
  const installed = read(path.join('node_modules', '.package-lock.json'));
  Object.keys(wanted).forEach((place) => {
    const entry = wanted[place];
    const there = installed[place];
    if (place === '' || (entry.optional && !there)) return;
    if (!there || there.version !== entry.version || there.integrity !== entry.integrity) {
      throw new Error(place + ' is not installed as package-lock.json says');
    }
  });
}

function read(file) {
  return JSON.parse(fs.readFileSync(path.join(root, file), 'utf8')).packages;
}
