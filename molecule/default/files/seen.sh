#!/bin/sh
# Prints what an account without rights can learn on this host, and what the logs keep.
ps axww -o args
for file in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do tr '\0' '\n' <"$file" 2>/dev/null; done
systemctl show --no-pager --all '*.service'
cat /etc/systemd/system/*.service
journalctl --no-pager --quiet
find / -xdev \( -path /proc -o -path /sys -o -path /usr -o -path /var/lib/prometheus \) -prune \
    -o -type f -perm /o=r -size -4096k -exec cat {} + 2>/dev/null | tr -d '\0'
exit 0
