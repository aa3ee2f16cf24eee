import { once } from 'node:events';
import type tls from 'node:tls';
import t from 'tap';
import { TestWorker } from '../support/worker.ts';

const CONNECTIONS = 12;

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`${version}: who uses each session once resumes every time`, async (t) => {
    const worker = await TestWorker.start({ upstreams: {}, upstreamCa: '', rules: [{ host: 'a.test' }] });
    t.teardown(() => worker.stop());
    let kept: Buffer | undefined;
    let resumed = 0;
    for (let i = 0; i < CONNECTIONS; i++) {
      const options: tls.ConnectionOptions = { minVersion: version, maxVersion: version };
      if (kept) options.session = kept;
      const socket = await worker.tunnel('a.test:443', options);
      if (socket.isSessionReused()) resumed++;
      // In TLS 1.2 the ticket is there with the handshake, in TLS 1.3 after it.
      kept = version === 'TLSv1.2' ? socket.getSession() : undefined;
      socket.on('session', (session: Buffer) => {
        kept = session;
      });
      // Its answer comes after the tickets.
      socket.write('GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n');
      socket.resume();
      await once(socket, 'close');
    }
    t.equal(resumed, CONNECTIONS - 1);
  });
}
