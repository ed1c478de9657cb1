#!/usr/bin/env bash
# Create .venv from the lock and put the collections of requirements.yml into .cache/collections.
# Does nothing when both are already what the repository asks for.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PYTHON=${PYTHON:-python3}
LOCK=$ROOT/requirements/dev.lock
COLLECTIONS=$CACHE/collections

make_venv() {
    local want
    want=$(sha256sum <"$LOCK")
    # A working environment stays, whichever python3 happens to be first on PATH today.
    if "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
        [ "$(cat "$VENV/.stamp" 2>/dev/null)" != "$want" ] || return 0
    else
        need "$PYTHON" python3
        "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
            || die "Python 3.11 or newer is needed; point PYTHON at one ($PYTHON is $("$PYTHON" -V 2>&1))"
        "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
        rm -rf "$VENV"
        "$PYTHON" -m venv "$VENV"
    fi
    say "installing the Python environment into .venv"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$LOCK"
    printf '%s' "$want" >"$VENV/.stamp"
}

# The `ansible` package carries every collection we use; only those are taken out of its wheel.
collections_from_wheel() {
    local work
    work=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" RETURN
    "$VENV/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        -d "$work" -r "$ROOT/requirements/collections.lock" \
        && "$VENV/bin/python" "$ROOT/tests/harness/collections_from_wheel.py" \
            "$ROOT/requirements.yml" "$work"/ansible-*.whl "$1"
}

make_collections() {
    local want
    want=$(sha256sum <"$ROOT/requirements.yml")
    [ "$(cat "$COLLECTIONS/.stamp" 2>/dev/null)" = "$want" ] && return
    say "installing the collections of requirements.yml"
    rm -rf "$COLLECTIONS" "$COLLECTIONS.new"
    if ! timeout 120 ansible-galaxy collection install --timeout 10 -r "$ROOT/requirements.yml" \
        -p "$COLLECTIONS.new" >"$CACHE/galaxy.log" 2>&1; then
        say "Galaxy does not answer (.cache/galaxy.log): taking them from the ansible package"
        rm -rf "$COLLECTIONS.new"
        collections_from_wheel "$COLLECTIONS.new" || die "the collections could not be had from Galaxy nor from the ansible package"
    fi
    printf '%s' "$want" >"$COLLECTIONS.new/.stamp"
    mv "$COLLECTIONS.new" "$COLLECTIONS"
}

make_venv
make_collections
