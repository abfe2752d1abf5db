"""docs/operations.md: its table of sizes follows from the models' shapes, its links lead somewhere, and every row of the dashboard has its
picture."""
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, "deploy/grafana")
import panels  # noqa: E402
from documentation import anchors  # noqa: E402

PAGE = pathlib.Path("docs/operations.md")
CHECKOUT = pathlib.Path(os.path.realpath(PAGE)).parents[1]
BUDGET, TOKENS, HEADROOM, VALUE_BYTES = 8 * 2**30, 2048, 0.02, 2


class OperationsPage(unittest.TestCase):
    def test_sizes_follow_from_the_shapes(self):
        rows = re.findall(r"^\| (\S+) \| (\d+), (\d+), (\d+) \| [\d.]+ GiB \| (\d+) KiB \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text(),
                          re.MULTILINE)
        self.assertGreaterEqual(len(rows), 3)
        for name, *numbers in rows:
            layers, heads, size, kib, *users = map(int, numbers)
            with self.subTest(model=name):
                token = 2 * layers * heads * size * VALUE_BYTES
                self.assertEqual(kib * 1024, token)
                self.assertEqual(users, [int((1 - HEADROOM) * BUDGET / (TOKENS * token * fraction)) for fraction in (1, 0.5, 0.25)])

    def test_links_lead_somewhere(self):
        for target in re.findall(r"\]\(([^)]+)\)", PAGE.read_text()):
            with self.subTest(target=target):
                file, _, anchor = target.partition("#")
                path = CHECKOUT / "docs" / file if file else CHECKOUT / PAGE
                self.assertTrue(path.exists())
                if anchor:
                    self.assertIn(anchor, anchors(path))

    def test_every_row_of_the_dashboard_has_its_picture(self):
        shown = re.findall(r"images/dashboard-([a-z-]+)\.svg", PAGE.read_text())
        self.assertEqual(shown, [re.sub(r"[^a-z]+", "-", row.title.lower()) for row in panels.ROWS])


if __name__ == "__main__":
    unittest.main()
