"""Builds the overlays of deploy/k8s with kubectl's kustomize and reads what their tests ask for."""
import atexit
import functools
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

OVERLAYS = ("cpu", "gpu", "dev", "gateway")
UNITS = {"": 1, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "ms": 0.001, "s": 1, "h": 3600}


def why_not():
    """Why overlays cannot be built here; "" if they can. Components came with kustomize 4, and Debian 12's kubectl has 2."""
    if not shutil.which("kubectl"):
        return "NOT TESTED: kubectl is not installed"
    version = subprocess.run(["kubectl", "version", "--client"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    found = re.search(r"Kustomize Version: v(\d+)", version)
    if not found or int(found.group(1)) < 4:
        return "NOT TESTED: this kubectl is too old: its kustomize must be version 4 or newer"
    return ""


@functools.lru_cache(maxsize=None)
def copy_of_deploy():
    """A copy of deploy/k8s, for as long as this process lives: kustomize does not follow the links that Bazel makes of files."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    copy = pathlib.Path(folder.name, "k8s")
    shutil.copytree("deploy/k8s", copy, copy_function=shutil.copyfile)
    return copy


def build(folder):
    """The objects of a kustomization."""
    result = subprocess.run(["kubectl", "kustomize", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode != 0 or result.stderr:
        raise AssertionError(f"kubectl kustomize {folder}: {result.stderr}")
    return list(yaml.safe_load_all(result.stdout))


def quantity(text):
    """Kubernetes' quantities, our byte sizes and times, as numbers: "512Mi", "64MiB", "1500m", "45s"."""
    number, unit = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(text)).groups()
    return float(number) * UNITS[unit]


def settings_of(textproto):
    """The fields of a ServerConfig in protobuf's text format, one a line, as texts."""
    settings = {}
    for line in textproto.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, value = re.fullmatch(r'(\w+): ("[^"]*"|[\w.]+)', line.strip()).groups()
        if name in settings:
            raise AssertionError(f"{name} is set twice")
        settings[name] = value.strip('"')
    return settings


class Overlay:
    def __init__(self, name):
        self.name = name
        self.objects = build(copy_of_deploy() / "overlays" / name)
        self.deployment = self.one("Deployment")
        self.template = self.deployment["spec"]["template"]
        self.pod = self.template["spec"]
        self.labels = self.template["metadata"]["labels"]
        (self.container,) = self.pod["containers"]
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def all(self, kind):
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind):
        (item,) = self.all(kind)
        return item

    def volume_at(self, path):
        """The volume mounted at the folder of a file in the container, or above it; None if there is none."""
        mounts = [mount for mount in self.container.get("volumeMounts", []) if (path + "/").startswith(mount["mountPath"] + "/")]
        if not mounts:
            return None
        mount = max(mounts, key=lambda mount: len(mount["mountPath"]))
        (volume,) = [volume for volume in self.pod["volumes"] if volume["name"] == mount["name"]]
        return volume

    def config_file(self):
        """(ConfigMap, key) of the file that --config names."""
        (path,) = [arg.split("=", 1)[1] for arg in self.container["args"] if arg.startswith("--config=")]
        name = self.volume_at(path)["configMap"]["name"]
        (config_map,) = [item for item in self.all("ConfigMap") if item["metadata"]["name"] == name]
        return config_map, path.rsplit("/", 1)[1]

    def settings(self):
        config_map, key = self.config_file()
        return settings_of(config_map["data"][key])


@functools.lru_cache(maxsize=None)
def overlay(name):
    return Overlay(name)


def selects(selector, labels):
    """Whether a selector of labels, or of Services, matches them. An empty one matches everything, which ours never should."""
    wanted = selector.get("matchLabels", selector)
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())
