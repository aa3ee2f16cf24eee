'use strict';
// npm links the bins of dependencies, not of the package itself: this does it, so that `npx sallyport` and
// `node_modules/.bin/sallyport` work in a checkout. Run by npm's `prepare`, under whatever Node npm runs on.

const fs = require('fs');
const path = require('path');

const root = path.resolve(__dirname, '..');
const folder = path.join(root, 'node_modules', '.bin');
const link = path.join(folder, 'sallyport');
const target = path.join('..', '..', 'src', 'cli', 'bin.cjs');

fs.mkdirSync(folder, { recursive: true });
fs.chmodSync(path.join(root, 'src', 'cli', 'bin.cjs'), 0o755);
if (!linked()) {
  fs.rmSync ? fs.rmSync(link, { force: true }) : fs.existsSync(link) && fs.unlinkSync(link);
  fs.symlinkSync(target, link);
}

function linked() {
  try {
    return fs.readlinkSync(link) === target;
  } catch (_) {
    return false; // Absent, or a file that something else wrote.
  }
}
