// Generation, cancelling, refusals, health and the control API as clients see them that share no code with us.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { buf, protoFolder } from './environment.mjs';
import { call, checkHealth, collect, fileClient, grpc, listedServices, reflectedClient, retryDelay } from './grpc_clients.mjs';
import { Rationd } from './rationd.mjs';

const request = { text: 'Once upon a time', stopping: { max_new_tokens: 24, ignore_eos: true }, sampling: { temperature: 0 } };
const endless = { text: 'Once', stopping: { max_new_tokens: 500, ignore_eos: true } };

let server;
before(async () => { server = await Rationd.start('--max_running_requests=2', '--max_queued_requests=2'); });
after(async () => { assert.equal(await server.stop(), 0, server.log); });

test('reflection lists the services', async () => {
  assert.ok((await listedServices(server.address)).includes('ration.v1.Generation'));
  assert.ok((await listedServices(server.controlAddress)).includes('ration.v1.Control'));
});

test('a stream from a client made by reflection: prompt first, text, finish last', async () => {
  const client = await reflectedClient(server.address, 'ration.v1.Generation');
  const messages = await collect(client.GenerateStream(request));
  assert.equal(messages[0].prompt_info.prompt_tokens > 0, true);
  assert.equal(messages.filter((message) => message.finish).length, 1);
  const { finish } = messages.at(-1);
  assert.equal(finish.generated_tokens, 24);
  assert.ok(finish.kv.peak_bytes > 0 && finish.kv.stored_bytes <= finish.kv.full_bytes);
  const text = messages.map((message) => message.text).join('');
  const unary = await call(fileClient(server.address, 'ration.v1.Generation'), 'Generate', request);
  assert.equal(text, unary.text);
  assert.ok(text.length > 20, text);
});

test('a cancelled stream frees its pages', async () => {
  const generation = fileClient(server.address, 'ration.v1.Generation');
  const control = fileClient(server.controlAddress, 'ration.v1.Control');
  const stream = generation.GenerateStream(endless);
  const code = await new Promise((resolve) => {
    stream.on('data', () => stream.cancel());
    stream.on('error', (error) => resolve(error.code));
    stream.on('end', () => resolve('ended'));
  });
  assert.equal(code, grpc.status.CANCELLED);
  const watch = control.WatchState({ interval_ms: 20 });
  for await (const state of watch) {
    if (state.requests_running === 0 && state.used_bytes === 0) break;
  }
  watch.cancel();
});

test('a flood is refused with RESOURCE_EXHAUSTED and RetryInfo', async () => {
  const client = fileClient(server.address, 'ration.v1.Generation');
  const ends = await Promise.all(Array.from({ length: 24 }, () => collect(client.GenerateStream(endless)).catch((error) => error)));
  const refused = ends.filter((end) => end instanceof Error);
  assert.ok(refused.length > 0 && refused.length <= 22, `${refused.length} refused`);
  for (const error of refused) {
    assert.equal(error.code, grpc.status.RESOURCE_EXHAUSTED, error.message);
    assert.ok(retryDelay(error) > 0, error.message);
  }
});

test('a bad request is named', async () => {
  const client = fileClient(server.address, 'ration.v1.Generation');
  await assert.rejects(call(client, 'Generate', { ...request, sampling: { top_p: 1.5 } }), (error) => {
    assert.equal(error.code, grpc.status.INVALID_ARGUMENT);
    assert.match(error.details, /sampling\.top_p.*1\.5/);
    return true;
  });
});

test('health: live and ready; an unknown service is not found', async () => {
  assert.equal(await checkHealth(server.address, ''), 'SERVING');
  assert.equal(await checkHealth(server.address, 'ration.v1.Generation'), 'SERVING');
  await assert.rejects(checkHealth(server.address, 'nobody'), { code: grpc.status.NOT_FOUND });
});

test('the control API: state, ratio, conflict', async () => {
  const client = await reflectedClient(server.controlAddress, 'ration.v1.Control');
  const { epoch } = await call(client, 'GetState', {});
  const changed = await call(client, 'SetRatio', { ratio: '3:1:6' });
  assert.ok(changed.epoch > epoch);
  assert.ok(Math.abs(changed.kv_fraction - 0.5) < 1e-9);
  await assert.rejects(call(client, 'SetRatio', { ratio: '1:0:0', expected_epoch: changed.epoch - 1 }), { code: grpc.status.ABORTED });
});

test('buf lints the protocol', () => {
  assert.equal(buf('lint', protoFolder), '');
});

test('buf curl streams a generation by reflection', () => {
  const output = buf('curl', '--protocol=grpc', '--http2-prior-knowledge', '--reflect', `--data=${JSON.stringify(request)}`,
    `http://${server.address}/ration.v1.Generation/GenerateStream`);
  assert.match(output, /"promptInfo"/);
  assert.match(output, /"reason": "FINISH_REASON_LENGTH"/);
});
