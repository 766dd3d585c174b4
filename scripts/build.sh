#!/usr/bin/env bash
# Builds sdist and wheel into dist/, then imports the wheel in an environment that holds only it:
#   build.sh UV
set -euo pipefail
uv=$1
clean=$(mktemp -d)
trap 'rm -rf "$clean"' EXIT
python=$("$(dirname "$0")/find-python.sh")

rm -rf dist
"$uv" build --quiet --python "$python" --out-dir dist
"$uv" venv --quiet --python "$python" "$clean/env"
"$uv" pip install --quiet --python "$clean/env/bin/python" dist/*.whl
cd "$clean"
env/bin/python - <<'PROGRAM'
from importlib.metadata import version
from importlib.resources import files

import queue_runtime

missing = [name for name in queue_runtime.__all__ if not hasattr(queue_runtime, name)]
assert not missing, f"the wheel does not give {missing}"
assert files(queue_runtime).joinpath("py.typed").is_file(), "the wheel has no py.typed"
print(f"queue-runtime {version('queue-runtime')}: the wheel imports with {len(queue_runtime.__all__)} names")
PROGRAM
