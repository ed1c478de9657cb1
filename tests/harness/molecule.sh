#!/usr/bin/env bash
# molecule.sh SCENARIO WORD...: run `molecule WORD...` on a scenario with all it needs: the engine, the host images, the
# private network, and the test mirror (or the folder WATCHKEEPER_MIRROR) served on that network's gateway.
#
# Playbooks find in the environment WATCHKEEPER_MIRROR_URL (the server; a fault's name may follow, see mirror.py) and
# WATCHKEEPER_MIRROR_LOG (a line for every request), and as variables what `mirror.py vars` prints.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

scenario=$1
shift
export WATCHKEEPER_TEST_NETWORK=watchkeeper-test
export MOLECULE_COMMAND_BORDERS=false
[ -t 1 ] || export NO_COLOR=1

engine_was=$(cat "$CACHE/dockerd.pid" 2>/dev/null || true)
finish() {
    stop_server mirror-test
    # Hosts that are left on purpose (as after `converge`) keep their network and the engine.
    docker network rm "$WATCHKEEPER_TEST_NETWORK" >/dev/null 2>&1 || true
    [ "$(cat "$CACHE/dockerd.pid" 2>/dev/null || true)" = "$engine_was" ] || "$ROOT/tests/harness/engine.sh" down
}
trap finish EXIT
trap 'exit 130' INT TERM

MIRROR=${WATCHKEEPER_MIRROR:-$TEST_MIRROR}
# shellcheck disable=SC2046 # one word each
provide $(sed -n "s/^ *image: watchkeeper-host://p" "molecule/$scenario/molecule.yml")

# A scenario can need what not every mirror has; without it nothing is run, and that is said.
for name in $(sed -n 's/^# needs: //p' "molecule/$scenario/molecule.yml"); do
    if [ ! -d "$MIRROR/$name" ]; then
        say "scenario $scenario was not run: there is no $name in the mirror"
        exit 0
    fi
done
gateway=$(network "$WATCHKEEPER_TEST_NETWORK")
serve_mirror mirror-test "$gateway" "$MIRROR"
export WATCHKEEPER_MIRROR_URL=$MIRROR_URL
export WATCHKEEPER_MIRROR_LOG=$CACHE/mirror-test.log

# The inventory of a scenario: where the mirror is, what all scenarios share, and its own variables.
rm -rf "$CACHE/molecule/group_vars"
mkdir -p "$CACHE/molecule/group_vars/all"
mirror_vars --emulators >"$CACHE/molecule/group_vars/all/mirror.yml"
ln -s "$ROOT/molecule/base/vars/all.yml" "$CACHE/molecule/group_vars/all/base.yml"
ln -s "$ROOT/molecule/$scenario/group_vars/all.yml" "$CACHE/molecule/group_vars/all/scenario.yml"
molecule "$@" --scenario-name "$scenario"
