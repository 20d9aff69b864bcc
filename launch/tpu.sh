#!/usr/bin/env bash
# Runs `emnat em` on a Cloud TPU slice, or on several: creates it, installs this checkout on every worker, starts
# the command on all of them, streams their logs, starts again after a preemption, fetches the report.
#
# Usage: launch/tpu.sh ACTION --name=NAME --zone=ZONE --accelerator=TYPE --workdir=gs://BUCKET/PATH [OPTIONS] [-- ARGUMENTS]
#
#   ACTION          run (create, install, start, fetch), create, install, start, fetch or delete
#   --accelerator   v4-N, v5litepod-N, v5p-N or v6e-N, e.g. v5litepod-16
#   --workdir       where the run lives; every worker must be able to write there
#   --project       default: gcloud's
#   --slices        slices of that size, joined by the data-centre network; default: 1
#   --spot          cheaper, and taken away when it is needed elsewhere
#   --retries       starts after the first one; default: 20
#   --poll          seconds between looks at a slice that is being made; default: 30
#   --output        where `fetch` puts the report; default: runs/NAME
#   --dry-run       print every command, run none
#   ARGUMENTS       for `emnat em`, e.g. --config=configs/wmt14_pod.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "launch/tpu.sh: $1" >&2
  exit 2
}

whole_number() {
  [[ $2 =~ ^[0-9]+$ ]] || fail "--$1=$2: use a whole number."
}

action=${1:-}
case $action in
  run | create | install | start | fetch | delete) shift ;;
  -h | --help) sed -n '2,/^set -euo/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  *) fail "give an action: run, create, install, start, fetch or delete; --help explains." ;;
esac

name='' zone='' project='' accelerator='' workdir='' output='' slices=1 retries=20 poll=30 spot=false dry_run=false
arguments=()
while (($#)); do
  case $1 in
    --name=* | --zone=* | --project=* | --accelerator=* | --workdir=* | --output=* | --slices=* | --retries=* | --poll=*)
      option=${1%%=*}
      printf -v "${option#--}" '%s' "${1#*=}"
      ;;
    --spot) spot=true ;;
    --dry-run) dry_run=true ;;
    --) shift; arguments=("$@"); break ;;
    *) fail "unknown argument $1; --help lists them, those of \`emnat em\` come after --." ;;
  esac
  shift
done

[[ $name =~ ^[a-z][a-z0-9-]{0,40}$ ]] || fail "--name='$name': use small letters, digits and dashes, a letter first."
[[ $zone =~ ^[a-z]+-[a-z]+[0-9]+-[a-z]$ ]] || fail "--zone='$zone': give a zone, e.g. us-central2-b."
for option in slices retries poll; do
  whole_number $option "${!option}"
done
((slices > 0)) || fail "--slices=$slices: use 1 or more."
case $accelerator in # the system that Cloud TPU's documentation names for each generation
  v4-[0-9]*) runtime=tpu-ubuntu2204-base ;;
  v5litepod-[0-9]*) runtime=v2-alpha-tpuv5-lite ;;
  v5p-[0-9]*) runtime=v2-alpha-tpuv5 ;;
  v6e-[0-9]*) runtime=v2-alpha-tpuv6e ;;
  *) fail "--accelerator='$accelerator': use v4-N, v5litepod-N, v5p-N or v6e-N." ;;
esac
case $action in
  run | start | fetch)
    [[ $workdir == gs://?*/?* || $dry_run == true && -n $workdir ]] ||
      fail "--workdir='$workdir': give a place that all workers share, gs://BUCKET/PATH." ;;
esac

where=(--zone="$zone")
[[ -z $project ]] || where+=(--project="$project")
nodes=("$name")
node_options=(--node-id="$name")
if ((slices > 1)); then
  nodes=()
  for ((i = 0; i < slices; i++)); do nodes+=("$name-$i"); done
  node_options=(--node-count="$slices" --node-prefix="$name")
fi

# Runs a command, or prints it so that a shell would read it back the same.
call() {
  if $dry_run; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

state() {
  if $dry_run; then
    echo ACTIVE
  else
    gcloud compute tpus queued-resources describe "$name" "${where[@]}" --format='value(state.state)' 2>/dev/null || echo ABSENT
  fi
}

create() {
  local options=(--accelerator-type="$accelerator" --runtime-version="$runtime" "${node_options[@]}")
  if $spot; then options+=(--spot); fi
  call gcloud compute tpus queued-resources create "$name" "${where[@]}" "${options[@]}"
}

delete() {
  call gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet
}

# Returns when the slices are there; what was taken away or has failed is made anew.
make_active() {
  if $dry_run; then
    create
    return
  fi
  local now
  while true; do
    now=$(state)
    echo "$name: $now" >&2
    case $now in
      ACTIVE) return ;;
      ABSENT) create ;;
      SUSPENDED | SUSPENDING | FAILED) delete; create ;;
    esac
    sleep "$poll"
  done
}

on_all_workers() {
  local node=$1
  call gcloud compute tpus tpu-vm ssh "$node" "${where[@]}" --worker=all --command="$2"
}

install() {
  local archive=${TMPDIR:-/tmp}/emnat_jax-$name.tar.gz node
  call git archive --format=tar.gz --prefix=emnat_jax/ --output="$archive" HEAD
  for node in "${nodes[@]}"; do
    call gcloud compute tpus tpu-vm scp "$archive" "$node:emnat_jax.tar.gz" "${where[@]}" --worker=all
    # The images come with Python 3.10; uv brings a newer one.
    on_all_workers "$node" 'rm -rf emnat_jax && tar xzf emnat_jax.tar.gz && python3 -m pip install --user --quiet uv && ~/.local/bin/uv venv --clear --python 3.12 emnat && ~/.local/bin/uv pip install --quiet --python emnat/bin/python "./emnat_jax[tpu,gcs]"'
  done
}

# Starts the command on all workers and shows what they say; the status is that of the worst of them.
start() {
  local notice=http://metadata.google.internal/computeMetadata/v1/instance/preempted log node pids=() command
  printf -v command '%q ' emnat/bin/emnat em --on-all-hosts --workdir="$workdir" "${arguments[@]}"
  # A run that a broken connection has left behind ends first: two must not share a workdir.
  command="cd ~; pkill -f '^[^ ]*emnat/bin/python' && sleep 45 && pkill -KILL -f '^[^ ]*emnat/bin/python'; cp -r emnat_jax/configs .; JAX_PLATFORMS=tpu,cpu EMNAT_PREEMPTION_URL=$notice $command; echo EMNAT_STATUS=\$?"
  if $dry_run; then
    for node in "${nodes[@]}"; do on_all_workers "$node" "$command"; done
    return 0
  fi
  log=$(mktemp)
  for node in "${nodes[@]}"; do
    on_all_workers "$node" "$command" 2>&1 | sed -u "s/^/[$node] /" | tee -a "$log" &
    pids+=($!)
  done
  wait "${pids[@]}" || true
  worst "$log"
}

# 0 when every node has ended well, 1 or 2 when one has made or found a mistake, else 75: start again.
worst() {
  local log=$1 statuses
  statuses=$(sed -n 's/.*EMNAT_STATUS=\([0-9]*\).*/\1/p' "$log" | sort -u)
  rm -f "$log"
  case $'\n'$statuses$'\n' in
    *$'\n'1$'\n'*) return 1 ;;
    *$'\n'2$'\n'*) return 2 ;;
    $'\n'0$'\n') return 0 ;;
    *) return 75 ;;
  esac
}

fetch() {
  call mkdir -p "${output:-runs/$name}"
  call gcloud storage cp --recursive "$workdir/report" "${output:-runs/$name}"
}

run() {
  local attempt status
  for ((attempt = 0; attempt <= retries; attempt++)); do
    make_active
    status=0
    if install; then start || status=$?; else status=75; fi
    case $status in
      0) fetch; return ;;
      1 | 2) echo "$name: the command has ended with status $status; see above. The slice is still there: launch/tpu.sh delete" >&2; return "$status" ;;
    esac
    echo "$name: interrupted; starting again ($((attempt + 1)) of $retries)" >&2
  done
  echo "$name: interrupted more than $retries times; the workdir is kept, run the same command to go on." >&2
  return 75
}

"$action"
