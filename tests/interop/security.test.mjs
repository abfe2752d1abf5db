// TLS, mutual TLS, tokens and roles, as clients meet them that share no code with us.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeCertificates } from './certificates.mjs';
import { buf, protoFolder } from './environment.mjs';
import { call, checkHealth, collect, fileClient, grpc, retryDelay } from './grpc_clients.mjs';
import { Rationd } from './rationd.mjs';

const kGeneration = 'ration.v1.Generation';
const kControl = 'ration.v1.Control';
const request = { text: 'Once upon a time', stopping: { max_new_tokens: 12, ignore_eos: true } };
const endless = { text: 'Once', stopping: { max_new_tokens: 500, ignore_eos: true } };
const writer = 'writer-token-0123456789abcdef';
const operator = 'operator-token-0123456789abcdef';
const limited = 'limited-token-0123456789abcdef';

const certificates = makeCertificates();
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const accessFile = join(certificates.folder, 'access.textproto');
writeFileSync(accessFile, `
clients { name: "writer" token_sha256: "${sha256(writer)}" roles: ROLE_GENERATE }
clients { name: "operator" token_sha256: "${sha256(operator)}" roles: ROLE_CONTROL }
clients { name: "limited" token_sha256: "${sha256(limited)}" roles: ROLE_GENERATE quota { max_queued_requests: 1 } }
`);

const tls = ['--tls_cert', '--tls_key'].map((flag, i) => `${flag}=${Object.values(certificates.server)[i]}`);
const credentials = (authority, client) => grpc.credentials.createSsl(readFileSync(authority),
  client && readFileSync(client.key), client && readFileSync(client.certificate));
const trusted = credentials(certificates.authority);
const withToken = (token) => {
  const metadata = new grpc.Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  return metadata;
};
const status = (name) => ({ code: grpc.status[name] });

let tlsServer;
let mutualServer;
before(async () => {
  [tlsServer, mutualServer] = await Promise.all([
    Rationd.start(...tls, `--access_file=${accessFile}`, '--max_running_requests=2'),
    Rationd.start(...tls, `--tls_client_ca=${certificates.authority}`),
  ]);
});
after(() => Promise.all([tlsServer, mutualServer].map((server) => server?.stop('SIGKILL'))));

test('TLS and a token: a stream; health needs no token', async () => {
  const client = fileClient(tlsServer.address, kGeneration, trusted);
  const messages = await collect(client.GenerateStream(request, withToken(writer)));
  assert.equal(messages.at(-1).finish.generated_tokens, 12);
  assert.equal(await checkHealth(tlsServer.address, kGeneration, trusted), 'SERVING');
});

test('a cancel over TLS', async () => {
  const stream = fileClient(tlsServer.address, kGeneration, trusted).GenerateStream(endless, withToken(writer));
  stream.once('data', () => stream.cancel());
  await assert.rejects(collect(stream), status('CANCELLED'));
});

test('a client in plain text, and one that trusts another authority, get nothing', async () => {
  for (const wrong of [grpc.credentials.createInsecure(), credentials(certificates.strangeAuthority)]) {
    await assert.rejects(call(fileClient(tlsServer.address, kGeneration, wrong), 'Generate', request, withToken(writer)), status('UNAVAILABLE'));
  }
});

test('no token and a wrong one are UNAUTHENTICATED, and the answer does not repeat it', async () => {
  const client = fileClient(tlsServer.address, kGeneration, trusted);
  for (const token of [undefined, 'wrong-token-0123456789abcdef', `${writer}x`, writer.slice(0, -1)]) {
    for (const method of ['Generate', 'Tokenize', 'Detokenize', 'GetModelInfo', 'Abort']) {
      await assert.rejects(call(client, method, {}, withToken(token)), (error) => {
        assert.equal(error.code, grpc.status.UNAUTHENTICATED, `${method}: ${error.message}`);
        assert.ok(token === undefined || !error.message.includes(token));
        return true;
      });
    }
  }
  assert.ok(!tlsServer.log.includes('wrong-token'));
});

test('roles: a writer may not control, an operator may not generate, an operator may control', async () => {
  const generation = fileClient(tlsServer.address, kGeneration, trusted);
  const control = fileClient(tlsServer.controlAddress, kControl, trusted);
  await assert.rejects(call(control, 'GetState', {}, withToken(writer)), status('PERMISSION_DENIED'));
  await assert.rejects(call(control, 'SetRatio', { ratio: '3:1:6' }, withToken(writer)), status('PERMISSION_DENIED'));
  await assert.rejects(call(control, 'GetState', {}), status('UNAUTHENTICATED'));
  await assert.rejects(call(generation, 'Generate', request, withToken(operator)), status('PERMISSION_DENIED'));
  const changed = await call(control, 'SetRatio', { ratio: '3:1:6' }, withToken(operator));
  assert.ok(Math.abs(changed.kv_fraction - 0.5) < 1e-9);
});

test('a flood over TLS beyond a tenant\'s quota: RESOURCE_EXHAUSTED with RetryInfo', async () => {
  const client = fileClient(tlsServer.address, kGeneration, trusted);
  const ends = await Promise.all(Array.from({ length: 24 },
    () => collect(client.GenerateStream(endless, withToken(limited))).catch((error) => error)));
  const refused = ends.filter((end) => end instanceof Error);
  assert.ok(refused.length > 0 && refused.length < 24, `${refused.length} refused`);
  for (const error of refused) {
    assert.equal(error.code, grpc.status.RESOURCE_EXHAUSTED, error.message);
    assert.ok(retryDelay(error) > 0, error.message);
  }
});

test('mutual TLS: only a certificate of the right authority, and a valid one, may talk', async () => {
  const good = credentials(certificates.authority, certificates.client);
  const response = await call(fileClient(mutualServer.address, kGeneration, good), 'Generate', request);
  assert.equal(response.finish.generated_tokens, 12);
  const state = await call(fileClient(mutualServer.controlAddress, kControl, good), 'GetState', {});
  assert.equal(state.draining, false);
  for (const client of [undefined, certificates.expiredClient, certificates.strangeClient]) {
    const wrong = credentials(certificates.authority, client);
    await assert.rejects(call(fileClient(mutualServer.address, kGeneration, wrong), 'Generate', request), status('UNAVAILABLE'));
    await assert.rejects(call(fileClient(mutualServer.controlAddress, kControl, wrong), 'GetState', {}), status('UNAVAILABLE'));
  }
});

test('rationd does not start with an expired certificate', async () => {
  const expired = certificates.ours.issue('expired-server', [-30, -1]);
  await assert.rejects(Rationd.start(`--tls_cert=${expired.certificate}`, `--tls_key=${expired.key}`), /--tls_cert.*expired/);
});

test('buf curl: TLS with a token, mutual TLS with a certificate, and neither', () => {
  const url = (server) => `https://${server.address}/${kGeneration}/GenerateStream`;
  const common = ['curl', '--protocol=grpc', `--schema=${protoFolder}`, `--cacert=${certificates.authority}`, `--data=${JSON.stringify(request)}`];
  assert.match(buf(...common, '--header', `authorization: Bearer ${writer}`, url(tlsServer)), /FINISH_REASON_LENGTH/);
  assert.throws(() => buf(...common, url(tlsServer)), /unauthenticated/);
  assert.match(buf(...common, `--cert=${certificates.client.certificate}`, `--key=${certificates.client.key}`, url(mutualServer)),
    /FINISH_REASON_LENGTH/);
  assert.throws(() => buf(...common, url(mutualServer)), /certificate|tls|EOF|unavailable/i);
});
