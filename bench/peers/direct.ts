import { AUTHORIZATION, type StartPeer } from '../peer.ts';

/** No proxy: what a request takes without one. The load sends the credential itself. */
export const startDirect: StartPeer = async ({ upstreamPort, certificates }) => ({
  name: 'direct',
  version: '',
  target: { port: upstreamPort, roots: certificates.authority, field: `Authorization: ${AUTHORIZATION}` },
  pid: undefined,
  stop: async () => {},
});
