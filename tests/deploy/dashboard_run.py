#!/usr/bin/env python3
"""Tries deploy/grafana and deploy/prometheus on a real run: starts rationd and a Prometheus that scrapes it, loads the server with
ration_bench, asks Prometheus every query of the dashboard, of the rules and of the autoscaler, and reports which find nothing. With
--images it draws each panel's data, one picture a row. Exit status 0 if every query found data or its panel says when it is empty.

  bazel build //server:rationd //client:rationctl //client/bench:ration_bench
  tests/deploy/dashboard_run.py --images=docs/images

By hand: it takes a minute or two and both processors. Needs the Debian packages prometheus, python3-yaml, and gnuplot-nox for --images.
"""
import argparse
import contextlib
import hashlib
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy/grafana"), str(ROOT / "tests/deploy")]
import dashboard_plot  # noqa: E402
import panels  # noqa: E402
from prometheus_api import PrometheusApi, vector_selectors  # noqa: E402

SCRAPE = 0.5  # seconds
VARIABLES = {"$instance": ".*", "$tenant": ".*", "$__rate_interval": "4s"}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(ROOT / "bazel-bin"), help="where Bazel put the programs")
    parser.add_argument("--seconds", type=int, default=60, help="length of the load, at least 20")
    parser.add_argument("--images", help="folder for the pictures; without it none are drawn")
    return parser.parse_args()


@contextlib.contextmanager
def process(command, **options):
    child = subprocess.Popen(command, **options)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def wait_for(condition, what):
    for _ in range(600):
        result = condition()
        if result:
            return result
        time.sleep(0.1)
    raise SystemExit(f"dashboard_run: {what} did not happen within a minute")


def as_client(work, name):
    """The flag with which rationctl and ration_bench are a client of the access file."""
    return [f"--token_file={work / name}"]


def rules_in(work):
    """The rules, evaluated as often as is scraped here; the path of the copy."""
    text = (ROOT / "deploy/prometheus/rules/ration.yml").read_text()
    path = work / "rules.yml"
    path.write_text(re.sub(r"interval: \d+s", "interval: 1s", text))
    return path, yaml.safe_load(text)


def write_access_file(work):
    """Two tenants, the second with a quota, and an operator. Their tokens are in files of their names."""
    roles = {"chat": "ROLE_GENERATE", "batch": "ROLE_GENERATE", "operator": "ROLE_CONTROL"}
    text = ""
    for name, role in roles.items():
        token = secrets.token_hex(16)
        (work / name).write_text(token)
        quota = 'quota { max_kv_bytes: "1MiB" max_queued_requests: 32 }' if name == "batch" else ""
        text += f'clients {{ name: "{name}" token_sha256: "{hashlib.sha256(token.encode()).hexdigest()}" roles: {role} {quota} }}\n'
    (work / "access").write_text(text)
    return work / "access"


def run_load(tools, work, addresses, seconds):
    """A steady load; from a fifth to half of it twice as many clients as the queue holds; an operator who changes budget and ratio."""
    bench = [tools["ration_bench"], f"--server={addresses['server']}"]
    steady = [*bench, *as_client(work, "chat"), "--mode=gamma", "--rate=40", "--burstiness=0.3", f"--duration={seconds}s",
              "--prompt_tokens=20-120", "--output_tokens=50-200", "--cancel_share=0.05"]
    burst = [*bench, *as_client(work, "batch"), "--mode=closed", "--concurrency=120", f"--duration={seconds // 3}s",
             "--prompt_tokens=40-150", "--output_tokens=100-200", "--seed=7"]

    def ctl(*words):
        subprocess.run([tools["rationctl"], *words, *as_client(work, "operator")], check=True, stdout=subprocess.DEVNULL)

    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with process(steady, **silent):
        time.sleep(seconds * 0.2)
        with process(burst, **silent) as crowd:
            crowd.wait()
        # More than the model's context: refused, whatever the load.
        subprocess.run([tools["rationctl"], "generate", f"--server={addresses['server']}", *as_client(work, "chat"),
                        "--max_new_tokens=100000", "too long"], **silent)
        time.sleep(seconds * 0.1)
        ctl("budget", f"--control={addresses['control']}", "1MiB")
        time.sleep(seconds * 0.1)
        ctl("ratio", f"--control={addresses['control']}", "3:1:6")
        time.sleep(seconds * 0.1)
        ctl("ratio", f"--control={addresses['control']}", "auto")
        ctl("budget", f"--control={addresses['control']}", "2MiB")
        time.sleep(seconds * 0.1)


def in_prometheus(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def ask_dashboard(api, start, end):
    """{panel: [(query, series)]} and the number of queries that found nothing though their panel does not say so."""
    answers, missing, count = {}, 0, 0
    for row in panels.ROWS:
        for panel in row.panels:
            answers[panel] = []
            for query in panel.queries:
                count += 1
                series = api.range(in_prometheus(query.expr), start, end, SCRAPE)
                answers[panel].append((query, series))
                if not series:
                    excuse = panel.may_be_empty if panel.may_be_empty != panels.WITHOUT_TENANTS else ""
                    missing += not excuse
                    print(f"  {f'empty, {excuse}' if excuse else 'MISSING'}  {row.title} / {panel.title}: {query.legend}")
    print(f"dashboard: {count} queries, {missing} of them without data that they should have")
    return answers, missing


def ask_rules(api, rules, start, end):
    """The number of recording rules without data, and of metrics that alerts look at and Prometheus does not know."""
    missing, recorded, alerts = 0, 0, 0
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if "record" in rule:
            recorded += 1
            names = [rule["record"]]
        else:
            alerts += 1
            names = vector_selectors(rule["expr"])
        for name in dict.fromkeys(names):
            if not api.range(name, start, end, 1):
                missing += 1
                print(f"  MISSING  {rule.get('alert', rule.get('record'))}: {name}")
    firing = sorted({alert["labels"]["alertname"] for alert in api.alerts() if alert["state"] == "firing"})
    print(f"rules: {recorded} recorded, {alerts} alerts, {missing} selectors without data; firing at the end: "
          + (", ".join(firing) or "none"))
    exceeded = api.range('ALERTS{alertname="RationBudgetExceeded"}', start, end, 1)
    if exceeded:
        print("  RationBudgetExceeded FIRED: the budget was exceeded")
    return missing + len(exceeded)


def ask_adapter(api, start, end):
    """The number of prometheus-adapter's queries without data, asked as the adapter would, by instance instead of pod."""
    rules = yaml.safe_load((ROOT / "deploy/k8s/components/autoscaling/adapter_rules.yaml").read_text())["rules"]
    missing = 0
    for rule in rules:
        query = rule["metricsQuery"].replace("<<.GroupBy>>", "instance").replace("<<.LabelMatchers>>", 'job="ration"')
        values = [value for _, points in api.range(query, start, end, SCRAPE) for _, value in points]
        missing += not values
        print(f"  {rule['name']['as']}: {f'{min(values):.2f} to {max(values):.2f}' if values else 'MISSING'}")
    print(f"autoscaling: {len(rules)} metrics, {missing} without data")
    return missing


def main():
    arguments = parse_arguments()
    tools = {"rationd": f"{arguments.bin}/server/rationd", "rationctl": f"{arguments.bin}/client/rationctl",
             "ration_bench": f"{arguments.bin}/client/bench/ration_bench"}
    with tempfile.TemporaryDirectory(prefix="ration-dashboard.") as folder, contextlib.ExitStack() as stack:
        work = pathlib.Path(folder)
        ports = work / "ports"
        access = f"--access_file={write_access_file(work)}"
        stack.enter_context(process(
            [tools["rationd"], f"--model={ROOT}/deploy/models/stories-mixsga", "--kv_budget=2MiB", "--threads=1",
             "--max_queued_requests=48", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0", "--control_listen=127.0.0.1:0",
             f"--port_file={ports}", "--log_level=error", access]))
        wait_for(lambda: ports.exists() and len(ports.read_text().split()) >= 3, "the start of rationd")
        grpc, metrics, control = ports.read_text().split()[:3]
        rules_path, rules = rules_in(work)
        config = work / "prometheus.yml"
        config.write_text(f"global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}\nrule_files: ['{rules_path}']\n"
                          f"scrape_configs:\n- job_name: ration\n  static_configs:\n  - targets: ['127.0.0.1:{metrics}']\n")
        log = (work / "prometheus.log").open("w")
        stack.enter_context(process(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={work}/data", "--web.listen-address=127.0.0.1:0"], stderr=log))
        port = wait_for(lambda: re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', (work / "prometheus.log").read_text()),
                        "the start of Prometheus").group(1)
        api = PrometheusApi(f"http://127.0.0.1:{port}")
        wait_for(lambda: api.instant("up == 1"), "the first scrape")
        time.sleep(4)
        start = time.time()
        run_load(tools, work, {"server": f"127.0.0.1:{grpc}", "control": f"127.0.0.1:{control}"}, max(arguments.seconds, 20))
        end = time.time()
        answers, missing_queries = ask_dashboard(api, start, end)
        missing = missing_queries + ask_rules(api, rules, start, end) + ask_adapter(api, start, end)
        if arguments.images:
            pathlib.Path(arguments.images).mkdir(parents=True, exist_ok=True)
            for row in panels.ROWS:
                print("drew", dashboard_plot.draw_row(row, answers, start, pathlib.Path(arguments.images)))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
