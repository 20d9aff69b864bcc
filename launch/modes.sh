#!/usr/bin/env bash
# The generated task: a student on raw pairs, on distilled ones (also for longer), and after EM rounds.
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
  # The control: as many updates in all as the student of the last round has had, without EM.
  emnat train --role=nar --workdir="$work" --data="$work/rounds/0/distilled" --start="$work/rounds/0/nar" \
    --output="$work/models/longer" --config.student_train.optim.{peak_lr=0.0015,warmup_steps=75}
  emnat evaluate --model="$work/models/longer" --workdir="$work"
done
