// A unary call with @grpc/grpc-js, which takes the proxy from the environment.
import { readFileSync } from 'node:fs';
import * as grpc from '@grpc/grpc-js';

const [target] = process.argv.slice(2);
const roots = grpc.credentials.createSsl(readFileSync(process.env.GRPC_DEFAULT_SSL_ROOTS_FILE_PATH));
const client = new grpc.Client(target, roots);
const asIs = (bytes) => bytes;
client.makeUnaryRequest('/test.Echo/Unary', asIs, asIs, Buffer.from('hello'), (error, answer) => {
  console.log(error ? String(error) : String(answer));
  client.close();
});
