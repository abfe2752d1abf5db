// Where the tests find what they use: the fetched packages, the server's binary, the default model and the protocol's files. All come
// from interop_test.sh, which Bazel runs.
import { createRequire } from 'node:module';
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const modules = process.env.RATION_NODE_MODULES;
export const require = createRequire(join(modules, 'package.json'));
export const rationd = process.env.RATION_RATIOND;
export const model = process.env.RATION_MODEL;
export const protoFolder = process.env.RATION_PROTO;

export function temporaryFolder(name) {
  return mkdtempSync(join(process.env.TEST_TMPDIR ?? tmpdir(), `${name}-`));
}

// Runs buf, the Protobuf tool; returns what it printed. Throws, with its error output, if it fails.
export function buf(...args) {
  const program = join(modules, 'node_modules/@bufbuild/buf-linux-x64/bin/buf');
  const home = temporaryFolder('buf');
  return execFileSync(program, args, {
    encoding: 'utf8', timeout: 60000, stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, HOME: home },
  });
}
