#!/usr/bin/env bash
# demo.sh up|stop: a throwaway systemd host in Docker with the whole stack on it, a shop that is watched, and visitors
# who keep it busy; what is there already is used again.
#
# The programs come from upstream's releases. Where those cannot be reached, they come from the test mirror (Debian's
# packages in upstream's layout); WATCHKEEPER_MIRROR names another mirror: a folder, or a URL.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

NAME=watchkeeper-demo
VARS=$CACHE/demo-vars.yml
LOG=$CACHE/demo-host.log
export WATCHKEEPER_TEST_NETWORK=$NAME

# Decide where the programs come from: sets MIRROR, the folder to serve, and writes the variables of the other cases.
choose_source() {
    MIRROR=""
    case ${WATCHKEEPER_MIRROR:-} in
        http://* | https://*)
            say "release archives: from $WATCHKEEPER_MIRROR"
            printf -- '---\nwatchkeeper_mirror_url: "%s"\n' "$WATCHKEEPER_MIRROR" >"$VARS"
            ;;
        ?*)
            say "release archives: from $WATCHKEEPER_MIRROR"
            MIRROR=$WATCHKEEPER_MIRROR
            ;;
        *)
            if "$VENV/bin/python" tests/harness/catalogue.py reachable; then
                say "release archives: from upstream"
                printf -- '---\n{}\n' >"$VARS"
            else
                say "release archives: upstream cannot be reached, so from the test mirror (Debian's packages repacked)"
                MIRROR=$TEST_MIRROR
            fi
            ;;
    esac
}

host_runs() {
    [ "$(docker container inspect --format '{{ .State.Running }}' "$NAME" 2>/dev/null)" = true ]
}

start_host() {
    host_runs && return
    say "starting the host $NAME with PostgreSQL, Redis and nginx on it"
    local ports play=(env ANSIBLE_STDOUT_CALLBACK=ansible.builtin.default ansible-playbook -e "@$VARS")
    ports=$("$VENV/bin/python" tests/harness/catalogue.py ports)
    {
        "${play[@]}" -i /dev/null molecule/base/create.yml \
            -e "{molecule_yml: {platforms: [{name: $NAME, image: 'watchkeeper-host:bookworm-services', ports: $ports}]}}" \
            && "${play[@]}" -i inventory/demo molecule/base/prepare.yml \
            && "${play[@]}" -i inventory/demo molecule/base/services.yml
    } >"$LOG" 2>&1 || {
        cat "$LOG" >&2
        # Half prepared, it would be taken for ready next time.
        docker rm -f "$NAME" >/dev/null 2>&1 || true
        die "the host $NAME could not be started"
    }
}

up() {
    choose_source
    provide bookworm-services
    gateway=$(network "$NAME")
    if [ -n "$MIRROR" ]; then
        serve_mirror mirror-demo "$gateway" "$MIRROR"
        mirror_vars >"$VARS"
        local missing
        missing=$("$VENV/bin/python" tests/harness/catalogue.py missing "$VARS" inventory/demo/hosts.yml)
        [ -z "$missing" ] || say "not in this mirror, so that the demo does without: $missing"
    fi
    start_host
    exec ansible-playbook -i inventory/demo site.yml -e "@$VARS"
}

stop() {
    stop_server mirror-demo
    if docker info >/dev/null 2>&1; then
        docker rm -f "$NAME" >/dev/null 2>&1 || true
        docker network rm "$NAME" >/dev/null 2>&1 || true
    fi
    "$ROOT/tests/harness/engine.sh" down
    rm -f "$VARS" "$LOG"
    say "the demo is gone"
}

case ${1:-} in
    up | stop) "$1" ;;
    *) die "usage: demo.sh up|stop" ;;
esac
