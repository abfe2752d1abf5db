// Several servers behind one name, as a headless Kubernetes service gives them, and a client that balances over them. The addresses stand in
// for the name's DNS records; the client's service config is the one docs/operations.md recommends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileClient, grpc } from './grpc_clients.mjs';
import { Rationd } from './rationd.mjs';

const kConcurrency = 24;
const kRequests = 180;
const kTokens = 300;
const serviceConfig = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [{
    name: [{ service: 'ration.v1.Generation' }],
    retryPolicy: { maxAttempts: 4, initialBackoff: '0.1s', maxBackoff: '1s', backoffMultiplier: 2, retryableStatusCodes: ['UNAVAILABLE'] },
  }],
};
// What a client may simply ask again.
const retryable = new Set([grpc.status.UNAVAILABLE, grpc.status.RESOURCE_EXHAUSTED]);

// How a stream ended: its status, and how many tokens came.
function runStream(client, i) {
  return new Promise((resolve) => {
    let tokens = 0;
    let finished = false;
    const request = { text: `Story ${i}: once`, stopping: { max_new_tokens: kTokens, ignore_eos: true } };
    const stream = client.GenerateStream(request, new grpc.Metadata(), { deadline: Date.now() + 60000 });
    stream.on('data', (message) => {
      tokens += message.token_ids.length;
      finished ||= message.finish !== null;
    });
    stream.on('error', () => {});
    stream.on('status', ({ code, details }) => resolve({ code, details, tokens, finished }));
  });
}

test('a server killed and started again under load: every request finishes or may be retried, none hangs', { timeout: 120000 }, async (t) => {
  const servers = await Promise.all([1, 2, 3].map(() => Rationd.start('--threads=1')));
  t.after(() => Promise.all(servers.map((server) => server.stop('SIGKILL'))));
  const addresses = servers.map((server) => `127.0.0.1:${server.port}`).join(',');
  const client = fileClient(`ipv4:${addresses}`, 'ration.v1.Generation', grpc.credentials.createInsecure(),
    { 'grpc.service_config': JSON.stringify(serviceConfig) });
  t.after(() => client.close());

  const ends = [];
  let next = 0;
  let restarted = null;
  const afterRestart = async () => (restarted === null ? 0 : (await restarted).metric('ration_requests_total'));
  const worker = async () => {
    // Load goes on until the server that came back has its share of it again.
    while (next < kRequests || await afterRestart() === 0) {
      ends.push(await runStream(client, next++));
      if (ends.length === kRequests / 3) {
        await servers[1].stop('SIGKILL');
        restarted = Rationd.startAt(servers[1].port, '--threads=1').then((server) => { servers[1] = server; return server; });
      }
    }
  };
  await Promise.all(Array.from({ length: kConcurrency }, worker));

  for (const end of ends) {
    if (end.code === grpc.status.OK) {
      assert.equal(end.tokens, kTokens);
      assert.ok(end.finished);
    } else {
      assert.ok(retryable.has(end.code), `${grpc.status[end.code]}: ${end.details}`);
      assert.ok(!end.finished);
    }
  }
  const failed = ends.filter((end) => end.code !== grpc.status.OK);
  assert.ok(failed.length <= kConcurrency, `${failed.length} of ${ends.length} failed: more than were under way`);
  for (const server of servers) assert.ok(await server.metric('ration_requests_total') > 0);
  t.diagnostic(`${ends.length} requests: ${ends.length - failed.length} finished, ${failed.length} ended with `
    + `${[...new Set(failed.map((end) => grpc.status[end.code]))].join(', ') || 'nothing else'}`);
});
