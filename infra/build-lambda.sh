#!/usr/bin/env bash
# Fills a folder with what a Lambda function is made of:
#   build-lambda.sh UV PYTHON MACHINE FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$1 version=$2 machine=$3 folder=${4:?"is set by sam build: run that"}

# Bytecode is good for one version of Python only, so it takes the interpreter of the runtime.
python=$(scripts/find-python.sh "$version")

mkdir -p "$folder"
# Wheels of Lambda's platform (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html),
# whatever this machine is. Copied, since hard links would let changes reach uv's cache.
"$uv" pip install --quiet --link-mode copy --target "$folder" \
    --python "$python" --python-platform "$machine-manylinux_2_28" --only-binary :all: \
    --require-hashes -r requirements/aws.txt
rm -rf "$folder/bin" "$folder/.lock"

for package in queue_runtime functions; do
    rm -rf "${folder:?}/$package"
    cp -R "$package" "$folder"
done
find "$folder" -name __pycache__ -prune -exec rm -rf {} +

# /var/task is read-only and a package's files have one date, so that only bytecode which is never
# compared with its source is used at all. It more than halves a cold start.
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$folder" -p /var/task "$folder"
