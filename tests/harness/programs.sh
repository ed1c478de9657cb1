#!/usr/bin/env bash
# Install the servers and the browser that unit tests start for themselves, on loopback. The machine's own servers are
# not started by this.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

POLICY=/usr/sbin/policy-rc.d
missing=()
for pair in /usr/lib/postgresql:postgresql /usr/bin/redis-server:redis-server /usr/sbin/nginx:nginx \
    /usr/sbin/dockerd:docker.io /usr/bin/chromium:chromium; do
    [ -e "${pair%%:*}" ] || missing+=("${pair#*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ ! -e "$POLICY" ]; then
    trap 'as_root rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 0755 "$POLICY"
fi
apt_install "${missing[@]}"
