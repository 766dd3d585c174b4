#!/usr/bin/env bash
# Writes requirements/*.txt from pyproject.toml: every file with versions and hashes, and without
# the address of any index, so that a lock made here installs from whatever index is set up there.
#   lock.sh UV              keep the locked versions that still fit
#   lock.sh UV --upgrade    take the newest
#   lock.sh UV --check      write nothing, fail where a lock no longer answers pyproject.toml
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$1 mode=${2:-}

out=requirements
if [ "$mode" = --check ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
    cp requirements/*.txt "$out"
fi

lock() {
    local name=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
        ${upgrade:-} -o "$out/$name.txt" "$@"
}

[ "$mode" != --upgrade ] || upgrade=--upgrade
lock dev pyproject.toml --extra all --group dev
lock demo pyproject.toml --extra cli -c "$out/dev.txt"
lock aws pyproject.toml --extra aws -c "$out/dev.txt"
# The oldest Python with the oldest direct dependencies that pyproject.toml promises to work with.
lock floor pyproject.toml --extra all --group test --resolution lowest-direct
lock sam requirements/sam.in
lock uv requirements/uv.in

[ "$mode" != --check ] || diff -ru requirements "$out" --exclude='*.in' ||
    { echo "requirements/ does not answer pyproject.toml: run 'make lock'" >&2; exit 1; }
