#!/usr/bin/env bash
# Builds the image, runs its tests in it, and records in docker/tested.sha256 which sources they covered.
#
#   scripts/image/test.sh             build, test, record
#   scripts/image/test.sh --covered   exit with 0 if the recorded sources are the present ones; build nothing
#
# Covered are docker/, scripts/image/ and the image's tests. Where no Docker answers, podman is used, with --local-base.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
RECORD=docker/tested.sha256

digest() {
  git ls-files docker scripts/image tests/pipeline/test_images.py | grep -vxF "$RECORD" | LC_ALL=C sort |
    xargs sha256sum | sha256sum | cut -d' ' -f1
}

case "${1:-}" in
  --covered)
    [ "$(cat "$RECORD" 2>/dev/null)" = "$(digest)" ]
    exit
    ;;
  "") ;;
  *)
    echo "image: $1: unknown option; expected --covered or nothing" >&2
    exit 2
    ;;
esac

options=""
if docker info >/dev/null 2>&1; then
  export CULLING_ENGINE=docker
else
  export CULLING_ENGINE=podman
  options="--local-base"
  if [ "$(id -u)" = 0 ]; then export CONTAINERS_CONF="${CONTAINERS_CONF:-$PWD/scripts/image/podman-as-root.conf}"; fi
fi
# shellcheck disable=SC2086 # no option, or one
scripts/image/build.sh $options --tag localhost/dataset-culling:ci
CULLING_IMAGE=localhost/dataset-culling:ci .venv/bin/python -m pytest -q -m image
digest >"$RECORD"
echo "image: tested; $RECORD is written"
