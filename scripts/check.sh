#!/usr/bin/env bash
# All checks and tests, in the environment that is active; stops at the first that fails.
# Options go to pytest: bash scripts/check.sh -k reuse
# Test files are spread over the cores, four at the most.
set -euo pipefail
cd "$(dirname "$0")/.."

section() { printf '\n== %s\n' "$1"; }

section "ruff format"
ruff format --check .
section "ruff check"
ruff check .
section "codespell"
git ls-files -z --cached --others --exclude-standard | xargs -0 codespell
section "yamllint"
yamllint --strict .
section "mypy --strict"
mypy
section "lint-imports"
lint-imports --no-logo
section "pytest"
python -m pytest --numprocesses "$(getconf _NPROCESSORS_ONLN)" --maxprocesses 4 --dist loadfile "$@"
