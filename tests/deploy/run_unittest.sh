#!/usr/bin/env bash
# For sh_test: the cases of the Python file that the first argument names.
exec python3 tests/deploy/run_unittest.py "$1"
