"""What deploy/ calls by name exists in the server as it is built: settings, metrics, their labels and the bounds of buckets."""
import contextlib
import hashlib
import pathlib
import re
import subprocess
import tempfile
import time
import unittest
import urllib.request

import yaml

from kubernetes_objects import settings_of
from prometheus_api import vector_selectors

RATIOND = "server/rationd"
MODEL = "deploy/models/stories-mixsga"
CONFIGURATIONS = sorted(pathlib.Path("deploy/k8s").rglob("rationd.textproto"))


@contextlib.contextmanager
def metrics_page():
    """The text of /metrics of a server that has a tenant."""
    with tempfile.TemporaryDirectory() as folder:
        access, ports = pathlib.Path(folder, "access.textproto"), pathlib.Path(folder, "ports")
        token = hashlib.sha256(b"a token of sixteen characters or more").hexdigest()
        access.write_text(f'clients {{ name: "somebody" token_sha256: "{token}" roles: ROLE_GENERATE quota {{ max_kv_bytes: "1MiB" }} }}\n')
        server = subprocess.Popen(
            [RATIOND, f"--model={MODEL}", "--kv_budget=8MiB", "--threads=1", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
             "--control_listen=127.0.0.1:0", f"--port_file={ports}", f"--access_file={access}"], stderr=subprocess.PIPE, text=True)
        try:
            while not (ports.exists() and len(ports.read_text().split()) >= 3):
                if server.poll() is not None:
                    raise AssertionError(f"rationd ended: {server.stderr.read()}")
                time.sleep(0.05)
            with urllib.request.urlopen(f"http://127.0.0.1:{ports.read_text().split()[1]}/metrics") as answer:
                yield answer.read().decode()
        finally:
            server.kill()
            server.wait()
            server.stderr.close()


def samples_of(page):
    """{name: [{label: value}]}"""
    samples = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()
            samples.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels or "")))
    return samples


def expressions():
    """(where, PromQL) of everything in deploy/ that asks for metrics."""
    rules = yaml.safe_load(pathlib.Path("deploy/prometheus/rules/ration.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        yield rule.get("alert", rule.get("record")), rule["expr"]
    text = pathlib.Path("deploy/grafana/dashboards/ration.json").read_text()
    for panel in yaml.safe_load(text)["panels"]:  # JSON is YAML, too
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    adapter = yaml.safe_load(pathlib.Path("deploy/k8s/components/autoscaling/adapter_rules.yaml").read_text())
    for rule in adapter["rules"]:
        yield f"adapter {rule['name']['as']}", rule["seriesQuery"]
        yield f"adapter {rule['name']['as']}", rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace(",<<.LabelMatchers>>", "")\
            .replace("{<<.LabelMatchers>>}", "")
    picker = pathlib.Path("deploy/k8s/overlays/gateway/picker.yaml").read_text()
    for spec in re.findall(r"Spec: (\S+)", picker):
        yield "picker", re.sub(r"=(\w+)", r'="\1"', spec)


class ServerNames(unittest.TestCase):
    def test_metrics_exist_with_the_labels_and_values_asked_for(self):
        with metrics_page() as page:
            samples = samples_of(page)
        recorded = {name for name, _ in expressions() if ":" in name}
        of_the_scrape = {"job", "namespace", "pod", "instance", "tenant"}  # tenant: a variable of the dashboard
        for where, expression in expressions():
            for selector in vector_selectors(expression):
                name, _, matchers = selector.partition("{")
                with self.subTest(where=where, selector=selector):
                    if name in recorded or name == "up":
                        continue
                    self.assertTrue(name in samples, "the server has no such metric")
                    for label, operator, value in re.findall(r'(\w+)(=~|=|!=)"([^"]*)"', matchers):
                        if label in of_the_scrape:
                            continue
                        values = {labels.get(label) for labels in samples[name]}
                        for one in value.split("|") if operator == "=~" else [value]:
                            self.assertIn(one, values)

    def test_settings_of_every_configuration_are_flags(self):
        help_text = subprocess.run([RATIOND, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
        flags = set(re.findall(r"^\s*--(\w+)", help_text, re.MULTILINE))
        for path in CONFIGURATIONS:
            with self.subTest(path=str(path)):
                self.assertEqual(set(settings_of(path.read_text())) - flags, set())

    def test_settings_that_the_page_for_operators_names_are_flags(self):
        help_text = subprocess.run([RATIOND, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
        flags = set(re.findall(r"^\s*--(\w+)", help_text, re.MULTILINE))
        page = pathlib.Path("docs/operations.md").read_text()
        tuning = page[page.index("## Tune"):page.index("## Watch")]
        named = {name for row in re.findall(r"^\| [^|]+ \| ([^|]+) \|$", tuning, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
        self.assertGreater(len(named), 5)
        self.assertEqual(named - flags, set())

    def test_the_server_accepts_every_configuration(self):
        for path in CONFIGURATIONS:
            with self.subTest(path=str(path)):
                result = subprocess.run([RATIOND, f"--config={path}", "--print_config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
                self.assertEqual(result.returncode, 0, result.stderr)
                printed = settings_of(re.sub(r"\s+#.*", "", result.stdout))
                self.assertEqual({key: printed.get(key) for key in settings_of(path.read_text())}, settings_of(path.read_text()))


if __name__ == "__main__":
    unittest.main()
