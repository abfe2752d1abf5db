#!/usr/bin/env python3
"""Runs the unittest cases of one file and writes what Bazel and tests/summarize_tests.py read: a JUnit file with each case's outcome.

  run_unittest.py FILE.py
"""
import importlib.util
import os
import pathlib
import sys
import unittest
from xml.sax.saxutils import quoteattr


class Recorder(unittest.TextTestResult):
    """Keeps the passed cases, too."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.passed = []

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed.append(test)


def write_xml(path, suite, result):
    def case(test, inside=""):
        return f"<testcase classname={quoteattr(suite)} name={quoteattr(test.id().split('.', 1)[-1])} status=\"run\">{inside}</testcase>"
    cases = [case(test) for test in result.passed]
    cases += [case(test, f"<skipped message={quoteattr(reason)}/>") for test, reason in result.skipped]
    cases += [case(test, f"<failure message={quoteattr(text)}/>") for test, text in result.failures + result.errors]
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites><testsuite name={quoteattr(suite)} tests="{len(cases)}">'
                    + "".join(cases) + "</testsuite></testsuites>\n")


def main():
    sys.dont_write_bytecode = True
    file = pathlib.Path(sys.argv[1])
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(resultclass=Recorder, verbosity=2).run(suite)
    if os.environ.get("XML_OUTPUT_FILE"):
        write_xml(pathlib.Path(os.environ["XML_OUTPUT_FILE"]), file.stem, result)
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
