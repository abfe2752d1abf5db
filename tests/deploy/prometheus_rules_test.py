"""The rules of deploy/prometheus: promtool accepts them and runs their unit tests, every alert is tested and explained, and the
PrometheusRule of deploy/k8s is the same."""
import pathlib
import shutil
import subprocess
import unittest

import yaml

from documentation import anchors

RULES = pathlib.Path("deploy/prometheus/rules/ration.yml")
TESTS = pathlib.Path("deploy/prometheus/tests/ration_test.yml")
NO_PROMTOOL = "NOT TESTED: the Debian package prometheus is not installed (deploy/packages-test.txt)"


def promtool(*arguments):
    return subprocess.run(["promtool", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def alerts():
    return {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule}


@unittest.skipUnless(shutil.which("promtool"), NO_PROMTOOL)
class Promtool(unittest.TestCase):
    def test_accepts_rules_and_example_configuration(self):
        result = promtool("check", "config", "deploy/prometheus/prometheus.yml")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn(f"{RULES}", result.stdout)

    def test_every_alert_fires_where_it_should(self):
        result = promtool("test", "rules", str(TESTS))
        self.assertEqual(result.returncode, 0, result.stdout)


class Alerts(unittest.TestCase):
    def test_say_what_happens_and_what_to_do(self):
        known = anchors(pathlib.Path("docs/operations.md"))
        for name, rule in alerts().items():
            with self.subTest(alert=name):
                self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
                for annotation in ("summary", "description", "runbook_url"):
                    self.assertTrue(rule["annotations"].get(annotation), annotation)
                page, anchor = rule["annotations"]["runbook_url"].split("#")
                self.assertEqual(page, "docs/operations.md")
                self.assertEqual(anchor, name.lower())
                self.assertIn(anchor, known)

    def test_are_each_seen_firing_in_the_unit_tests(self):
        fired = {test["alertname"] for case in yaml.safe_load(TESTS.read_text())["tests"] for test in case.get("alert_rule_test", [])
                 if test["exp_alerts"]}
        self.assertEqual(fired, set(alerts()))


class PrometheusRule(unittest.TestCase):
    def test_is_made_of_the_rules(self):
        made = subprocess.run(["deploy/prometheus/prometheus_rule.sh"], stdout=subprocess.PIPE, text=True, check=True).stdout
        checked_in = pathlib.Path("deploy/k8s/components/monitoring/prometheus_rule.yaml").read_text()
        self.assertEqual(made, checked_in, "run deploy/prometheus/prometheus_rule.sh as it says")
        self.assertEqual(yaml.safe_load(checked_in)["spec"], yaml.safe_load(RULES.read_text()))


if __name__ == "__main__":
    unittest.main()
