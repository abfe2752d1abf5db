#!/usr/bin/env python3
"""What open streams cost rationd while nothing happens on them, and what a flood of refused requests costs the streams it admitted.

    bazel build //server:rationd //client/bench:ration_bench && tests/bench/streams.py [--streams=2000] [--flood_rate=500] [--runs=3]

Idle: clients open that many streams, read a little and stop reading. 8 of them run and are paused with their pages, the rest wait.
Flood: 16 requests run and 16 wait, as many as the server allows; then other clients send more at the rate given. All on this machine,
the clients' work too.
"""
import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request


def long_context_copy(model, folder, context=8192):
    """The model with room for streams that are longer than what may wait for a reader, so that a client can hold one up."""
    for name in os.listdir(model):
        if name != "config.json":
            os.symlink(os.path.abspath(os.path.join(model, name)), os.path.join(folder, name))
    with open(os.path.join(model, "config.json")) as file:
        config = json.load(file)
    config["max_position_embeddings"] = context
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    return folder


class Rationd:
    def __init__(self, args, model, *flags):
        self.folder = tempfile.TemporaryDirectory()
        ports = os.path.join(self.folder.name, "ports")
        self.process = subprocess.Popen(
            [args.rationd, f"--model={model}", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
             "--control_listen=127.0.0.1:0", f"--port_file={ports}", "--log_level=warning", *flags])
        while not os.path.exists(ports):
            if self.process.poll() is not None:
                sys.exit("rationd ended before it was ready")
            time.sleep(0.01)
        with open(ports) as file:
            self.port, self.metrics_port = [int(line) for line in file][:2]

    def metric(self, name):
        """The sum of its samples."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as page:
            text = page.read().decode()
        return sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.folder.cleanup()


def bench(args, server, *flags, wait=True):
    command = [args.ration_bench, f"--server=127.0.0.1:{server.port}", "--json", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(process.communicate()[0]) if wait else process


def measure_idle(args):
    folder = tempfile.TemporaryDirectory()
    model = long_context_copy(args.model, folder.name)
    server = Rationd(args, model, "--max_running_requests=8", f"--max_queued_requests={args.streams}", "--slow_reader_timeout=1h")
    bench(args, server, "--mode=closed", "--concurrency=64", "--max_requests=500")  # warm: threads and buffers are there
    before = server.resident_bytes()
    clients = bench(args, server, "--mode=closed", f"--concurrency={args.streams}", f"--max_requests={args.streams}", "--prompt_tokens=64",
                    "--output_tokens=6000", "--slow_share=1", "--slow_pause=1h", wait=False)
    generated = -1
    while True:  # until all are there and nothing moves any more
        time.sleep(1)
        open_streams = server.metric("ration_requests_running") + server.metric("ration_requests_waiting")
        now = server.metric("ration_generated_tokens_total")
        if open_streams == args.streams and now == generated:
            break
        generated = now
    cpu, start = server.cpu_seconds(), time.monotonic()
    time.sleep(args.seconds)
    share = (server.cpu_seconds() - cpu) / (time.monotonic() - start)
    kv = server.metric("ration_kv_used_bytes")
    resident = server.resident_bytes()
    print(f"idle: {args.streams} streams ({server.metric('ration_requests_running'):.0f} running and paused, "
          f"{server.metric('ration_requests_waiting'):.0f} waiting): resident {before / 1e6:.1f} -> {resident / 1e6:.1f} MB, of which KV "
          f"pages {kv / 1e6:.1f} MB; {(resident - before - kv) / args.streams / 1024:.1f} KiB a stream; {server.threads()} threads; "
          f"{100 * share:.2f} % of a processor at rest", flush=True)
    clients.kill()
    clients.wait()
    while server.metric("ration_requests_running") + server.metric("ration_requests_waiting") > 0:
        time.sleep(0.1)
    print(f"      clients gone: KV pages {server.metric('ration_kv_used_bytes'):.0f} bytes, resident {server.resident_bytes() / 1e6:.1f} MB",
          flush=True)
    server.stop()
    folder.cleanup()


def measure_flood(args):
    server = Rationd(args, args.model, "--max_running_requests=16", "--max_queued_requests=16")
    load = ["--mode=closed", "--concurrency=32", "--output_tokens=300", f"--duration={args.seconds}s"]
    bench(args, server, *load)
    ratios = []
    for run in range(args.runs):
        alone = bench(args, server, *load)["itl_seconds"]
        flood = bench(args, server, "--mode=poisson", f"--rate={args.flood_rate}", f"--duration={args.seconds + 2}s", "--output_tokens=300",
                      wait=False)
        time.sleep(1)
        beside = bench(args, server, *load)["itl_seconds"]
        sent = json.loads(flood.communicate()[0])
        ratios.append(beside["mean"] / alone["mean"])
        print(f"flood {run + 1}: {sent['requests']['sent']} sent, {sent['requests']['rejected']} refused with RESOURCE_EXHAUSTED, "
              f"{sent['requests']['failed']} failed otherwise; ITL of those admitted, alone -> beside the flood: mean "
              f"{alone['mean'] * 1e3:.2f} -> {beside['mean'] * 1e3:.2f} ms ({ratios[-1]:.2f} x), p50 {alone['p50'] * 1e3:.2f} -> "
              f"{beside['p50'] * 1e3:.2f}, p99 {alone['p99'] * 1e3:.2f} -> {beside['p99'] * 1e3:.2f} ms", flush=True)
    print(f"flood: mean ITL grows {statistics.median(ratios):.2f} x (median of {args.runs} runs)")
    server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rationd", default="bazel-bin/server/rationd")
    parser.add_argument("--ration_bench", default="bazel-bin/client/bench/ration_bench")
    parser.add_argument("--model", default="deploy/models/stories-mixsga")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--flood_rate", type=float, default=500, help="requests a second")
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    measure_idle(args)
    measure_flood(args)


if __name__ == "__main__":
    main()
