import { Buffer } from 'node:buffer';
import * as grpc from '@grpc/grpc-js';
import t from 'tap';
import { SECRET } from '../../support/carry.ts';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { TestWorker } from '../../support/worker.ts';

const HOST = 'grpc.test';
const asIs = { serialize: (bytes: Buffer) => bytes, deserialize: (bytes: Buffer) => bytes };

function method(
  path: string,
  requestStream: boolean,
  responseStream: boolean,
): grpc.MethodDefinition<Buffer, Buffer> {
  return {
    path: `/test.Echo/${path}`,
    requestStream,
    responseStream,
    requestSerialize: asIs.serialize,
    requestDeserialize: asIs.deserialize,
    responseSerialize: asIs.serialize,
    responseDeserialize: asIs.deserialize,
  };
}

const ECHO = {
  unary: method('Unary', false, false),
  fails: method('Fails', false, false),
  down: method('Down', false, true),
  up: method('Up', true, false),
  both: method('Both', true, true),
  waits: method('Waits', false, true),
};

t.test('gRPC, unary and streaming, with a real client through the proxy', async (t) => {
  const ca = makeCa();
  const certificate = makeServerCert(ca, HOST);
  const credentials: unknown[] = [];
  let waiting = 0;
  const server = new grpc.Server();
  const seen = (metadata: grpc.Metadata): void => void credentials.push(metadata.get('authorization'));
  server.addService(ECHO, {
    unary(call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
      seen(call.metadata);
      const trailers = new grpc.Metadata();
      trailers.set('x-trailer', 'yes');
      done(
        null,
        Buffer.concat([call.request, Buffer.from(` ${String(call.metadata.get('x-mine'))}`)]),
        trailers,
      );
    },
    fails(call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
      seen(call.metadata);
      done({ code: grpc.status.NOT_FOUND, details: `no such thing as ${SECRET}` });
    },
    down(call: grpc.ServerWritableStream<Buffer, Buffer>) {
      seen(call.metadata);
      for (let i = 0; i < 100; i++) call.write(Buffer.from(`${i}`));
      call.end();
    },
    up(call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
      seen(call.metadata);
      let sum = 0;
      call.on('data', (bytes: Buffer) => {
        sum += bytes.length;
      });
      call.on('end', () => done(null, Buffer.from(`${sum}`)));
    },
    both(call: grpc.ServerDuplexStream<Buffer, Buffer>) {
      seen(call.metadata);
      call.on('data', (bytes: Buffer) => call.write(bytes));
      call.on('end', () => call.end());
    },
    waits(call: grpc.ServerWritableStream<Buffer, Buffer>) {
      seen(call.metadata);
      waiting++;
      call.on('cancelled', () => waiting--);
      call.write(Buffer.from('waiting'));
    },
  });
  const pem = (text: string): Buffer => Buffer.from(text);
  const pair = { private_key: pem(certificate.key), cert_chain: pem(certificate.cert) };
  const port = await new Promise<number>((resolve, reject) => {
    const secure = grpc.ServerCredentials.createSsl(null, [pair], false);
    server.bindAsync('127.0.0.1:0', secure, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const worker = await TestWorker.start({
    upstreams: { [`${HOST}:443`]: port },
    upstreamCa: ca.cert,
    rules: [{ host: HOST }],
    secrets: { 'credential-1': { token: SECRET } },
  });
  process.env.grpc_proxy = `http://bot:${worker.token}@127.0.0.1:${worker.port}`;
  const Client = grpc.makeGenericClientConstructor(ECHO, 'Echo');
  const client = new Client(`${HOST}:443`, grpc.credentials.createSsl(pem(worker.ca.cert)));
  t.teardown(async () => {
    delete process.env.grpc_proxy;
    client.close();
    server.forceShutdown();
    await worker.stop();
  });

  const metadata = new grpc.Metadata();
  metadata.set('x-mine', 'mine');
  metadata.set('authorization', 'Bearer of the agent');
  const trailer = await new Promise((resolve, reject) => {
    const call = client.makeUnaryRequest(
      ECHO.unary.path,
      asIs.serialize,
      asIs.deserialize,
      Buffer.from('hello'),
      metadata,
      (error, bytes) => {
        if (error) return reject(error);
        t.equal(String(bytes), 'hello mine', 'unary');
      },
    );
    call.on('status', (status) => resolve(status.metadata.get('x-trailer')));
  });
  t.same(trailer, ['yes'], 'its trailers');

  const failure = await new Promise<grpc.ServiceError | null>((resolve) => {
    client.makeUnaryRequest(
      ECHO.fails.path,
      asIs.serialize,
      asIs.deserialize,
      Buffer.alloc(0),
      metadata,
      resolve,
    );
  });
  t.equal(failure?.code, grpc.status.NOT_FOUND, 'a status, without a message (Trailers-Only)');
  t.equal(
    failure?.details,
    `no such thing as ${'*'.repeat(SECRET.length)}`,
    'the credential in it is overwritten',
  );

  const down: string[] = [];
  const stream = client.makeServerStreamRequest(
    ECHO.down.path,
    asIs.serialize,
    asIs.deserialize,
    Buffer.alloc(0),
    metadata,
  );
  for await (const bytes of stream) down.push(String(bytes));
  t.same(
    down,
    Array.from({ length: 100 }, (_, i) => `${i}`),
    'a stream of the server',
  );

  const sum = await new Promise((resolve, reject) => {
    const call = client.makeClientStreamRequest(
      ECHO.up.path,
      asIs.serialize,
      asIs.deserialize,
      metadata,
      (error, bytes) => (error ? reject(error) : resolve(String(bytes))),
    );
    for (let i = 0; i < 50; i++) call.write(Buffer.alloc(20_000));
    call.end();
  });
  t.equal(sum, '1000000', 'a stream of the agent');

  const both = client.makeBidiStreamRequest(ECHO.both.path, asIs.serialize, asIs.deserialize, metadata);
  const echoes = both[Symbol.asyncIterator]();
  for (const word of ['one', 'two', 'three']) {
    both.write(Buffer.from(word));
    t.equal(String((await echoes.next()).value), word, 'question and answer by turns');
  }
  both.end();
  t.equal((await echoes.next()).done, true);

  const waits = client.makeServerStreamRequest(
    ECHO.waits.path,
    asIs.serialize,
    asIs.deserialize,
    Buffer.alloc(0),
    metadata,
  );
  waits.on('error', () => {});
  await new Promise((resolve) => waits.once('data', resolve));
  t.equal(waiting, 1);
  waits.cancel();
  for (let i = 0; i < 50 && waiting > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal(waiting, 0, 'a cancelled call is cancelled at the server');

  t.same(
    credentials,
    Array.from({ length: 6 }, () => [`Bearer ${SECRET}`]),
    'each with the credential, once',
  );
  await worker.change(() => ({ rules: [] }));
  const denied = await new Promise<grpc.ServiceError | null>((resolve) => {
    client.makeUnaryRequest(
      ECHO.unary.path,
      asIs.serialize,
      asIs.deserialize,
      Buffer.alloc(0),
      metadata,
      resolve,
    );
  });
  t.equal(denied?.code, grpc.status.PERMISSION_DENIED, 'a refusal is one to gRPC too');
});
