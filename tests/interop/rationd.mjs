// The real server as a child process, on ports of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { model, rationd, temporaryFolder } from './environment.mjs';

export class Rationd {
  // Starts it with these flags beside --model and the ports; resolves when it is ready.
  static start(...flags) { return Rationd.startAt(0, ...flags); }

  // The same on a port that a server just gave up.
  static async startAt(port, ...flags) {
    const server = new Rationd();
    const folder = temporaryFolder('rationd');
    const portFile = join(folder, 'ports');
    const ports = [`--listen=127.0.0.1:${port}`, '--control_listen=127.0.0.1:0', '--metrics_listen=127.0.0.1:0', `--port_file=${portFile}`];
    const watcher = watch(folder);
    server.child = spawn(rationd, [`--model=${model}`, '--threads=2', ...ports, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
    server.log = '';
    server.child.stderr.on('data', (chunk) => { server.log += chunk; });
    const ended = once(server.child, 'exit').then(([status]) => { throw new Error(`rationd ended with ${status}:\n${server.log}`); });
    ended.catch(() => {});
    try {
      while (!existsSync(portFile)) await Promise.race([once(watcher, 'change'), ended]);
    } finally {
      watcher.close();
    }
    [server.port, server.metricsPort, server.controlPort] = readFileSync(portFile, 'utf8').trim().split('\n').map(Number);
    return server;
  }

  get address() { return `localhost:${this.port}`; }
  get controlAddress() { return `localhost:${this.controlPort}`; }

  // Asks it to end and waits for that; returns the exit status, null after SIGKILL.
  async stop(signal = 'SIGTERM') {
    const exit = once(this.child, 'exit');
    this.child.kill(signal);
    const [status] = await exit;
    return status;
  }

  // The sum of a metric's samples.
  async metric(name) {
    const page = await (await fetch(`http://127.0.0.1:${this.metricsPort}/metrics`)).text();
    const samples = page.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    if (samples.length === 0) throw new Error(`no metric ${name}`);
    return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  }
}
