"""Every object of every overlay is valid against Kubernetes' schemas and the operators' (check_schemas.mjs)."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import yaml

from kubernetes_objects import OVERLAYS, overlay, why_not

SCHEMAS = os.environ.get("RATION_NODE_MODULES", "")


def reason():
    if why_not():
        return why_not()
    if not shutil.which("node"):
        return "NOT TESTED: node is not installed"
    if not SCHEMAS:
        return "NOT TESTED: there are no schemas (tests/fetch_node_modules.sh; tests/run.sh calls it)"
    return ""


@unittest.skipIf(reason(), reason())
class Schemas(unittest.TestCase):
    def check(self, objects):
        with tempfile.TemporaryDirectory() as work:
            path = pathlib.Path(work, "objects.json")
            path.write_text(json.dumps(objects))
            return subprocess.run(["node", "tests/deploy/check_schemas.mjs", str(path), SCHEMAS], stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.STDOUT)

    def test_every_object_is_valid(self):
        objects = [item for name in OVERLAYS for item in overlay(name).objects]
        objects.append(yaml.safe_load(pathlib.Path("deploy/k8s/model_loader.yaml").read_text()))
        result = self.check(objects)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn(f"{len(objects)} objects, 0 problems", result.stdout)

    def test_wrong_values_and_unknown_fields_are_found(self):
        deployment = json.loads(json.dumps(overlay("dev").deployment))
        deployment["spec"]["replicas"] = "one"
        deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailble"] = 0
        result = self.check([deployment])
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("data/spec/replicas must be integer", result.stdout)
        self.assertIn("maxUnavailble", result.stdout)


if __name__ == "__main__":
    unittest.main()
