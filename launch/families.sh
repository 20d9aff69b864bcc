#!/usr/bin/env bash
# The demo: one teacher, and a student of every family with the same number of steps on its translations.
# Usage: ./launch/families.sh [SEED ...]   (of the students; default: 1)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
make_environment .venv .
(($#)) || set -- 1
work=runs/families

student() {
  local name=$1 seed=$2
  shift 2
  local model=$work/models/$name-$seed
  emnat train --role=student --workdir=$work --data=$work/distilled --start=$work/models/teacher --output="$model" \
    --config.seed="$seed" --config.student.family="$1" "${@:2}"
  emnat evaluate --workdir=$work --model="$model"
  emnat evaluate --workdir=$work --model="$model" --rescore=$work/models/teacher --length-candidates=3
  emnat benchmark latency --workdir=$work --model="$model" --sentences=200
}

emnat prepare --workdir=$work
emnat train --role=teacher --workdir=$work
emnat distill --workdir=$work --model=$work/models/teacher --output=$work/distilled
emnat evaluate --workdir=$work --model=$work/models/teacher
emnat benchmark latency --workdir=$work --model=$work/models/teacher --sentences=200
for seed in "$@"; do
  student vanilla "$seed" vanilla
  student cmlm "$seed" cmlm
  student ctc "$seed" ctc
  student dag "$seed" dag
  for base in vanilla ctc dag; do
    student "glat-$base" "$seed" glat --config.student.glat.base=$base
  done
done
