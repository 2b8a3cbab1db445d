#!/usr/bin/env bash
# From a bare clone on Python 3.11 to all checks and tests. Options go to pytest.
# Environment: ASR_VENV is the folder of the environment (default .venv); ASR_SPEECH_DIR, where set,
# is the folder of real speech that some tests need.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh dev,synthetic,export,cluster,hub,serve,scoring,vad,flashlight
venv="$(cd "${ASR_VENV:-.venv}" && pwd)"
PATH="$venv/bin:$PATH" bash scripts/check.sh "$@"
