#!/usr/bin/env bash
# Installs the locked uv into an environment of its own:  bootstrap-uv.sh FOLDER LOCKFILE
set -euo pipefail
folder=$1 lock=$2
python=$("$(dirname "$0")/find-python.sh")

echo "setting up $folder ($python)"
"$python" -m venv --clear "$folder" || {
    echo "$python cannot make an environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
}
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
