#!/usr/bin/env bash
# Regenerate the hash-pinned requirement locks from pyproject.toml (`make lock-python`).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

compile() {
    local out=requirements/$1
    shift
    say "$out"
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --custom-compile-command "make lock-python" --output-file "$out" "$@"
}

compile controller.lock pyproject.toml
compile dev.lock pyproject.toml --group dev
compile health_app.lock --group health_app
compile pip.lock --group pip
compile bugsink.lock --group bugsink
compile mitogen.lock --group mitogen
compile collections.lock --group collections --no-deps
