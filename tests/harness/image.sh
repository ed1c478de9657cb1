#!/usr/bin/env bash
# image.sh SUITE...: build the image watchkeeper-host:SUITE (bookworm, trixie): a Debian host with systemd as its first
# process; SUITE-services has what exporters measure on top, switched off (molecule/base/services.yml switches it on). An
# image made by this same recipe is kept.
#
# The image comes from Debian's packages, no container registry is asked. Where a registry can be reached,
# WATCHKEEPER_BASE_IMAGE=debian takes `debian:SUITE` as the base instead; the result is the same.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PACKAGES="systemd systemd-sysv dbus python3 iproute2 ca-certificates curl procps sudo"
SERVICES="postgresql redis-server nginx docker.io iptables python3-apt"
OFF="postgresql redis-server nginx docker.service docker.socket containerd"
# Nothing reads manuals on a test host, and half of the unpacking time is theirs.
LEAN="path-exclude=/usr/share/doc/* path-exclude=/usr/share/man/* path-exclude=/usr/share/locale/*"
# A container has no consoles, no timers' machine to look after and no kernel of its own.
MASK="console-getty.service getty.target systemd-logind.service systemd-udevd.service
    systemd-modules-load.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer"

from_packages() { # SUITE TAG LABEL
    need mmdebstrap mmdebstrap
    local debian
    debian=$("$VENV/bin/python" "$ROOT/tests/harness/mirror.py" debian)
    local tmp=${TMPDIR:-/tmp} option options=() unit
    # In memory it takes half the time.
    [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 1500000 ] 2>/dev/null && tmp=/dev/shm
    for option in $LEAN; do options+=(--dpkgopt="$option"); done
    for unit in $MASK; do options+=(--customize-hook="ln -sf /dev/null \"\$1/etc/systemd/system/$unit\""); done
    TMPDIR=$tmp mmdebstrap --quiet --variant=apt --include="${PACKAGES// /,}" "${options[@]}" \
        --aptopt='Acquire::Languages "none"' "$1" - "$debian" \
        | docker import --change 'CMD ["/sbin/init"]' --change "LABEL $3" - "$2" >/dev/null
}

from_registry() { # SUITE TAG LABEL
    {
        echo "FROM $WATCHKEEPER_BASE_IMAGE:$1"
        # shellcheck disable=SC2086
        printf 'RUN printf "%%s\\n" %s >/etc/dpkg/dpkg.cfg.d/lean\n' "$(printf '"%s" ' $LEAN)"
        echo "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $PACKAGES"
        # shellcheck disable=SC2086
        echo "RUN for unit in" $MASK "; do ln -sf /dev/null /etc/systemd/system/\$unit; done"
        echo "LABEL $3"
        echo 'CMD ["/sbin/init"]'
    } | docker build --network host -t "$2" -
}

with_services() { # SUITE TAG LABEL
    local install="apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io"
    {
        echo "FROM watchkeeper-host:$1"
        # Newer Debians pack Docker's client on its own.
        echo "RUN export DEBIAN_FRONTEND=noninteractive; apt-get update && $install $SERVICES" \
            "&& { command -v docker || $install docker-cli; } && apt-get clean && rm -r /var/lib/apt/lists/*" \
            "&& systemctl disable $OFF"
        echo "LABEL $3"
    } | docker build --quiet --network host -t "$2" - >/dev/null
}

build() { # SUITE or SUITE-services
    local suite=${1%-services} tag=watchkeeper-host:$1 label
    local recipe="$suite ${WATCHKEEPER_BASE_IMAGE:-} $PACKAGES $LEAN $MASK" make=from_packages
    [ -z "${WATCHKEEPER_BASE_IMAGE:-}" ] || make=from_registry
    if [ "$1" != "$suite" ]; then
        build "$suite"
        recipe="$recipe $SERVICES $OFF"
        make=with_services
    fi
    label=watchkeeper.recipe=$(printf '%s' "$recipe" | sha256sum | cut -c 1-16)
    # One build at a time, whoever asks.
    exec 9>"$CACHE/image-$1.lock"
    flock 9
    [ -z "$(docker images -q --filter "label=$label" "$tag")" ] || return 0
    say "building the image $tag (about a minute)"
    "$make" "$suite" "$tag" "$label"
}

[ $# -gt 0 ] || die "usage: image.sh SUITE..."
for suite in "$@"; do build "$suite"; done
