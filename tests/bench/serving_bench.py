#!/usr/bin/env python3
"""What strain costs a running rationd: streams that only wait, a flood of requests that are refused, a greedy tenant.

    bazel build //server:rationd //client/bench:ration_bench && tests/bench/serving_bench.py [--only=idle,flood,tenants] [--runs=3]

idle     a tenant with a quota of one token a second opens 2,000 streams; all of them wait.
flood    16 requests run and 16 wait, as many as the server allows; then other clients send 500 more a second.
tenants  a tenant sends a request of 64 + 64 tokens five times a second; beside it another keeps 100 requests of 256 + 128 tokens going,
         without quotas known to the server, with fair shares, and with a quota of KV bytes too. The budget is 8 MiB.

All on this machine, the clients' work too.
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


class Rationd:
    def __init__(self, args, *flags):
        self.folder = tempfile.TemporaryDirectory()
        ports = os.path.join(self.folder.name, "ports")
        self.process = subprocess.Popen(
            [args.rationd, f"--model={args.model}", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
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


def bench(args, server, *flags, wait=True, token=None):
    command = [args.ration_bench, "--insecure", f"--server=127.0.0.1:{server.port}", "--json", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               env={**os.environ, "RATION_TOKEN": token} if token else None)
    return json.loads(process.communicate()[0]) if wait else process


def measure_idle(args):
    folder = tempfile.TemporaryDirectory()
    access = os.path.join(folder.name, "access")
    with open(access, "w") as file:
        file.write('clients { name: "warm" token: "warm-0123456789abcdef" roles: ROLE_GENERATE }\n'
                   'clients { name: "slow" token: "slow-0123456789abcdef" roles: ROLE_GENERATE quota { max_tokens_per_second: 1 } }\n')
    server = Rationd(args, f"--access_file={access}", f"--max_queued_requests={args.streams}")
    # Threads and buffers are there, and the first of the tenant has put it into debt.
    bench(args, server, "--mode=closed", "--concurrency=64", "--max_requests=500", token="warm-0123456789abcdef")
    bench(args, server, "--max_requests=1", "--output_tokens=400", token="slow-0123456789abcdef")
    before = server.resident_bytes()
    clients = bench(args, server, "--mode=closed", f"--concurrency={args.streams}", f"--max_requests={args.streams}",
                    wait=False, token="slow-0123456789abcdef")
    while server.metric("ration_requests_waiting") != args.streams:
        time.sleep(0.2)
    time.sleep(2)
    cpu, start = server.cpu_seconds(), time.monotonic()
    time.sleep(args.seconds)
    share = (server.cpu_seconds() - cpu) / (time.monotonic() - start)
    waiting, resident = server.metric("ration_requests_waiting"), server.resident_bytes()
    print(f"idle: {waiting:.0f} streams wait: resident {before / 1e6:.1f} -> {resident / 1e6:.1f} MB, "
          f"{(resident - before) / waiting / 1024:.1f} KiB a stream; {server.threads()} threads; "
          f"{100 * share:.2f} % of a processor at rest", flush=True)
    clients.kill()
    clients.wait()
    while server.metric("ration_requests_waiting") > 0:
        time.sleep(0.1)
    print(f"      clients gone: none waits, resident {server.resident_bytes() / 1e6:.1f} MB", flush=True)
    server.stop()


def measure_flood(args):
    server = Rationd(args, "--max_running_requests=16", "--max_queued_requests=16")
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


TENANTS = (
    ("no tenants", None),
    ("fair shares", ""),
    ("fair shares, KV quota", 'quota { max_kv_bytes: "512KiB" }'),
    ("fair shares, KV and rate quota", 'quota { max_kv_bytes: "512KiB" max_tokens_per_second: 1000 }'),
)


def measure_tenants(args):
    light, greedy = "light-0123456789abcdef", "greedy-0123456789abcdef"
    light_load = ["--mode=poisson", "--rate=5", f"--duration={args.seconds}s", "--prompt_tokens=64", "--output_tokens=64", "--seed=1"]
    greedy_load = ["--mode=closed", "--concurrency=100", f"--duration={args.seconds + 3}s", "--prompt_tokens=256", "--output_tokens=128"]
    figures = {name: [] for name, _ in TENANTS}
    for run in range(args.runs):
        for name, quota in TENANTS:
            with tempfile.TemporaryDirectory() as folder:
                flags = ["--kv_budget=8MiB"]
                if quota is not None:
                    access = os.path.join(folder, "access")
                    with open(access, "w") as file:
                        file.write(f'clients {{ name: "light" token: "{light}" roles: ROLE_GENERATE }}\n'
                                   f'clients {{ name: "greedy" token: "{greedy}" roles: ROLE_GENERATE {quota} }}\n')
                    flags.append(f"--access_file={access}")
                server = Rationd(args, *flags)
                tokens = (light, greedy) if quota is not None else (None, None)
                bench(args, server, "--mode=closed", "--concurrency=8", "--max_requests=50", token=tokens[0])
                alone = bench(args, server, *light_load, token=tokens[0])["ttft_seconds"]
                other = bench(args, server, *greedy_load, wait=False, token=tokens[1])
                time.sleep(1)
                beside = bench(args, server, *light_load, token=tokens[0])["ttft_seconds"]
                rate = json.loads(other.communicate()[0])["throughput"]["generated_tokens_per_second"]
                figures[name].append((alone["p50"], beside["p50"], alone["p99"], beside["p99"], rate))
                server.stop()
    for name, rows in figures.items():
        p50, beside50, p99, beside99, rate = (statistics.median(column) for column in zip(*rows))
        print(f"tenants, {name}: TTFT of the light one, alone -> beside the greedy one: p50 {p50 * 1e3:.1f} -> {beside50 * 1e3:.1f} ms "
              f"({beside50 / p50:.2f} x), p99 {p99 * 1e3:.1f} -> {beside99 * 1e3:.1f} ms; the greedy one gets {rate:.0f} tokens/s",
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rationd", default="bazel-bin/server/rationd")
    parser.add_argument("--ration_bench", default="bazel-bin/client/bench/ration_bench")
    parser.add_argument("--model", default="deploy/models/stories-mixsga")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--flood_rate", type=float, default=500, help="requests a second")
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="idle,flood,tenants")
    args = parser.parse_args()
    for name, measure in (("idle", measure_idle), ("flood", measure_flood), ("tenants", measure_tenants)):
        if name in args.only.split(","):
            measure(args)


if __name__ == "__main__":
    main()
