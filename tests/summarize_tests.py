#!/usr/bin/env python3
"""Counts test cases of one `bazel test` run, shows the failed and skipped ones, and prints the line tests/run.sh ends with.

Reads Bazel's build event file (JSON) and the test.xml files it names, so results of earlier runs cannot slip in. A target that
was not built, crashed or timed out counts as one failed case besides those its XML tells of.
"""
import argparse
import collections
import json
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

Case = collections.namedtuple("Case", "name outcome reason")  # outcome: passed, failed or skipped


def read_events(path):
    """The events of the run; none if Bazel wrote no file. A last line that was cut off is dropped."""
    events = []
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                try:
                    events.append(json.loads(line))
                except json.JSONDecodeError:
                    break
    except OSError:
        pass
    return events


def message_of(element):
    text = element.get("message") or element.text or ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # GoogleTest puts "file:line" in front.
    if len(lines) > 1 and lines[0].rpartition(":")[2].isdigit():
        lines = lines[1:] + ["(" + lines[0] + ")"]
    return "; ".join(lines[:4])


def cases_of_xml(label, path):
    """The cases in one test.xml; None if there is no readable one."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    cases = []
    for element in root.iter("testcase"):
        suite = element.get("classname") or ""
        name = element.get("name") or ""
        name = f"{label} {suite}.{name}" if suite and suite != name else f"{label} {name}"
        problem = element.find("failure")
        if problem is None:
            problem = element.find("error")
        skipped = element.find("skipped")
        if problem is not None:
            cases.append(Case(name, "failed", message_of(problem)))
        elif skipped is not None or element.get("result") == "skipped":
            cases.append(Case(name, "skipped", message_of(skipped) if skipped is not None else ""))
        elif element.get("status") == "notrun" or element.get("result") == "suppressed":
            cases.append(Case(name, "skipped", "disabled"))
        else:
            cases.append(Case(name, "passed", ""))
    return cases


def cases_of_result(label, result):
    """The cases of one run (shard, attempt) of a test target."""
    status = result.get("status", "NO_STATUS")
    cases = []
    for output in result.get("testActionOutput", []):
        if output.get("name") == "test.xml":
            path = urllib.parse.unquote(urllib.parse.urlparse(output.get("uri", "")).path)
            cases = cases_of_xml(label, path) or []
    good = status in ("PASSED", "FLAKY")
    if not good and not any(case.outcome == "failed" for case in cases):
        cases.append(Case(label, "failed", f"the test ended with {status}"))
    if good and not cases:
        cases.append(Case(label, "passed", ""))
    return cases


def collect(events):
    """All cases of the run. Of repeated attempts the last one counts."""
    results = {}
    not_built = {}
    for event in events:
        key = event.get("id", {})
        if "testResult" in key and "testResult" in event:
            which = key["testResult"]
            results[(which["label"], which.get("run", 0), which.get("shard", 0))] = event["testResult"]
        elif "targetCompleted" in key:
            label = key["targetCompleted"]["label"]
            if "aborted" in event:
                if event["aborted"].get("reason") != "SKIPPED":
                    not_built[label] = event["aborted"].get("description", "") or "not built"
            elif not event.get("completed", {}).get("success", False):
                detail = event.get("completed", {}).get("failureDetail", {})
                not_built[label] = detail.get("message", "") or "not built"
        elif "aborted" in event and ("pattern" in key or "unconfiguredLabel" in key or "configuredLabel" in key):
            label = next(iter(key.values()))
            label = label.get("label") or " ".join(label.get("pattern", []))
            not_built[label] = event["aborted"].get("description", "") or "not analysed"
    cases = []
    labels_with_results = set()
    for (label, _, _), result in results.items():
        labels_with_results.add(label)
        cases += cases_of_result(label, result)
    for label, reason in not_built.items():
        if label not in labels_with_results:
            reason = " ".join(reason.split()).partition(": error executing command")[0]
            cases.append(Case(label, "failed", "did not build: " + reason))
    return cases


def layer_cases(path):
    cases = []
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("ok "):
            cases.append(Case("layers: " + line[3:].strip(), "passed", ""))
        elif line.startswith("FAILED "):
            cases.append(Case("layers: " + line[7:].strip(), "failed", ""))
        elif cases and cases[-1].outcome == "failed" and line.strip():
            cases[-1] = cases[-1]._replace(reason=(cases[-1].reason + " " + line.strip()).strip())
    return cases or [Case("layers", "failed", "tests/check_layers.sh proved nothing: " + "; ".join(lines[:3]))]


def show(title, cases):
    if not cases:
        return
    print(f"\n{title}")
    by_reason = collections.OrderedDict()
    for case in cases:
        by_reason.setdefault(case.reason, []).append(case.name)
    for reason, names in by_reason.items():
        for name in names:
            print(f"  {name}")
        if reason:
            print(f"      {reason}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", required=True, help="file of --build_event_json_file")
    parser.add_argument("--bazel_exit_status", type=int, required=True)
    parser.add_argument("--layers", help="output of tests/check_layers.sh")
    args = parser.parse_args()

    cases = sorted(collect(read_events(args.events)))
    if args.layers:
        cases += layer_cases(args.layers)
    passed = [case for case in cases if case.outcome == "passed"]
    failed = [case for case in cases if case.outcome == "failed"]
    skipped = [case for case in cases if case.outcome == "skipped"]
    if args.bazel_exit_status != 0 and not any(not case.name.startswith("layers") for case in failed):
        failed.append(Case("bazel test //...", "failed", f"Bazel ended with status {args.bazel_exit_status}"))
    show("SKIPPED", skipped)
    show("FAILED", failed)
    print()
    print(f"{len(passed)} passed, {len(failed)} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    return 0 if not failed and passed else 1


if __name__ == "__main__":
    sys.exit(main())
