#!/usr/bin/env bash
# The short soak of the tests; tests/soak/soak.py --seconds=600 is the long one. RATION_SOAK_SECONDS makes it longer, where sanitisers make
# the server slow.
set -euo pipefail
exec python3 tests/soak/soak.py --rationd=server/rationd --rationctl=client/rationctl --ration_bench=client/bench/ration_bench \
  --model=deploy/models/stories-mixsga --seconds="${RATION_SOAK_SECONDS:-12}"
