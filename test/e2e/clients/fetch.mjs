// GET /big and POST /echo with fetch; prints the SHA-256 of what came, and what was answered.
import { createHash } from 'node:crypto';

const [base] = process.argv.slice(2);
const big = await (await fetch(`${base}/big`)).bytes();
const body = new ReadableStream({
  start(controller) {
    for (let i = 0; i < 6; i++) controller.enqueue(new TextEncoder().encode('x'.repeat(50_000)));
    controller.close();
  },
});
const echo = await fetch(`${base}/echo`, { method: 'POST', body, duplex: 'half' });
console.log(createHash('sha256').update(big).digest('hex'), await echo.text());
