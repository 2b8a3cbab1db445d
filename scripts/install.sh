#!/usr/bin/env bash
# Makes the project's own environment and installs Encore into it, unless that is done already.
#   bash scripts/install.sh [EXTRAS]     EXTRAS: dev,synthetic,export,cluster (default) or synthetic
# Environment: ASR_VENV is the folder (default .venv), PYTHON the interpreter to start from.
set -euo pipefail
cd "$(dirname "$0")/.."

extras="${1:-dev,synthetic,export,cluster}"
venv="${ASR_VENV:-.venv}"
stamp="$venv/.installed-${extras//,/-}"
wanted="$(cat pyproject.toml constraints.txt | cksum) $PWD"

if [[ -x "$venv/bin/asr" && "$(cat "$stamp" 2>/dev/null)" == "$wanted" ]] \
  && "$venv/bin/python" -c '' 2>/dev/null; then
  exit 0
fi

find_python() {
  for candidate in "${PYTHON:-}" python3.11 python3 python; do
    if [[ -n "$candidate" ]] && "$candidate" -c \
      'import sys; raise SystemExit(sys.version_info[:2] < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "scripts/install.sh: Python 3.11 or newer is needed (set PYTHON to its path)" >&2
  return 1
}

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
  python="$(find_python)"
  echo "Making $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
fi
echo "Installing Encore with [$extras] into $venv (a few minutes the first time: torch is large)"
"$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check \
  --constraint constraints.txt --editable ".[$extras]"
echo "$wanted" > "$stamp"
