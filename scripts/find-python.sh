#!/usr/bin/env bash
# Prints the path of an interpreter that really runs:
#   find-python.sh 3.11     that version, or nothing and exit 1
#   find-python.sh          3.13 (the version of the Lambda runtime), else the newest of 3.11 or later
set -u

# A version manager's shim can stand on PATH and still refuse to run, so each candidate is run.
real_path() {
    "$1" -c "import sys; sys.version_info[:2] == tuple(map(int, '$2'.split('.'))) or sys.exit(1)
print(sys.executable)" 2>/dev/null
}

find_version() {
    local version=$1 candidate
    for candidate in "python$version" python3 \
        "$(pyenv root 2>/dev/null)"/versions/"$version"*/bin/python \
        "$(dirname "$0")/../.tools/python-newest/root/usr/bin/python$version"; do
        real_path "$candidate" "$version" && return 0
    done
    return 1
}

for version in ${1:-3.13 3.15 3.14 3.12 3.11}; do
    find_version "$version" && exit 0
done
echo "no Python ${1:-3.11 or later} was found on PATH or under pyenv: install one and run again" >&2
exit 1
