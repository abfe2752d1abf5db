#!/usr/bin/env python3
"""Soak: random load, budget and ratio changes, cancels, disconnects and slow readers against a real rationd.

    soak.py --rationd=FILE --rationctl=FILE --ration_bench=FILE --model=DIR [--seconds=N] [--seed=N]

While it runs, every state sample must show used <= budget and no preemption. At the end, when everything has ended, no page, no
reservation, no request and no file descriptor may be left, and resident memory must be what it was after the first quarter, give or
take a few MiB. Prints a line every few seconds and the verdict last; exit status 0 only if nothing was wrong.
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("rationd", "rationctl", "ration_bench", "model"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Soak:
    def __init__(self, options, work):
        self.options = options
        self.random = random.Random(options.seed)
        self.problems = []
        ports = os.path.join(work, "ports")
        self.log = open(os.path.join(work, "rationd.log"), "wb")
        self.server = subprocess.Popen(
            [options.rationd, f"--model={options.model}", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
             "--control_listen=127.0.0.1:0", f"--port_file={ports}", "--kv_budget=8MiB", "--slow_reader_timeout=2s",
             "--max_queued_requests=512", "--threads=2"], stdout=self.log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while not (os.path.exists(ports) and os.path.getsize(ports) > 0):
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("soak: rationd did not start:\n" + open(self.log.name).read())
            time.sleep(0.05)
        self.grpc, _, self.control, _ = (f"127.0.0.1:{port}" for port in open(ports).read().split())
        self.counts = {"samples": 0, "budget": 0, "refused": 0, "ratio": 0, "policy": 0}
        self.most_used = 0
        self.regrouped = 0

    def wrong(self, text):
        self.problems.append(text)
        print("WRONG:", text, flush=True)

    def ctl(self, *arguments):
        """Runs rationctl; (exit status, output)."""
        run = subprocess.run([self.options.rationctl, *arguments, f"--control={self.control}", "--json"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        return run.returncode, run.stdout + run.stderr

    def state(self):
        status, output = self.ctl("state")
        if status != 0:
            raise SystemExit(f"soak: rationctl state failed ({status}): {output}; the server's log:\n"
                             + open(self.log.name).read()[-4000:])
        self.counts["samples"] += 1
        state = json.loads(output)
        used, budget = int(state.get("used_bytes", 0)), int(state["budget_bytes"])
        if used > budget:
            self.wrong(f"{used} bytes in use, the budget is {budget}")
        if int(state.get("preemptions", 0)) != 0:
            self.wrong(f"{state['preemptions']} preemptions without overcommit")
        self.most_used = max(self.most_used, used)
        self.regrouped = int(state.get("regrouped_tokens", 0))
        return state

    def resident(self):
        with open(f"/proc/{self.server.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.server.pid}/fd"))

    def load(self, seconds, seed):
        """A load generator with unruly clients, in the background."""
        mode = self.random.choice([["--mode=closed", f"--concurrency={self.random.randint(4, 80)}"],
                                   ["--mode=gamma", f"--rate={self.random.randint(5, 60)}", "--burstiness=0.3"]])
        return subprocess.Popen(
            [self.options.ration_bench, f"--server={self.grpc}", *mode, f"--duration={seconds:.1f}s", "--max_requests=100000",
             "--prompt_tokens=1-300", "--output_tokens=1-180", "--cancel_share=0.2", "--slow_share=0.03", "--slow_pause=3s",
             "--time_limit=20s", f"--priority={self.random.randint(-2, 2)}", f"--seed={seed}", "--json"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def change(self):
        what = self.random.random()
        if what < 0.6:
            budget = self.random.choice([1, 2, 3, 4, 6, 8, 12]) * MIB
            arguments = ["budget", str(budget)] + (["--shed"] if self.random.random() < 0.2 else [])
            status, output = self.ctl(*arguments)
            self.counts["budget" if status == 0 else "refused"] += 1
            if status not in (0, 1):
                self.wrong(f"rationctl {' '.join(arguments)}: exit status {status}: {output}")
        elif what < 0.85:
            status, output = self.ctl("ratio", self.random.choice(["1:0:0", "3:1:6", "0:1:0", "0:0:1", "auto", "auto"]))
            self.counts["ratio"] += 1
            if status != 0:
                self.wrong(f"rationctl ratio: {output}")
        else:
            status, output = self.ctl("policy", f"--floor={self.random.choice([0.25, 0.3, 0.5])}")
            self.counts["policy"] += 1
            if status != 0:
                self.wrong(f"rationctl policy: {output}")

    def run(self):
        seconds = self.options.seconds
        begin = time.monotonic()
        loads, seed, shown, warm = [], 0, begin, None
        while (elapsed := time.monotonic() - begin) < seconds:
            loads = [load for load in loads if load.poll() is None]
            while len(loads) < 2:
                seed += 1
                loads.append(self.load(min(self.random.uniform(3, 20), max(1, seconds - elapsed)), seed))
            if self.random.random() < 0.03 and loads:  # a client that vanishes with its connections
                self.random.choice(loads).kill()
            self.change()
            state = self.state()
            if warm is None and elapsed > seconds / 4:
                warm = self.resident()
            if time.monotonic() - shown > 5:
                shown = time.monotonic()
                print(f"{elapsed:5.0f} s  budget {int(state['budget_bytes']) / MIB:5.1f} MiB  pressure {state.get('pressure', 0):.2f}  "
                      f"fraction {state.get('realised_kv_fraction', 0):.2f}  running {state.get('requests_running', 0)}  waiting "
                      f"{state.get('requests_waiting', 0)}  resident {self.resident() / MIB:.0f} MiB  descriptors "
                      f"{self.descriptors()}", flush=True)
            time.sleep(self.random.uniform(0, 0.3))
        for load in loads:
            load.send_signal(signal.SIGINT)
        for load in loads:
            load.wait()
        self.finish(warm)

    def finish(self, warm):
        deadline = time.monotonic() + 60
        while True:  # slow readers have to run into their timeouts
            state = self.state()
            left = {name: int(state.get(name, 0)) for name in ("used_bytes", "reserved_bytes", "requests_running",
                                                                "requests_waiting", "waiting_tokens")}
            if not any(left.values()) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        for name, value in left.items():
            if value != 0:
                self.wrong(f"{name} is {value} at the end")
        while self.descriptors() > 40 and time.monotonic() < deadline:
            time.sleep(0.1)
        if self.descriptors() > 40:
            self.wrong(f"{self.descriptors()} file descriptors are open at the end")
        resident = self.resident()
        if warm is not None and resident > warm + 24 * MIB:
            self.wrong(f"resident memory grew from {warm / MIB:.1f} to {resident / MIB:.1f} MiB")
        finished, failed = int(state.get("requests_finished", 0)), int(state.get("requests_failed", 0))
        rejected = int(state.get("requests_rejected", 0))
        if finished == 0 or failed == 0 or self.counts["budget"] == 0 or self.regrouped == 0:
            self.wrong(f"the soak did not soak: {finished} finished, {failed} ended early, {self.regrouped} tokens regrouped, "
                       f"{self.counts}")
        self.server.send_signal(signal.SIGTERM)
        status = self.server.wait(timeout=60)
        if status != 0:
            self.wrong(f"rationd ended with status {status}: " + open(self.log.name).read()[-2000:])
        print(f"{finished} requests finished, {failed} ended early, {rejected} refused; {self.counts['budget']} budgets set, "
              f"{self.counts['refused']} refused, {self.counts['ratio']} ratios, {self.counts['policy']} policies; "
              f"{self.regrouped} tokens regrouped; most in use {self.most_used / MIB:.2f} MiB; resident {warm / MIB if warm else 0:.1f} MiB "
              f"after a quarter, {resident / MIB:.1f} MiB at the end; {self.counts['samples']} samples")


def main():
    options = parse()
    with tempfile.TemporaryDirectory(prefix="ration-soak.") as work:
        soak = Soak(options, work)
        try:
            soak.run()
        finally:
            if soak.server.poll() is None:
                soak.server.kill()
    if soak.problems:
        print(f"FAILED: {len(soak.problems)} problems")
        return 1
    print("PASSED")
    return 0


if __name__ == "__main__":
    sys.exit(main())
