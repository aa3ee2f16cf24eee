// A text and a binary message to and fro with ws, which takes no proxy by itself: an agent is given to it.
import { once } from 'node:events';
import https from 'node:https';
import WebSocket from 'ws';

const [base] = process.argv.slice(2);
const agent = new https.Agent({ proxyEnv: process.env });
const socket = new WebSocket(base.replace('https:', 'wss:'), { agent });
await once(socket, 'open');
const echoes = [];
for (const message of ['hello', Buffer.alloc(200_000, 'x')]) {
  socket.send(message);
  const [data, isBinary] = await once(socket, 'message');
  echoes.push(`${isBinary ? 'binary' : 'text'} ${data.length}`);
}
socket.close(1000, 'done');
const [code] = await once(socket, 'close');
console.log(...echoes, code);
