#!/usr/bin/env bash
# Makes an environment hold what its lock file says and nothing else:
#   make-env.sh UV FOLDER VERSION LOCKFILE [--with-project]
# VERSION is a Python version such as 3.11, or empty for the preferred one. Ends by touching
# FOLDER/.installed.
set -euo pipefail
uv=$1 folder=$2 version=$3 lock=$4 project=${5:-}

if [ ! -x "$folder/bin/python" ]; then
    python=$("$(dirname "$0")/find-python.sh" $version)
    echo "setting up $folder ($python)"
    "$uv" venv --quiet --clear --python "$python" "$folder"
fi
echo "installing $lock into $folder"
# --strict only warns: a failure of the sync itself is what stops here.
"$uv" pip sync --quiet --python "$folder/bin/python" --require-hashes "$lock"
if [ "$project" = --with-project ]; then
    "$uv" pip install --quiet --python "$folder/bin/python" --no-deps -e .
fi
touch "$folder/.installed"
