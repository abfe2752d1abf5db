"""What kustomize builds of deploy/k8s is consistent: references lead somewhere, ports are those of the configuration, the pod lives long
enough to drain, the memory limit holds the budget, and nothing has more rights than it needs."""
import functools
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

from kubernetes_objects import OVERLAYS, build, copy_of_deploy, overlay, quantity, selects, settings_of, why_not

IMAGE_MODELS = "/opt/ration/models/"  # where deploy/docker/Dockerfile puts the default model


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def every_overlay(test):
    """Runs a test once for each overlay."""
    @functools.wraps(test)
    def run(self):
        for name in OVERLAYS:
            with self.subTest(overlay=name):
                test(self, overlay(name))
    return run


@unittest.skipIf(why_not(), why_not())
class OverlayTest(unittest.TestCase):
    pass


class References(OverlayTest):
    @every_overlay
    def test_selectors_match_the_pods(self, it):
        selectors = [("Deployment", it.deployment["spec"]["selector"])]
        selectors += [(item["metadata"]["name"], item["spec"]["selector"])
                      for kind in ("Service", "PodDisruptionBudget", "PodMonitor", "InferencePool") for item in it.all(kind)]
        selectors += [("NetworkPolicy", item["spec"]["podSelector"]) for item in it.all("NetworkPolicy")]
        selectors += [("topologySpread", item["labelSelector"]) for item in it.pod["topologySpreadConstraints"]]
        selectors += [("antiAffinity", item["podAffinityTerm"]["labelSelector"]) for item in
                      it.pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]]
        for what, selector in selectors:
            self.assertTrue(selects(selector, it.labels), f"{what}: {selector} does not match {it.labels}")

    @every_overlay
    def test_ports_that_are_named_exist(self, it):
        for service in it.all("Service"):
            for port in service["spec"]["ports"]:
                self.assertIn(port["targetPort"], it.ports)
                self.assertEqual(port["port"], it.ports[port["targetPort"]])
        for policy in it.all("NetworkPolicy"):
            for rule in policy["spec"]["ingress"]:
                for port in rule["ports"]:
                    self.assertIn(port["port"], it.ports)
        for monitor in it.all("PodMonitor"):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                self.assertIn(endpoint["port"], it.ports)
        for pool in it.all("InferencePool"):
            self.assertEqual([port["number"] for port in pool["spec"]["targetPorts"]], [it.ports["grpc"]])

    @every_overlay
    def test_ports_are_those_the_server_listens_on(self, it):
        settings = it.settings()
        listening = {name: port_of(settings[flag]) for name, flag in
                     (("grpc", "listen"), ("metrics", "metrics_listen"), ("health", "health_listen"))}
        self.assertEqual(it.ports, listening)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(it.container[probe]["grpc"]["port"], listening["health"], probe)
        self.assertEqual(it.container["readinessProbe"]["grpc"]["service"], "ration.v1.Generation")

    @every_overlay
    def test_files_of_the_configuration_are_mounted(self, it):
        config_map, key = it.config_file()
        self.assertIn(key, config_map["data"])
        settings = it.settings()
        keys = {"tls_cert": ("ration-tls", "tls.crt"), "tls_key": ("ration-tls", "tls.key"), "tls_client_ca": ("ration-tls", "ca.crt"),
                "access_file": ("ration-access", "access.textproto")}
        for flag, (secret, file) in keys.items():
            if flag in settings:
                self.assertEqual(it.volume_at(settings[flag])["secret"]["secretName"], secret)
                self.assertEqual(settings[flag].rsplit("/", 1)[1], file)
        used = {settings[flag] for flag in keys if flag in settings}
        for volume in it.pod["volumes"]:
            if "secret" in volume:
                self.assertTrue(any(it.volume_at(path) == volume for path in used), f"nobody uses {volume}")
        if not settings["model"].startswith(IMAGE_MODELS):
            claim = it.volume_at(settings["model"])["persistentVolumeClaim"]["claimName"]
            self.assertIn(claim, [item["metadata"]["name"] for item in it.all("PersistentVolumeClaim")])

    def test_the_loader_of_models_fills_their_volume(self):
        loader = yaml.safe_load(pathlib.Path("deploy/k8s/model_loader.yaml").read_text())
        (volume,) = loader["spec"]["volumes"]
        self.assertIn(volume, [{**item, "persistentVolumeClaim": {"claimName": item["persistentVolumeClaim"]["claimName"]}}
                               for item in overlay("cpu").pod["volumes"] if "persistentVolumeClaim" in item])

    @every_overlay
    def test_secrets_are_explained(self, it):
        page = pathlib.Path("docs/operations.md").read_text()
        for volume in it.pod["volumes"]:
            if "secret" in volume:
                self.assertRegex(page, rf"create secret [^\n]*{volume['secret']['secretName']}")

    @every_overlay
    def test_everything_is_in_one_namespace(self, it):
        namespace = it.one("Namespace")["metadata"]["name"]
        for item in it.objects:
            if item["kind"] != "Namespace":
                self.assertEqual(item["metadata"]["namespace"], namespace, item["kind"])
        self.assertEqual(it.pod["serviceAccountName"], it.one("ServiceAccount")["metadata"]["name"])

    @every_overlay
    def test_the_autoscaler_has_its_metrics_and_its_target(self, it):
        rules = yaml.safe_load(pathlib.Path("deploy/k8s/components/autoscaling/adapter_rules.yaml").read_text())["rules"]
        for scaler in it.all("HorizontalPodAutoscaler"):
            spec = scaler["spec"]
            self.assertEqual((spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]),
                             ("Deployment", it.deployment["metadata"]["name"]))
            self.assertNotIn("replicas", it.deployment["spec"], "applying the overlay would undo the autoscaler")
            self.assertEqual([metric["pods"]["metric"]["name"] for metric in spec["metrics"]], [rule["name"]["as"] for rule in rules])
            self.assertGreaterEqual(spec["minReplicas"], 2)

    def test_the_route_and_the_picker_belong_to_the_pool(self):
        it = overlay("gateway")
        pool = it.one("InferencePool")
        self.assertEqual(set(pool["spec"]), {"selector", "targetPorts", "appProtocol", "endpointPickerRef"})
        (backend,) = it.one("GRPCRoute")["spec"]["rules"][0]["backendRefs"]
        self.assertEqual((backend["group"], backend["kind"], backend["name"]),
                         (pool["apiVersion"].split("/")[0], "InferencePool", pool["metadata"]["name"]))
        (picker,) = [item for item in it.all("ConfigMap") if "picker.yaml" in item["data"]]
        self.assertEqual(picker["metadata"]["name"], pool["spec"]["endpointPickerRef"]["name"])
        config = yaml.safe_load(picker["data"]["picker.yaml"])
        names = {plugin["type"] for plugin in config["plugins"]}
        for reference in re.findall(r"pluginRef: ([\w-]+)", picker["data"]["picker.yaml"]):
            self.assertIn(reference, names)
        (extractor,) = [plugin["parameters"] for plugin in config["plugins"] if plugin["type"] == "core-metrics-extractor"]
        (engine,) = extractor["engineConfigs"]
        self.assertEqual(it.labels[extractor["engineLabelKey"]], engine["name"])


class Lifetime(OverlayTest):
    @every_overlay
    def test_the_pod_outlives_its_drain(self, it):
        settings = it.settings()
        drain = quantity(settings["drain_delay"]) + quantity(settings["grace_period"])
        self.assertGreaterEqual(it.pod["terminationGracePeriodSeconds"], drain + 8, "too short for drain_delay + grace_period + 8 s")
        self.assertNotIn("lifecycle", it.container, "drain_delay does what a preStop hook would; both would add up")

    @every_overlay
    def test_readiness_is_seen_before_requests_are_refused(self, it):
        probe = it.container["readinessProbe"]
        if it.name != "dev":
            self.assertGreater(quantity(it.settings()["drain_delay"]), probe["periodSeconds"] * probe["failureThreshold"])

    @every_overlay
    def test_an_upgrade_keeps_every_server(self, it):
        self.assertEqual(it.deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0)

    def test_a_changed_configuration_rolls_the_pods(self):
        def name_of(folder):
            (config_map,) = [item for item in build(folder) if item["kind"] == "ConfigMap"]
            return config_map["metadata"]["name"]
        with tempfile.TemporaryDirectory() as work:
            shutil.copytree(copy_of_deploy(), f"{work}/k8s")
            config = pathlib.Path(work, "k8s/overlays/dev/rationd.textproto")
            before = name_of(f"{work}/k8s/overlays/dev")
            config.write_text(config.read_text() + 'kv_ceiling: 0.9\n')
            self.assertNotEqual(name_of(f"{work}/k8s/overlays/dev"), before)


class Resources(OverlayTest):
    @every_overlay
    def test_the_memory_limit_holds_weights_budget_and_server(self, it):
        annotations = it.template["metadata"]["annotations"]
        needed = (quantity(annotations["model-weights-memory"]) + quantity(it.settings()["kv_budget"])
                  + quantity(annotations["server-memory"]))
        resources = it.container["resources"]
        self.assertGreaterEqual(quantity(resources["limits"]["memory"]), needed)
        self.assertGreaterEqual(quantity(annotations["server-memory"]), 384 * 2**20, "libraries and buffers alone take 200 MiB")
        self.assertEqual(resources["requests"]["memory"], resources["limits"]["memory"], "a budget that the node cannot back is none")

    @every_overlay
    def test_threads_have_a_processor_each(self, it):
        threads, limit = int(it.settings()["threads"]), quantity(it.container["resources"]["limits"]["cpu"])
        self.assertGreaterEqual(threads, 1, "0 would take every processor of the node")
        self.assertLessEqual(threads, limit)

    @every_overlay
    def test_devices_only_where_asked_for(self, it):
        devices = it.container["resources"]["limits"].get("nvidia.com/gpu")
        self.assertEqual(devices, "1" if it.name == "gpu" else None)


class Rights(OverlayTest):
    @every_overlay
    def test_the_pod_is_restricted(self, it):
        pod, container = it.pod["securityContext"], it.container["securityContext"]
        self.assertTrue(pod["runAsNonRoot"])
        self.assertGreaterEqual(pod["runAsUser"], 1000)
        self.assertEqual(pod["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertFalse(container["allowPrivilegeEscalation"])
        self.assertTrue(container["readOnlyRootFilesystem"])
        self.assertEqual(container["capabilities"], {"drop": ["ALL"]})
        self.assertFalse(it.pod["automountServiceAccountToken"])
        self.assertFalse(it.one("ServiceAccount")["automountServiceAccountToken"])
        self.assertEqual(it.one("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")
        for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
            self.assertNotIn(forbidden, it.pod)
        for mount in it.container["volumeMounts"]:
            self.assertTrue(mount["readOnly"], mount["name"])

    @every_overlay
    def test_only_clients_and_monitoring_get_in_and_nothing_gets_out(self, it):
        opened = {}
        for policy in it.all("NetworkPolicy"):
            self.assertIn("Ingress", policy["spec"]["policyTypes"])
            self.assertFalse(policy["spec"].get("egress"))
            for rule in policy["spec"]["ingress"]:
                self.assertTrue(rule.get("from"), "a rule without peers lets everybody in")
                for peer in rule["from"]:
                    self.assertFalse(selects(peer.get("podSelector", {}), it.labels), "servers need not reach each other")
                    opened.setdefault(rule["ports"][0]["port"], []).append(peer)
        self.assertEqual(set(opened), {"grpc", "metrics"})
        self.assertIn("Egress", it.all("NetworkPolicy")[0]["spec"]["policyTypes"])

    @every_overlay
    def test_the_control_api_is_for_loopback(self, it):
        self.assertRegex(it.settings()["control_listen"], r"^127\.0\.0\.1:")

    @every_overlay
    def test_only_dev_serves_without_tokens_and_only_plain_overlays_without_tls(self, it):
        settings = it.settings()
        self.assertEqual("access_file" not in settings, it.name == "dev")
        self.assertEqual("tls_cert" not in settings, it.name in ("dev", "gateway"))
        self.assertEqual(settings.get("insecure") == "true", it.name in ("dev", "gateway"))

    @every_overlay
    def test_images_are_pinned(self, it):
        self.assertRegex(it.container["image"], r":\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?$")


class BaseConfiguration(unittest.TestCase):
    def test_overlays_differ_from_the_base_only_where_they_must(self):
        base = settings_of(pathlib.Path("deploy/k8s/base/rationd.textproto").read_text())
        for name, may_differ in (("gpu", {"kv_budget", "threads"}), ("gateway", {"insecure", "tls_cert", "tls_key"})):
            other = settings_of(pathlib.Path(f"deploy/k8s/overlays/{name}/rationd.textproto").read_text())
            different = {key for key in base.keys() | other.keys() if base.get(key) != other.get(key)}
            self.assertEqual(different, may_differ, name)


if __name__ == "__main__":
    unittest.main()
