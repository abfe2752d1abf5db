"""The Dockerfiles, as far as they can be checked without Docker: form, what they copy, and that the packages of the final image hold
every library the programs are linked with."""
import fnmatch
import json
import os
import pathlib
import re
import subprocess
import unittest

DOCKERFILES = ("deploy/docker/Dockerfile", "deploy/docker/Dockerfile.cuda")
PROGRAMS = ("server/rationd", "client/rationctl")
CHECKOUT = pathlib.Path(os.path.realpath(DOCKERFILES[0])).parents[2]  # Bazel's files are links to it


def instructions(path):
    """[(word, rest)]; lines that go on are joined."""
    text = re.sub(r"\\\n", " ", "".join(line for line in pathlib.Path(path).open() if not line.startswith("#")))
    return [tuple(line.strip().split(None, 1)) for line in text.splitlines() if line.strip()]


def every_dockerfile(test):
    def run(self):
        for path in DOCKERFILES:
            with self.subTest(file=path):
                test(self, instructions(path))
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def sent_to_docker(source):
    """Whether .dockerignore lets a file or folder of the checkout through: the last rule that matches it, or a folder it is in, decides."""
    sent = True
    for line in pathlib.Path(".dockerignore").read_text().splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        parts = pathlib.PurePosixPath(source).parts
        if any(fnmatch.fnmatch("/".join(parts[:n + 1]), rule.lstrip("!")) for n in range(len(parts))):
            sent = rule.startswith("!")
    return sent


class Dockerfiles(unittest.TestCase):
    @every_dockerfile
    def test_bases_are_pinned_and_stages_named(self, lines):
        arguments = dict(rest.split("=", 1) for word, rest in lines if word == "ARG")
        stages = []
        for _, rest in [line for line in lines if line[0] == "FROM"]:
            base, name = re.fullmatch(r"(\S+) AS (\w+)", rest).groups()
            base = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match.group(1)], base)
            self.assertRegex(base, r"^[\w./-]+:[\w.-]*\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?$")
            stages.append(name)
        self.assertEqual(stages[-2:], ["build", "runtime"])

    @every_dockerfile
    def test_the_final_image_runs_as_nobody_special(self, lines):
        last = [rest for word, rest in lines if word == "USER"][-1]
        self.assertRegex(last, r"^[1-9]\d{3,}:[1-9]\d{3,}$")
        self.assertGreater([word for word, _ in lines].index("USER"), max(i for i, line in enumerate(lines) if line[0] == "RUN"))

    @every_dockerfile
    def test_commands_are_lists_and_there_is_a_health_check(self, lines):
        words = dict(lines)
        for word in ("ENTRYPOINT", "CMD"):
            self.assertIsInstance(json.loads(words[word]), list)
        command = json.loads(words["HEALTHCHECK"].split(" CMD ", 1)[1])
        self.assertEqual(command[0], "rationctl")
        result = subprocess.run(["client/rationctl", *command[1:3], "--server=127.0.0.1:1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 1, "2 would be a wrong command line; 1: nobody is there")
        self.assertIn("--health_listen=127.0.0.1:50053", json.loads(words["CMD"]))

    @every_dockerfile
    def test_is_built_as_the_tests_are(self, lines):
        runs = [rest for word, rest in lines if word == "RUN"]
        self.assertEqual(runs[0], "deploy/install_packages.sh deploy/packages.txt")
        self.assertTrue(runs[1].startswith("bazel build //server:rationd //client:rationctl "))
        for run in runs:
            self.assertNotIn("curl", run)
            if "apt-get install" in run:
                self.assertIn("--no-install-recommends", run)
                self.assertIn("rm -rf /var/lib/apt/lists/*", run)

    @every_dockerfile
    def test_what_is_copied_is_there_and_sent(self, lines):
        stages = [rest.split(" AS ")[1] for word, rest in lines if word == "FROM"]
        self.assertNotIn("ADD", [word for word, _ in lines])
        for rest in [rest for word, rest in lines if word == "COPY"]:
            sources = rest.split()[:-1]
            if sources[0].startswith("--from="):
                self.assertIn(sources[0].split("=")[1], stages)
                continue
            for source in sources:
                self.assertTrue((CHECKOUT / source).exists(), source)
                self.assertTrue(source == "." or sent_to_docker(source), f".dockerignore leaves out {source}")

    def test_everything_bazel_needs_is_sent_and_nothing_private(self):
        for needed in ("WORKSPACE", "BUILD", ".bazelrc", "bazel/system.BUILD", "server/main.cc", "engine", "kernels", "proto", "client"):
            self.assertTrue(sent_to_docker(needed), needed)
        for private in (".git", "user.bazelrc", "bazel-bin", "tests", ".cache"):
            self.assertFalse(sent_to_docker(private), private)

    @every_dockerfile
    def test_no_secrets_are_built_in(self, lines):
        for word, rest in lines:
            if word in ("ARG", "ENV"):
                self.assertNotRegex(rest.upper(), "TOKEN|PASSWORD|SECRET")


class RuntimePackages(unittest.TestCase):
    def test_hold_every_library_of_the_programs(self):
        wanted = [line for line in pathlib.Path("deploy/docker/packages-runtime.txt").read_text().split("\n")
                  if line and not line.startswith("#")]
        covered, unknown = closure(wanted)
        self.assertEqual(unknown, set(), "not installed here, so what they depend on is not known")
        missing = {}
        for program in PROGRAMS:
            for library, package in libraries_of(program).items():
                if package not in covered:
                    missing.setdefault(package, []).append(library)
        self.assertEqual(missing, {}, "packages that packages-runtime.txt does not bring")


def closure(packages):
    """(the packages and all they depend on, those asked for that dpkg does not know). Of alternatives, what is installed counts."""
    fields = "${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\t${db:Status-Abbrev}\n"
    depends, provided = {}, {}
    for line in subprocess.run(["dpkg-query", "-W", "-f", fields], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        name, provides, needs, status = line.split("\t")
        if not status.startswith("ii"):
            continue
        depends[name] = re.findall(r"(?:^|[,|]\s*)([a-z0-9][a-z0-9+.-]+)", needs)
        for virtual in re.findall(r"(?:^|,\s*)([a-z0-9][a-z0-9+.-]+)", provides):
            provided.setdefault(virtual, []).append(name)
    seen, todo = set(), [name for name in packages if name in depends]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for need in depends[name]:
            todo += [need] if need in depends else provided.get(need, [])
    return seen, set(packages) - depends.keys()


def libraries_of(program):
    """{library: the package it belongs to}"""
    listed = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    paths = re.findall(r"=> (/\S+)", listed)
    # With /lib a link to /usr/lib, dpkg knows a file by one of its names only.
    names = {path: {path, os.path.realpath(path), re.sub("^/usr", "", os.path.realpath(path)), re.sub("^/usr", "", path)} for path in paths}
    owners = {}
    found = subprocess.run(["dpkg-query", "-S", *sorted(set().union(*names.values()))], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                           text=True).stdout
    for line in found.splitlines():
        packages, path = line.rsplit(": ", 1)
        owners[path] = packages.split(",")[0].split(":")[0]
    return {path: next((owners[name] for name in sorted(of) if name in owners), f"nobody's: {path}") for path, of in names.items()}


if __name__ == "__main__":
    unittest.main()
