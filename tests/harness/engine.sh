#!/usr/bin/env bash
# engine.sh up|down: make sure that a Docker engine answers; stop it again only if we started it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PIDFILE=$CACHE/dockerd.pid
LOG=$CACHE/dockerd.log

up() {
    exec 9>"$CACHE/dockerd.lock"
    flock 9
    command -v docker >/dev/null || apt_install docker.io iptables
    # Newer Debian packs the client on its own.
    command -v docker >/dev/null || apt_install docker-cli
    docker info >/dev/null 2>&1 && return
    [ -z "${DOCKER_HOST:-}" ] || die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST"
    command -v dockerd >/dev/null || apt_install docker.io
    command -v iptables >/dev/null || apt_install iptables
    say "starting a Docker engine (log: .cache/dockerd.log, 'make demo-stop' ends it)"
    # Its own session: the engine outlives this script and is not hit by Ctrl-C on it.
    as_root setsid bash -c 'dockerd >"$1" 2>&1 </dev/null 9>&- & echo $! >"$2"' _ "$LOG" "$PIDFILE"
    for _ in $(seq 120); do
        docker info >/dev/null 2>&1 && return
        alive "$PIDFILE" dockerd || break
        sleep 0.5
    done
    tail -n 20 "$LOG" >&2
    die "the Docker engine did not start (is this user allowed to use it?)"
}

down() {
    alive "$PIDFILE" dockerd || { rm -f "$PIDFILE"; return; }
    if [ -n "$(docker ps -q)" ]; then
        say "leaving the Docker engine running: it still has containers"
        return
    fi
    say "stopping the Docker engine we started"
    as_root kill "$(cat "$PIDFILE")"
    for _ in $(seq 60); do
        alive "$PIDFILE" dockerd || { rm -f "$PIDFILE"; return; }
        sleep 0.5
    done
    die "the Docker engine (process $(cat "$PIDFILE")) does not stop"
}

case ${1:-} in
    up | down) "$1" ;;
    *) die "usage: engine.sh up|down" ;;
esac
