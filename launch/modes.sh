#!/usr/bin/env bash
# The generated task: a student on raw pairs, on distilled ones, and after EM rounds, for several seeds.
# Usage: ./launch/modes.sh [SEED ...]   (default: 1 2 3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
make_environment .venv .
(($#)) || set -- 1 2 3
for seed in "$@"; do
  work=runs/modes-$seed
  emnat em --config=configs/modes.py --config.seed="$seed" --workdir="$work"
  emnat train --role=nar --workdir="$work" --start="$work/rounds/0/ar" --output="$work/models/raw"
  emnat evaluate --model="$work/models/raw" --workdir="$work"
done
