#!/usr/bin/env bash
# Installs emnat_jax and what checks it into .venv, and checks it: linter, formatter, type checker, API reference
# (build/api), tests, the public names from an installed wheel.
# Usage: ./launch/test.sh [arguments of pytest]; with arguments only the tests run, e.g. ./launch/test.sh -m slow,
# or ./launch/test.sh --cov, which takes half as long again and fails below 90 % coverage
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
make_environment .venv '.[test,dev,tpu,gcs,export]'
if (($#)); then
  exec python -m pytest "$@"
fi
ruff check .
ruff format --check .
mypy
python -W error::UserWarning -m pdoc --docformat markdown --output-directory build/api \
  emnat_jax emnat_jax.families.base emnat_jax.families.parallel
python -m pytest
python -m pytest -n 0 -m slow tests/api/test_public.py # the public names, from an installed wheel
