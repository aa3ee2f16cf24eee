// Run by http-mitm-proxy.ts: http-mitm-proxy as its manual has it, with keep-alive on both sides and the header put in.
// Arguments: port, folder of its authority, PEM file with the upstream's roots, the Authorization field's value.
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { Proxy as MitmProxy } from 'http-mitm-proxy';

const [port = '', sslCaDir = '', roots = '', authorization = ''] = process.argv.slice(2);
const proxy = new MitmProxy();
proxy.onError((_context, error) => process.stderr.write(`${error}\n`));
proxy.onRequest((context, callback) => {
  if (context.proxyToServerRequestOptions)
    context.proxyToServerRequestOptions.headers.authorization = authorization;
  callback();
});
const httpsAgent = new https.Agent({
  keepAlive: true,
  ca: readFileSync(roots, 'utf8'),
  lookup: (_host, options, callback) =>
    options.all ? callback(null, [{ address: '127.0.0.1', family: 4 }]) : callback(null, '127.0.0.1', 4),
});
proxy.listen({ host: '127.0.0.1', port: Number(port), sslCaDir, keepAlive: true, httpsAgent }, () =>
  process.stdout.write('ready\n'),
);
