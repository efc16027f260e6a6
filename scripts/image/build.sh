#!/usr/bin/env bash
# Builds the image of every stage from docker/Dockerfile and says its size: see README.md beside this.
#
#   scripts/image/build.sh [--engine podman|docker] [--target cpu|gpu] [--tag NAME:TAG] [--local-base]
#
# --local-base makes the base image on the spot, out of Debian's packages and this machine's own Python 3.11, for machines
# that can pull no image (podman and root only). It may be repeated: an image of the same sources is used again.
# Exit codes: 0 done; 2 an option is wrong; 3 a command or the room on the disk is missing; else that of what failed.
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
ROOT="$(cd "$HERE/../.." && pwd)"

ENGINE="${CULLING_ENGINE:-}"
TARGET=cpu
TAG=""
LOCAL_BASE=""
BASE="localhost/culling-base:bookworm-python3.11"
PYTHON="${PYTHON:-python3}"
LOCK="${CULLING_LOCK:-docker/requirements-image.lock}" # as the Dockerfile's arguments of these names
WHEEL_INDEX="${CULLING_WHEEL_INDEX:-}"
SOURCE_LABEL=org.dataset-culling.source # digest of all that the image is made of
WORK=""
BEFORE="" # half-made containers that are none of ours

usage() { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

fail() { # CODE TEXT: the one line that a person needs
  echo "image: $2" >&2
  exit "$1"
}

step() { # TEXT: what begins, and after how long
  echo "== ${SECONDS} s: $*"
}

need() { # COMMAND...: all that are missing in one line
  local missing=() name
  for name in "$@"; do command -v "$name" >/dev/null 2>&1 || missing+=("$name"); done
  [ "${#missing[@]}" = 0 ] || fail 3 "expected the commands $* on PATH, found no ${missing[*]}. Install what is missing."
}

options() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --engine | --target | --tag)
        [ $# -ge 2 ] || fail 2 "$1: expected a value, found none. See --help."
        case "$1" in --engine) ENGINE="$2" ;; --target) TARGET="$2" ;; --tag) TAG="$2" ;; esac
        shift
        ;;
      --local-base) LOCAL_BASE=yes ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) fail 2 "$1: expected --engine, --target, --tag or --local-base. See --help." ;;
    esac
    shift
  done
  if [ -z "$ENGINE" ]; then
    ENGINE=docker
    ! command -v podman >/dev/null 2>&1 || ENGINE=podman
  fi
  case "$ENGINE" in podman | docker) ;; *) fail 2 "--engine $ENGINE: expected podman or docker." ;; esac
  case "$TARGET" in cpu | gpu) ;; *) fail 2 "--target $TARGET: expected cpu or gpu." ;; esac
  if [ -n "$LOCAL_BASE" ] && [ "$ENGINE" != podman ]; then
    fail 2 "--local-base: expected the engine podman, found $ENGINE. Docker is for machines that can pull the base image."
  fi
  if [ -z "$TAG" ]; then # podman calls what it built localhost/...; a name without it would be pulled
    local version
    version="$(sed -n 's/^ARG VERSION=//p' "$ROOT/docker/Dockerfile")"
    TAG="dataset-culling:$version"
    [ "$TARGET" = gpu ] || TAG="$TAG-cpu"
    [ "$ENGINE" = docker ] || TAG="localhost/$TAG"
  fi
}

enough_room() { # FOLDER of the engine's layers. podman writes a layer into two temporary files before it is one
  local store="$1" free need_gb=12
  [ "$ENGINE" = docker ] || need_gb=22
  need_gb="${CULLING_ROOM_GB:-$need_gb}"
  while [ ! -d "$store" ]; do store="$(dirname "$store")"; done
  free="$(($(df --output=avail -k "$store" | tail -n 1) / 1000000))"
  [ "$free" -ge "$need_gb" ] ||
    fail 3 "$store: expected $need_gb GB free for the build, found $free. Free space, or build elsewhere."
}

size() { # WORD: and what there is now
  local bytes
  bytes="$("$ENGINE" image inspect --format '{{.Size}}' "$TAG")"
  step "$1: $TAG, $((bytes / 1000000)) MB"
}

half_made() { # what podman works on while it builds: containers of which nothing but the files is left
  podman ps --all --external --format '{{.ID}} {{.Status}}' 2>/dev/null | sed -n 's/ Storage$//p'
}

clean() {
  local code=$?
  trap - EXIT
  if [ "$code" != 0 ] && [ "$ENGINE" = podman ]; then # podman ended by a signal leaves its half-made image behind
    half_made | grep -vxF "${BEFORE:-none}" | xargs -r podman rm --force >/dev/null 2>&1 || true
  fi
  if [ -n "$WORK" ]; then rm -rf "$WORK"; fi
  exit "$code"
}

interpreter() { # FOLDER: this machine's Python into FOLDER/usr/local, as the official image has it, without its tests
  local prefix
  prefix="$("$PYTHON" -c 'import sys; print(sys.base_prefix if sys.version_info[:2] == (3, 11) else "")')"
  if [ -z "$prefix" ] || [ "$prefix" = /usr ]; then
    fail 3 "$PYTHON: expected a Python 3.11 in a tree of its own, found ${prefix:-another version}. Set PYTHON to one."
  fi
  (cd "$prefix" && tar -c --exclude=__pycache__ --exclude=lib/python3.11/test --exclude='lib/python3.11/config-*' \
    --exclude=lib/python3.11/idlelib --exclude=lib/python3.11/tkinter --exclude='lib/python3.11/site-packages/*' \
    --exclude='*.a' bin/python3.11 lib/libpython3* lib/python3.11) | tar -x --no-same-owner -C "$1/usr/local"
  ln -s python3.11 "$1/usr/local/bin/python3"
  ln -s python3.11 "$1/usr/local/bin/python"
  chroot "$1" ldconfig
  # pip and setuptools of the interpreter itself, as the official image has them; nothing is fetched.
  chroot "$1" /usr/local/bin/python3 -m ensurepip --default-pip >/dev/null
  chroot "$1" /usr/local/bin/python3 -c 'import bz2, ctypes, hashlib, lzma, readline, sqlite3, ssl, venv, zlib'
}

base() { # the base image, unless it is there
  if podman image exists "$BASE"; then
    step "base image $BASE is there"
    return
  fi
  need debootstrap chroot tar "$PYTHON"
  [ "$(id -u)" = 0 ] || fail 3 "--local-base: expected root, as debootstrap wants it, found user $(id -u)."
  step "base image $BASE"
  local folder="$WORK/base"
  # What the interpreter's own modules are linked with.
  debootstrap --variant=minbase \
    --include=ca-certificates,libbz2-1.0,libffi8,liblzma5,libncursesw6,libreadline8,libsqlite3-0,libssl3,libuuid1,zlib1g \
    bookworm "$folder" >"$WORK/debootstrap.log" 2>&1 ||
    fail 3 "debootstrap: expected a Debian tree, found: $(tail -n 1 "$WORK/debootstrap.log")"
  rm -rf "$folder"/var/cache/apt/*.bin "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/* \
    "$folder"/usr/share/doc/* "$folder"/usr/share/man/* "$folder"/usr/share/locale/*
  interpreter "$folder"
  tar -C "$folder" -c . | podman import --quiet --change 'CMD ["python3"]' \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' - "$BASE"
  rm -rf "$folder"
  podman run --rm --network none "$BASE" python3 --version >/dev/null ||
    fail 3 "podman: expected it to run a container, found that it cannot, as said above. Look at podman info."
}

source_digest() { # of all that goes into the image
  (
    cd "$ROOT"
    echo "$TARGET $WHEEL_INDEX ${LOCAL_BASE:+$BASE}"
    find docker components pyproject.toml README.md LICENSE THIRD_PARTY_LICENSES.md "$LOCK" -type f \
      ! -path '*/__pycache__/*' ! -path '*.egg-info/*' -print0 | LC_ALL=C sort -zu | xargs -0 sha256sum
  ) | sha256sum | cut -d ' ' -f 1
}

pip_settings() { # FILE: how this machine's pip reaches an index; mounted while building, never part of the image
  local key value
  echo "[global]" >"$1"
  for key in index-url extra-index-url trusted-host; do
    value="$("$PYTHON" -m pip config get "global.$key" 2>/dev/null || "$PYTHON" -m pip config get ":env:.$key" 2>/dev/null)" ||
      continue
    case "$value" in *file:*) continue ;; esac # a folder of this machine, which the build does not see
    echo "$key = $value" >>"$1"
  done
  [ ! -f /etc/ssl/certs/ca-certificates.crt ] || echo "cert = /etc/ssl/certs/ca-certificates.crt" >>"$1"
}

build() {
  local arguments=(--file "$ROOT/docker/Dockerfile" --target "$TARGET" --tag "$TAG" --network host)
  local revision
  revision="$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)"
  arguments+=(--build-arg "REVISION=$revision")
  [ -z "$LOCAL_BASE" ] || arguments+=(--build-arg "PYTHON_IMAGE=$BASE")
  arguments+=(--build-arg "SOURCE=$SOURCE" --build-arg "LOCK=$LOCK")
  [ -z "$WHEEL_INDEX" ] || arguments+=(--build-arg "WHEEL_INDEX=$WHEEL_INDEX")
  if [ "$ENGINE" = podman ]; then
    # With layers, a change of our code does not install torch again.
    arguments+=(--layers --force-rm --volume "$WORK/pip.conf:/etc/pip.conf:ro")
    pip_settings "$WORK/pip.conf"
    [ ! -d /etc/ssl/certs ] || arguments+=(--volume /etc/ssl/certs:/etc/ssl/certs:ro)
  fi
  step "image $TAG, target $TARGET, by $ENGINE"
  # The engine's own temporary files, twice the image, go where they are cleaned away.
  TMPDIR="$WORK" "$ENGINE" build "${arguments[@]}" "$ROOT"
}

options "$@"
need "$ENGINE" df sed find sha256sum
SOURCE="$(source_digest)"
if [ "$("$ENGINE" image inspect --format "{{index .Config.Labels \"$SOURCE_LABEL\"}}" "$TAG" 2>/dev/null)" = "$SOURCE" ]; then
  size "is there"
  exit 0
fi
field='{{.DockerRootDir}}'
[ "$ENGINE" = docker ] || field='{{.Store.GraphRoot}}'
STORE="$("$ENGINE" info --format "$field" 2>&1)" || fail 3 "$ENGINE: expected it to answer, found: ${STORE##*$'\n'}"
enough_room "$STORE"
if [ "$ENGINE" = podman ]; then BEFORE="$(half_made)"; fi
trap clean EXIT
trap 'exit 130' INT TERM
WORK="$(mktemp -d "${TMPDIR:-/var/tmp}/culling-image.XXXXXX")"
[ -z "$LOCAL_BASE" ] || base
build
size "done"
