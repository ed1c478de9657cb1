#!/usr/bin/env bash
# host.sh up|stop: a throwaway systemd host for the bench, as the demo's but without published ports. `up` on a host that
# is there gives a fresh one. Writes .cache/bench/hosts.yml and .cache/bench/vars.yml.
source "$(dirname "${BASH_SOURCE[0]}")/../harness/lib.sh"
cd "$ROOT"

NAME=watchkeeper-bench
FOLDER=$CACHE/bench
export WATCHKEEPER_TEST_NETWORK=$NAME
mkdir -p "$FOLDER"

up() {
    # Only an engine that was started for the bench is stopped after it.
    [ -e "$FOLDER/engine" ] || cat "$CACHE/dockerd.pid" >"$FOLDER/engine" 2>/dev/null || true
    MIRROR=${WATCHKEEPER_MIRROR:-$TEST_MIRROR}
    provide bookworm
    local gateway
    gateway=$(network "$NAME")
    serve_mirror mirror-bench "$gateway" "$MIRROR"
    mirror_vars >"$FOLDER/vars.yml"
    cat >"$FOLDER/hosts.yml" <<EOF
monitoring:
  hosts:
    $NAME:
      ansible_connection: counted
EOF
    docker rm -f "$NAME" >/dev/null 2>&1 || true
    local play=(env ANSIBLE_STDOUT_CALLBACK=ansible.builtin.default ansible-playbook -e "@$FOLDER/vars.yml")
    {
        "${play[@]}" -i /dev/null molecule/base/create.yml \
            -e "{molecule_yml: {platforms: [{name: $NAME, image: 'watchkeeper-host:bookworm'}]}}" \
            && "${play[@]}" -i "$NAME," -e ansible_connection=community.docker.docker molecule/base/prepare.yml
    } >"$FOLDER/host.log" 2>&1 || { cat "$FOLDER/host.log" >&2; die "the host $NAME could not be started"; }
}

stop() {
    stop_server mirror-bench
    if docker info >/dev/null 2>&1; then
        docker rm -f "$NAME" >/dev/null 2>&1 || true
        docker network rm "$NAME" >/dev/null 2>&1 || true
    fi
    if [ -e "$FOLDER/engine" ] && [ "$(cat "$FOLDER/engine")" != "$(cat "$CACHE/dockerd.pid" 2>/dev/null || true)" ]; then
        "$ROOT/tests/harness/engine.sh" down
    fi
    rm -f "$FOLDER/engine"
}

case ${1:-} in
    up | stop) "$1" ;;
    *) die "usage: host.sh up|stop" ;;
esac
