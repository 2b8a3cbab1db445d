#!/usr/bin/env bash
# From a bare Python 3.11 to one table: the same recogniser trained with and without attention
# reuse, WER beside encoder latency. Everything lands in .venv, data/synthetic and runs/quickstart.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cat << 'END'
The quick start takes 5 to 6 GB of disk in this folder, nearly all of it PyTorch in .venv, and a
download of 1 to 3 GB. On two CPU cores: 2 to 10 minutes to install, by the network, then 4 to 8 to
speak the corpus and train. Ctrl-C stops it; the same command goes on where it was.
END
bash scripts/install.sh synthetic
venv="${ASR_VENV:-.venv}"
PATH="$(cd "$venv/bin" && pwd):$PATH"

start_s=$SECONDS
asr prepare synthetic
asr compare recipes/quickstart.yaml reuse=none,probs --out runs/quickstart/table "$@"
printf 'From installed to this table: %d s.\n' $((SECONDS - start_s))
printf 'The asr command is in %s; to have it in this shell: source %s/bin/activate\n' "$venv" "$venv"
