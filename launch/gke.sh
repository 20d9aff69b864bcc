#!/usr/bin/env bash
# Runs `emnat em` on TPU slices of a GKE cluster, as a JobSet: one job a slice, one pod a host. Kubernetes starts
# all of them again after a preemption or a failure, and the run goes on.
#
# Usage: launch/gke.sh --name=NAME --chip=CHIP --topology=SHAPE --image=IMAGE --workdir=gs://BUCKET/PATH [OPTIONS] [-- ARGUMENTS]
#
#   --chip          v4, v5e, v5p or v6e
#   --topology      of a slice, e.g. 4x8 or 2x2x2
#   --image         a container with this package and its extras `tpu` and `gcs`
#   --workdir       where the run lives; every pod must be able to write there
#   --slices        default: 1
#   --retries       restarts; default: 20
#   --account       Kubernetes service account with access to the workdir; default: default
#   --spot          nodes that may be taken away
#   --dry-run       print the manifest and the command, run nothing
#   ARGUMENTS       for `emnat em`, e.g. --config=configs/wmt14_pod.py
set -euo pipefail

fail() {
  echo "launch/gke.sh: $1" >&2
  exit 2
}

name='' chip='' topology='' image='' workdir='' slices=1 retries=20 account=default spot=false dry_run=false
arguments=()
while (($#)); do
  case $1 in
    --name=* | --chip=* | --topology=* | --image=* | --workdir=* | --slices=* | --retries=* | --account=*)
      option=${1%%=*}
      printf -v "${option#--}" '%s' "${1#*=}"
      ;;
    --spot) spot=true ;;
    --dry-run) dry_run=true ;;
    -h | --help) sed -n '2,/^set -euo/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --) shift; arguments=("$@"); break ;;
    *) fail "unknown argument $1; --help lists them, those of \`emnat em\` come after --." ;;
  esac
  shift
done

[[ $name =~ ^[a-z][a-z0-9-]{0,40}$ ]] || fail "--name='$name': use small letters, digits and dashes, a letter first."
[[ $image =~ ^[A-Za-z0-9][A-Za-z0-9._/:@-]*$ ]] || fail "--image='$image': name a container image."
[[ $account =~ ^[a-z0-9][a-z0-9.-]*$ ]] || fail "--account='$account': name a Kubernetes service account."
[[ $workdir == gs://?*/?* ]] || fail "--workdir='$workdir': give a place that all pods share, gs://BUCKET/PATH."
[[ $topology =~ ^[0-9]+x[0-9]+(x[0-9]+)?$ ]] || fail "--topology='$topology': give a shape, e.g. 4x8 or 2x2x2."
for option in slices retries; do
  [[ ${!option} =~ ^[0-9]+$ ]] || fail "--$option=${!option}: use a whole number."
done
((slices > 0)) || fail "--slices=$slices: use 1 or more."
case $chip in # the node labels of GKE's documentation
  v4) accelerator=tpu-v4-podslice ;;
  v5e) accelerator=tpu-v5-lite-podslice ;;
  v5p) accelerator=tpu-v5p-slice ;;
  v6e) accelerator=tpu-v6e-slice ;;
  *) fail "--chip='$chip': use v4, v5e, v5p or v6e." ;;
esac
chips=$((${topology//x/*}))
on_host=4
((chips > on_host)) || on_host=$chips
((chips % on_host == 0)) || fail "--topology=$topology: $chips chips do not fill hosts of $on_host."
hosts=$((chips / on_host))

# A text as a YAML string.
quoted() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

command=emnat
for argument in em --on-all-hosts "--workdir=$workdir" "${arguments[@]}"; do
  [[ $argument != *$'\n'* ]] || fail "an argument of \`emnat em\` holds a line break."
  command+=$'\n                - '$(quoted "$argument")
done
spot_label=''
if $spot; then spot_label=$'\n                cloud.google.com/gke-spot: "true"'; fi

manifest=$(
  cat <<EOF
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: $retries
  replicatedJobs:
    - name: slice
      replicas: $slices
      template:
        spec:
          parallelism: $hosts
          completions: $hosts
          backoffLimit: 0
          template:
            spec:
              restartPolicy: Never
              serviceAccountName: $account
              terminationGracePeriodSeconds: 120
              hostNetwork: true
              dnsPolicy: ClusterFirstWithHostNet
              nodeSelector:
                cloud.google.com/gke-tpu-accelerator: $accelerator
                cloud.google.com/gke-tpu-topology: $topology$spot_label
              containers:
              - name: emnat
                image: $image
                ports:
                - containerPort: 8471
                - containerPort: 8080
                command:
                - $command
                env:
                - name: JAX_PLATFORMS
                  value: tpu,cpu
                resources:
                  limits:
                    google.com/tpu: $on_host
EOF
)

if $dry_run; then
  echo "$manifest"
  echo "# kubectl apply --filename=-   (with this manifest)"
  exit 0
fi
kubectl apply --filename=- <<<"$manifest"
kubectl wait "jobset/$name" --for=condition=Completed --timeout=-1s &
waiting=$!
until kubectl logs --follow --prefix --max-log-requests=$((slices * hosts)) --selector="jobset.sigs.k8s.io/jobset-name=$name"; do
  kill -0 "$waiting" 2>/dev/null || break
  sleep 10
done
wait "$waiting"
