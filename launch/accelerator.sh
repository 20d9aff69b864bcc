#!/usr/bin/env bash
# One GPU (or TPU) in about ten minutes: teacher and student at the `base` size in bfloat16 on real text, their BLEU,
# training speed and memory, and the latency of teacher and student. Run again, it goes on where it stopped.
#
# Usage: EMNAT_DATA=/path/to/corpora ./launch/accelerator.sh [--workdir=DIR] [--config=FILE] [--stage=em|speed|train] [-- ARGUMENTS]
#
#   --workdir   default: runs/accelerator
#   --config    default: configs/tatoeba_base.py
#   --stage     only this part: em (train, distil, evaluate), speed (latency), train (steps on random tokens)
#   ARGUMENTS   for every `emnat` command, e.g. --config.teacher_train.steps=3000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workdir=runs/accelerator config=configs/tatoeba_base.py stages='em speed train'
while (($#)); do
  case $1 in
    --workdir=*) workdir=${1#*=} ;;
    --config=*) config=${1#*=} ;;
    --stage=em | --stage=speed | --stage=train) stages=${1#*=} ;;
    -h | --help) sed -n '2,/^set -euo/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --) shift; break ;;
    *) echo "launch/accelerator.sh: unknown argument $1; --help lists them." >&2; exit 2 ;;
  esac
  shift
done
arguments=("$@")
emnat=(python3 -m emnat_jax)

em() {
  "${emnat[@]}" em --config="$config" --workdir="$workdir" "${arguments[@]}"
}

# From raw lines to raw lines, batches of 1 and of many; the decoder that the model was trained with, then others.
speed() {
  local name
  for name in "--role=teacher --decoder=greedy" "--role=teacher --decoder=beam" "--role=student" "--role=student --rescore=teacher --length-candidates=3"; do
    # shellcheck disable=SC2086
    "${emnat[@]}" benchmark latency --workdir="$workdir" --batch=1,32,256 --sentences=512 $name --json
  done
}

# Steps on random full rows of 64 tokens; `ctc` and `dag` decode two and four positions for each source token.
train() {
  step teacher ar 1024
  step student vanilla 1024
  step student ctc 512
  step student dag 256
}

step() {
  local role=$1 family=$2 rows=$3
  "${emnat[@]}" benchmark train --config="$config" --workdir="$workdir" --role="$role" --rows="$rows" --length=64 \
    --vocab=32000 --config."$role".family="$family" --json "${arguments[@]}"
}

for stage in $stages; do
  $stage
done
