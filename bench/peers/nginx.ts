import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { startNginx } from '../nginx.ts';
import { AUTHORIZATION, HOST, type StartPeer } from '../peer.ts';
import { freePort, stop } from '../processes.ts';
import { find } from '../tools.ts';

/** nginx as a reverse proxy that puts the header in: TLS on both sides, upstream verified and kept alive, access log on. */
export const startNginxPeer: StartPeer = async ({ folder, upstreamPort, certificates }) => {
  const port = await freePort();
  const child = await startNginx(
    'proxy',
    folder,
    port,
    `
    access_log ${join(folder, 'access.log')} combined;
    upstream api { server 127.0.0.1:${upstreamPort}; keepalive 64; keepalive_requests 1000000000; keepalive_timeout 600s; }
    server {
      listen 127.0.0.1:${port} ssl backlog=4096;
      server_name ${HOST};
      ssl_certificate ${certificates.certificate};
      ssl_certificate_key ${certificates.key};
      location / {
        proxy_pass https://api;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host ${HOST};
        proxy_set_header Authorization "${AUTHORIZATION}";
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate ${certificates.authority};
        proxy_ssl_server_name on;
        proxy_ssl_name ${HOST};
        proxy_ssl_protocols TLSv1.2 TLSv1.3;
      }
    }`,
  );
  const { stderr } = spawnSync(find('nginx'), ['-v'], { encoding: 'utf8' });
  return {
    name: 'nginx',
    version: /nginx\/(\S+)/.exec(stderr)?.[1] ?? '',
    target: { port, roots: certificates.authority },
    pid: child.pid,
    stop: () => stop(child),
  };
};
