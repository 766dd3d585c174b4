#!/usr/bin/env bash
# Installs system packages whose command is missing:  system-packages.sh COMMAND:PACKAGE ...
# Where there is no apt-get or no right to use it, says what to install and goes on: the tests that
# need a command say so themselves.
set -euo pipefail

missing=()
for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "system packages: nothing to install"
    exit 0
fi

as_root=
[ "$(id -u)" -eq 0 ] || as_root=$(command -v sudo || echo none)
if ! command -v apt-get >/dev/null || [ "$as_root" = none ]; then
    echo "system packages: please install ${missing[*]} (no apt-get, or no right to use it)" >&2
    exit 0
fi
echo "system packages: installing ${missing[*]}"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${missing[@]}"
