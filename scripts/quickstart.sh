#!/usr/bin/env bash
# From a bare Python 3.11 to one table: the same recogniser trained with and without attention
# reuse, WER beside encoder latency. Everything lands in .venv, data/synthetic and runs/quickstart.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/install.sh synthetic
export PATH="${ASR_VENV:-$PWD/.venv}/bin:$PATH"

start_s=$SECONDS
asr prepare synthetic
asr compare recipes/quickstart.yaml reuse=none,probs --out runs/quickstart/table "$@"
printf 'From installed to this table: %d s.\n' $((SECONDS - start_s))
