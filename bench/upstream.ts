import type { ChildProcess } from 'node:child_process';
import type { Certificates } from './certificates.ts';
import { startNginx } from './nginx.ts';
import { AUTHORIZATION, HOST } from './peer.ts';

const BODY =
  '{"id":1,"name":"bench","items":[1,2,3,4,5,6,7,8],"text":"as much as a small answer of an API holds"}';

/**
 * The upstream: an nginx that answers 200 at once, and 401 where the credential is missing, so that a proxy that does
 * not put it in counts errors and no requests.
 */
export function startUpstream(
  folder: string,
  port: number,
  certificates: Certificates,
): Promise<ChildProcess> {
  return startNginx(
    'rest',
    folder,
    port,
    `
    access_log off;
    ssl_session_cache shared:upstream:10m;
    server {
      listen 127.0.0.1:${port} ssl backlog=4096;
      server_name ${HOST};
      ssl_certificate ${certificates.certificate};
      ssl_certificate_key ${certificates.key};
      default_type application/json;
      location / {
        if ($http_authorization != "${AUTHORIZATION}") { return 401; }
        return 200 '${BODY}';
      }
    }`,
  );
}
