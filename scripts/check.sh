#!/usr/bin/env bash
# All checks and tests, in the environment that is active; stops at the first that fails. They read
# tracked files only: audio, recipes and runs that lie in the clone are their owner's affair.
# Options go to pytest: bash scripts/check.sh -k reuse
# Test files are spread over the cores, four at the most.
set -euo pipefail
cd "$(dirname "$0")/.."

section() { printf '\n== %s\n' "$1"; }

# Tracked files that match the patterns and are still there, each ended by a zero byte.
tracked() {
  git ls-files -z -- "$@" | while IFS= read -r -d '' file; do
    if [[ -f "$file" ]]; then printf '%s\0' "$file"; fi
  done
}

section "ruff format"
tracked '*.py' '*.pyi' | xargs -0 ruff format --check --force-exclude
section "ruff check"
tracked '*.py' '*.pyi' | xargs -0 ruff check --force-exclude
section "codespell"
tracked | xargs -0 codespell
section "yamllint"
tracked '*.yaml' '*.yml' | xargs -0 yamllint --strict
section "mypy --strict"
mypy
section "lint-imports"
lint-imports --no-logo
section "pytest"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # a process of tests has a core
python -m pytest --numprocesses "$(getconf _NPROCESSORS_ONLN)" --maxprocesses 4 --dist loadfile \
  --no-loadscope-reorder "$@"
