#!/usr/bin/env bash
# Installs emnat_jax into .venv and runs EM on the bundled German-English corpus.
# Usage: ./launch/quickstart.sh [arguments of `emnat em`]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
make_environment .venv .
emnat em --workdir=runs/quickstart "$@"
