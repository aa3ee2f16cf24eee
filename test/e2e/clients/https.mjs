// GET /big and POST /echo with node:https; prints the SHA-256 of what came, and what was answered.
import { createHash } from 'node:crypto';
import https from 'node:https';
import { buffer } from 'node:stream/consumers';

const [base] = process.argv.slice(2);
const send = (path, method, body) =>
  new Promise((resolve, reject) => {
    const request = https.request(base + path, { method }, (response) => resolve(buffer(response)));
    request.on('error', reject);
    request.end(body);
  });
const big = await send('/big', 'GET');
const echo = await send('/echo', 'POST', 'x'.repeat(300_000));
console.log(createHash('sha256').update(big).digest('hex'), String(echo));
