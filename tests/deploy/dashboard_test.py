"""The dashboard of deploy/grafana: it is made of panels.py, and a person can read every panel."""
import json
import pathlib
import re
import subprocess
import unittest

from documentation import metrics_of, series_of
from prometheus_api import metric_names

PATH = pathlib.Path("deploy/grafana/dashboards/ration.json")


def dashboard():
    return json.loads(PATH.read_text())


def charts():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


class Dashboard(unittest.TestCase):
    def test_is_made_of_the_panels(self):
        made = subprocess.run(["python3", "deploy/grafana/make_dashboard.py"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertEqual(made, PATH.read_text(), "run deploy/grafana/make_dashboard.py as it says")

    def test_every_panel_has_title_unit_description_and_empty_state(self):
        for panel in charts():
            with self.subTest(panel=panel["title"]):
                self.assertRegex(panel["title"], r"^[A-Z]")
                self.assertRegex(panel["description"], r"\.$")
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertTrue(panel["fieldConfig"]["defaults"]["noValue"])
                for target in panel["targets"]:
                    self.assertTrue(target["legendFormat"])

    def test_titles_and_ids_are_unique(self):
        panels = dashboard()["panels"]
        for field in ("id", "title"):
            values = [panel[field] for panel in panels]
            self.assertEqual(len(values), len(set(values)), field)

    def test_panels_fill_the_width_and_do_not_overlap(self):
        taken = {}
        for panel in dashboard()["panels"]:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertLess(x, 24)
                    self.assertNotIn((x, y), taken, f"{panel['title']} and {taken.get((x, y))}")
                    taken[x, y] = panel["title"]
        lines = {y for _, y in taken}
        self.assertEqual(lines, set(range(len(lines))))

    def test_uses_only_variables_it_defines(self):
        defined = {variable["name"] for variable in dashboard()["templating"]["list"]} | {"__rate_interval"}
        used = {name for name in re.findall(r"\$\{?(\w+)", PATH.read_text()) if name != "__all"}
        self.assertEqual(used - defined, set())
        self.assertEqual(defined - used - {"__rate_interval"}, set())

    def test_asks_only_for_metrics_that_are_documented(self):
        known = series_of(metrics_of(pathlib.Path("docs/metrics.md")))
        for panel in charts():
            for target in panel["targets"]:
                with self.subTest(panel=panel["title"], expr=target["expr"]):
                    self.assertTrue(metric_names(target["expr"]) or "vector" in target["expr"])
                    self.assertEqual(metric_names(target["expr"]) - known, set())

    def test_every_series_can_be_told_from_the_others(self):
        for panel in charts():
            legends = [target["legendFormat"] for target in panel["targets"]]
            self.assertEqual(len(legends), len(set(legends)), panel["title"])
            for target in panel["targets"]:
                by = re.search(r"by \(([^)]*)\) \(", target["expr"])
                for label in (by.group(1).split(", ") if by else []):
                    if label != "le" or panel["type"] == "heatmap":
                        self.assertIn("{{%s}}" % label, target["legendFormat"], panel["title"])


if __name__ == "__main__":
    unittest.main()
