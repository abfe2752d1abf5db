// Clients made by @grpc/grpc-js from what the server's reflection says, as a user without our files would; and the standard health
// client of the gRPC project.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { protoFolder, require } from './environment.mjs';

export const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const health = require('grpc-health-check');
const { GrpcReflection } = require('grpc-js-reflection-client');

const loaderOptions = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true };
const plain = grpc.credentials.createInsecure();

// A stub of `service` ("ration.v1.Generation") out of the server's own description of it.
export async function reflectedClient(address, service, credentials = plain) {
  const reflection = new GrpcReflection(address, credentials);
  const descriptor = await reflection.getDescriptorBySymbol(service);
  const Stub = member(descriptor.getPackageObject(loaderOptions), service);
  return new Stub(address, credentials);
}

// The same from the files that we publish.
export function fileClient(address, service, credentials = plain, options = {}) {
  const file = `${service.split('.').pop().toLowerCase()}.proto`;
  const definition = loader.loadSync(file, { ...loaderOptions, includeDirs: [protoFolder] });
  const Stub = member(grpc.loadPackageDefinition(definition), service);
  return new Stub(address, credentials, options);
}

function member(tree, name) {
  return name.split('.').reduce((at, part) => at[part], tree);
}

export async function listedServices(address) {
  return new GrpcReflection(address, plain).listServices();
}

// A unary call as a promise.
export function call(client, method, request, metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata, { deadline: Date.now() + 60000 }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

// Every message of a server stream; rejects with the status if that is not OK.
export async function collect(stream) {
  const messages = [];
  for await (const message of stream) messages.push(message);
  return messages;
}

// One status of the standard health service: "SERVING", "NOT_SERVING", or the error.
export function checkHealth(address, service, credentials = plain) {
  const definition = loader.loadSync(health.protoPath, loaderOptions);
  const { Health } = grpc.loadPackageDefinition(definition).grpc.health.v1;
  return call(new Health(address, credentials), 'Check', { service }).then((response) => response.status);
}

// What google.rpc.RetryInfo in a status' details says, in milliseconds; undefined if there is none.
export function retryDelay(error) {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  if (bytes === undefined) return undefined;
  const protobuf = require('protobufjs');
  const root = protobuf.parse(readFileSync(join(protoFolder, 'google/rpc/status.proto'), 'utf8'), new protobuf.Root()).root;
  for (const [name, fields] of [
    ['Any', { typeUrl: ['string', 1], value: ['bytes', 2] }],
    ['Duration', { seconds: ['int64', 1], nanos: ['int32', 2] }],
  ]) {
    const type = new protobuf.Type(name);
    for (const [field, [kind, id]] of Object.entries(fields)) type.add(new protobuf.Field(field, id, kind));
    root.define('google.protobuf').add(type);
  }
  const status = root.lookupType('google.rpc.Status').decode(bytes);
  const retry = status.details.find((detail) => detail.typeUrl.endsWith('/google.rpc.RetryInfo'));
  if (retry === undefined) return undefined;
  const { retryDelay: delay } = root.lookupType('google.rpc.RetryInfo').decode(retry.value);
  return Number(delay.seconds) * 1000 + delay.nanos / 1e6;
}
