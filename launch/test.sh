#!/usr/bin/env bash
# Installs emnat_jax, what its tests need, libtpu and the client of object stores into .venv and runs the suite.
# Usage: ./launch/test.sh [arguments of pytest], e.g. ./launch/test.sh -m slow
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
make_environment .venv '.[test,tpu,gcs]'
python -m pytest "$@"
