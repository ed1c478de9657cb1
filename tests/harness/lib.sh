# Shared by the harness scripts: source it, do not run it.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=$ROOT/.cache
VENV=$ROOT/.venv
mkdir -p "$CACHE"

# `molecule` and `ansible-lint` look for their own programs on PATH.
export PATH=$VENV/bin:$PATH
export ANSIBLE_CONFIG=$ROOT/ansible.cfg

# Where this machine keeps cgroup2: systemd in a container wants that one.
if [ -d /sys/fs/cgroup/unified ]; then CGROUP_DIR=/sys/fs/cgroup/unified; else CGROUP_DIR=/sys/fs/cgroup; fi
export WATCHKEEPER_CGROUP_DIR=${WATCHKEEPER_CGROUP_DIR:-$CGROUP_DIR}

say() { printf '==> %s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Run a command as root, directly or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_install PACKAGE...: install what is missing, after saying so.
apt_install() {
    command -v apt-get >/dev/null || die "please install: $*"
    say "installing system packages: $*"
    as_root apt-get -q update >"$CACHE/apt.log" 2>&1 \
        && as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" >>"$CACHE/apt.log" 2>&1 \
        || { tail -n 20 "$CACHE/apt.log" >&2; die "apt-get could not install: $*"; }
}

# need COMMAND PACKAGE: install the package when the command is missing.
need() {
    command -v "$1" >/dev/null || apt_install "$2"
}

# alive FILE NAME: does the pid in FILE belong to a running process whose command line has NAME in it?
alive() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q -- "$2"
}

# serve_mirror NAME ADDRESS FOLDER: serve FOLDER on ADDRESS in the background, or keep the server that does so already.
# Sets MIRROR_URL; stop_server NAME ends it. Its request log is .cache/NAME.log.
serve_mirror() {
    local base=$CACHE/$1
    if ! { alive "$base.pid" "--dest $3 serve --bind $2 " && [ -s "$base.url" ]; }; then
        stop_server "$1"
        : >"$base.log"
        setsid "$VENV/bin/python" "$ROOT/tests/harness/mirror.py" --dest "$3" serve --bind "$2" --port 0 \
            >"$base.log" 2>&1 </dev/null &
        echo $! >"$base.pid"
        for _ in $(seq 100); do
            sed -n 's/^serving .* on \(http.*\)\/$/\1/p' "$base.log" | tee "$base.url" | grep -q . && break
            alive "$base.pid" mirror.py || break
            sleep 0.1
        done
        [ -s "$base.url" ] || { cat "$base.log" >&2; die "the mirror server did not start on $2"; }
    fi
    MIRROR_URL=$(cat "$base.url")
}

stop_server() { # NAME
    if alive "$CACHE/$1.pid" mirror.py; then kill "$(cat "$CACHE/$1.pid")"; fi
    rm -f "$CACHE/$1.pid" "$CACHE/$1.url"
}

# network NAME: create the Docker network unless it is there, and print its gateway: an address of this machine that
# the containers reach.
network() {
    docker network inspect "$1" >/dev/null 2>&1 || docker network create "$1" >/dev/null
    docker network inspect --format '{{ (index .IPAM.Config 0).Gateway }}' "$1"
}

# provide SUITE...: the engine, the host images and the mirror in MIRROR, side by side where that saves time.
# MIRROR is a folder, or empty for none; the test mirror is built when it is that one.
TEST_MIRROR=$CACHE/mirror
provide() {
    local mirror_pid=""
    "$ROOT/tests/harness/engine.sh" up
    if [ "$MIRROR" = "$TEST_MIRROR" ]; then
        "$VENV/bin/python" "$ROOT/tests/harness/mirror.py" build &
        mirror_pid=$!
    elif [ -n "$MIRROR" ] && [ ! -d "$MIRROR" ]; then
        die "WATCHKEEPER_MIRROR=$MIRROR is not a folder"
    fi
    "$ROOT/tests/harness/image.sh" "$@"
    [ -z "$mirror_pid" ] || wait "$mirror_pid" || die "the test mirror could not be built"
}

# mirror_vars [--emulators]: print the Ansible variables of the mirror in MIRROR, served at MIRROR_URL.
mirror_vars() {
    "$VENV/bin/python" "$ROOT/tests/harness/mirror.py" --dest "$MIRROR" vars --url "$MIRROR_URL" "$@"
}
