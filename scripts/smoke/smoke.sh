#!/usr/bin/env bash
# The whole product on a Kubernetes cluster of one node, from nothing to an asserted run: see README.md beside this.
#
#   scripts/smoke/smoke.sh [--dry-run] [--keep] [all | up | load | run | diagnose | down]
#
# Every step may be repeated; `all` is up, load, run, and down, with diagnose in between if something failed.
# Exit codes: 0 done; 2 an option is wrong; 3 a command that it needs is missing; else that of what failed.
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
ROOT="$(cd "$HERE/../.." && pwd)"

CLUSTER="${SMOKE_CLUSTER:-culling-smoke}"
NODE_IMAGE="${SMOKE_NODE_IMAGE:-kindest/node:v1.33.12}"
OUT="${SMOKE_OUT:-$ROOT/build/smoke}"
PYTHON="${SMOKE_PYTHON:-$ROOT/.venv/bin/python}"
PIPELINE="$ROOT/pipelines/compiled/kind.yaml"
KFP_PORT="${SMOKE_KFP_PORT:-18888}"
STORE_PORT="${SMOKE_STORE_PORT:-18900}"
SERVICE_ACCOUNT="${SMOKE_SERVICE_ACCOUNT:-culling-runner}"
RUN_TIMEOUT_S="${SMOKE_RUN_TIMEOUT_S:-1500}"
DEPLOYMENTS=(mysql seaweedfs metadata-grpc-deployment workflow-controller ml-pipeline ml-pipeline-persistenceagent
  ml-pipeline-scheduledworkflow)
DRY_RUN=""
KEEP="${SMOKE_KEEP:-}"
FORWARDS=()
K=(kubectl --namespace kubeflow)

usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

fail() { # CODE TEXT: the one line that a person needs
  echo "smoke: $2" >&2
  exit "$1"
}

step() { # TEXT: what begins, and after how long
  echo "== ${SECONDS} s: $*"
}

does() { # COMMAND...: run it, or only say it
  if [ -n "$DRY_RUN" ]; then
    printf '+'
    printf ' %q' "$@"
    printf '\n'
  else
    "$@"
  fi
}

may() { # COMMAND...: as `does`, but what it finds out is all that counts, not how it ends
  does "$@" || true
}

into() { # FILE COMMAND...: what it says goes to a file; a failure is noted there and stops nothing
  local file="$1"
  shift
  if [ -n "$DRY_RUN" ]; then
    printf '+'
    printf ' %q' "$@"
    printf ' > %q\n' "$file"
  else
    "$@" >"$file" 2>&1 || echo "(ended with $?)" >>"$file"
  fi
}

need() { # COMMAND...: all that are missing in one line
  local missing=() name
  [ -z "$DRY_RUN" ] || return 0
  for name in "$@"; do command -v "$name" >/dev/null 2>&1 || missing+=("$name"); done
  [ "${#missing[@]}" = 0 ] ||
    fail 3 "expected the commands $* on PATH, found no ${missing[*]}. Install what is missing, or look at --dry-run."
}

image_of_pipeline() { # the image that the compiled pipeline names: what is built must be what the pods ask for
  sed -n 's/^ *image: *//p' "$PIPELINE" | sort -u
}

exists() { # whether the cluster is there; in a dry run it never is
  [ -z "$DRY_RUN" ] && kind get clusters 2>/dev/null | grep -qx "$CLUSTER"
}

kfp_overlay() { # NAME: the folder to apply, with a local copy of KFP's manifests in place of GitHub if one is named
  local name="$1" folder="$OUT/kfp/$1" base
  if [ -z "${SMOKE_KFP_MANIFESTS:-}" ]; then
    echo "$HERE/kfp/$name"
    return
  fi
  mkdir -p "$folder"
  base="$(realpath --relative-to="$folder" "$SMOKE_KFP_MANIFESTS")"
  sed "s#https://github.com/kubeflow/pipelines/manifests/kustomize/\(.*\)?ref=.*#$base/\1#" \
    "$HERE/kfp/$name/kustomization.yaml" >"$folder/kustomization.yaml"
  echo "$folder"
}

apply() { # FOLDER: three tries, as it may fetch from GitHub; server-side, as KFP's custom resources are too large else
  local try
  for try in 1 2 3; do
    if does kubectl apply --server-side --force-conflicts -k "$1"; then return 0; fi
    echo "apply $1: try $try of 3 failed" >&2
    sleep $((try * 10))
  done
  fail 1 "$1: expected it to be applied, found three failures. See above; diagnose says more."
}

up() {
  need kind kubectl docker
  local name folder
  if [ -n "${SMOKE_KFP_MANIFESTS:-}" ] && [ ! -d "$SMOKE_KFP_MANIFESTS/env" ]; then
    fail 2 "SMOKE_KFP_MANIFESTS=$SMOKE_KFP_MANIFESTS: expected the folder manifests/kustomize of Kubeflow Pipelines."
  fi
  step "cluster $CLUSTER ($NODE_IMAGE)"
  if exists; then
    does kind export kubeconfig --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
  else
    does kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --kubeconfig "$KUBECONFIG" --wait 180s
  fi
  step "Kubeflow Pipelines"
  folder="$(kfp_overlay cluster)"
  apply "$folder"
  does kubectl wait --for=condition=established --timeout=120s crd/applications.app.k8s.io crd/workflows.argoproj.io
  folder="$(kfp_overlay slim)"
  apply "$folder"
  apply "$ROOT/manifests/overlays/kind"
  for name in "${DEPLOYMENTS[@]}"; do does "${K[@]}" rollout status "deployment/$name" --timeout=900s; done
}

load() {
  need kind docker
  local image
  image="$(image_of_pipeline)"
  [ "$(wc -w <<<"$image")" -eq 1 ] || fail 2 "$PIPELINE: expected one image, found ${image:-none}. Run make compile."
  step "image $image"
  local options=(-f "$ROOT/docker/Dockerfile" --target cpu -t "$image")
  [ -z "${SMOKE_WHEEL_INDEX:-}" ] || options+=(--build-arg "WHEEL_INDEX=$SMOKE_WHEEL_INDEX")
  [ -z "${SMOKE_LOCK:-}" ] || options+=(--build-arg "LOCK=$SMOKE_LOCK")
  does docker build "${options[@]}" "$ROOT"
  may docker image inspect --format '{{.Size}} bytes' "$image"
  does kind load docker-image "$image" --name "$CLUSTER"
}

forward() { # SERVICE LOCAL:REMOTE: kept up, as a port-forward ends whenever its pod does
  if [ -n "$DRY_RUN" ]; then
    does "${K[@]}" port-forward "service/$1" "$2"
    return
  fi
  (
    child=""
    trap 'kill "$child" 2>/dev/null; exit 0' TERM
    while :; do
      "${K[@]}" port-forward "service/$1" "$2" >/dev/null 2>&1 &
      child=$!
      wait "$child" || true
      sleep 1
    done
  ) &
  FORWARDS+=("$!")
}

stop_forwards() {
  local pid
  for pid in ${FORWARDS[@]+"${FORWARDS[@]}"}; do kill "$pid" 2>/dev/null || true; done
  FORWARDS=()
}

key() { # NAME: from KFP's own secret; never printed
  "${K[@]}" get secret mlpipeline-minio-artifact -o "jsonpath={.data.$1}" | base64 -d
}

run() {
  need kubectl base64
  if [ -z "$DRY_RUN" ] && [ ! -x "$PYTHON" ]; then
    fail 3 "expected an interpreter with the package at $PYTHON, found none. Run make smoke, or set SMOKE_PYTHON."
  fi
  step "three runs"
  forward ml-pipeline "$KFP_PORT:8888"
  forward seaweedfs "$STORE_PORT:9000"
  if [ -z "$DRY_RUN" ]; then
    CULLING_S3_ACCESS_KEY="$(key accesskey)"
    CULLING_S3_SECRET_KEY="$(key secretkey)"
    export CULLING_S3_ACCESS_KEY CULLING_S3_SECRET_KEY
  else
    echo "+ # CULLING_S3_ACCESS_KEY, CULLING_S3_SECRET_KEY: from the secret mlpipeline-minio-artifact"
  fi
  does env KF_PIPELINES_ENDPOINT="http://127.0.0.1:$KFP_PORT" CULLING_S3_ENDPOINT="http://127.0.0.1:$STORE_PORT" \
    CULLING_S3_REGION=us-east-1 "$PYTHON" "$HERE/three_runs.py" --pipeline "$PIPELINE" --bucket s3://mlpipeline \
    --service-account "$SERVICE_ACCOUNT" --timeout-s "$RUN_TIMEOUT_S" --out "$OUT/runs"
  stop_forwards
  step "done; the node's memory"
  may docker exec "$CLUSTER-control-plane" cat /sys/fs/cgroup/memory.peak
}

diagnose() {
  need kubectl
  local folder="$OUT/diagnostics" name
  step "diagnostics into $folder"
  does mkdir -p "$folder"
  into "$folder/pods.txt" kubectl get pods --all-namespaces -o wide
  into "$folder/nodes.txt" kubectl describe nodes
  into "$folder/events.txt" kubectl get events --all-namespaces --sort-by=.lastTimestamp
  into "$folder/volumes.txt" kubectl get pvc,pv --all-namespaces
  into "$folder/pods-described.txt" "${K[@]}" describe pods
  into "$folder/workflows.yaml" "${K[@]}" get workflows.argoproj.io -o yaml
  for name in "${DEPLOYMENTS[@]}"; do
    into "$folder/$name.log" "${K[@]}" logs "deployment/$name" --all-containers --tail=500
  done
  into "$folder/tasks.log" "${K[@]}" logs -l workflows.argoproj.io/workflow --all-containers --prefix --tail=200 \
    --max-log-requests=100
  into "$folder/node.txt" docker stats --no-stream "$CLUSTER-control-plane"
  into "$folder/disk.txt" df -h
  if [ -z "$DRY_RUN" ]; then
    grep -hE 'OOMKilled|Evicted|FailedScheduling|Failed to pull|BackOff' "$folder"/{events,pods-described}.txt |
      sort | uniq -c | sort -rn | head -20 || true
  fi
}

down() {
  need kind
  step "removing cluster $CLUSTER"
  stop_forwards
  does kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
  does rm -f "$KUBECONFIG"
}

end() { # of `all`, however it came: what went wrong is kept, the cluster is not
  local code=$?
  trap - EXIT
  stop_forwards
  if [ "$code" != 0 ]; then
    (diagnose) || true
  fi
  if [ -n "$KEEP" ]; then
    echo "kept: kubectl --kubeconfig $KUBECONFIG --namespace kubeflow get pods; $0 down removes it"
  else
    (down) || true
  fi
  if [ -n "$DRY_RUN" ]; then
    echo "smoke: dry run, nothing was done"
  elif [ "$code" = 0 ]; then
    echo "smoke: passed after $SECONDS s"
  else
    echo "smoke: FAILED with $code after $SECONDS s; what was found is in $OUT/diagnostics" >&2
  fi
  exit "$code"
}

all() {
  # Before the first of them starts, so that nothing is half done when a later one lacks its tool.
  need kind kubectl docker base64
  if [ -z "$DRY_RUN" ] && ! docker info >/dev/null 2>&1; then
    fail 3 "expected a Docker that answers, found none. Start it, and see that docker info works."
  fi
  if [ -z "$DRY_RUN" ] && [ ! -x "$PYTHON" ]; then
    fail 3 "expected an interpreter with the package at $PYTHON, found none. Run make smoke, or set SMOKE_PYTHON."
  fi
  trap end EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  up
  load
  run
}

what=""
for argument in "$@"; do
  case "$argument" in
    -h | --help) usage && exit 0 ;;
    --dry-run) DRY_RUN=1 ;;
    --keep) KEEP=1 ;;
    all | up | load | run | diagnose | down)
      [ -z "$what" ] || fail 2 "expected one step, found $what and $argument. See $0 --help."
      what="$argument"
      ;;
    *) fail 2 "$argument: expected --dry-run, --keep, all, up, load, run, diagnose or down. See $0 --help." ;;
  esac
done

[ -n "$DRY_RUN" ] || mkdir -p "$OUT"
# Of our own, so that no other cluster of this person can be meant.
export KUBECONFIG="$OUT/kubeconfig"
[ "$what" = run ] && trap stop_forwards EXIT
"${what:-all}"
