#!/bin/sh
# Fetch Debian's riscv64 packages, with what they depend on, and unpack them below TARGETDIR/root: a folder for
# `vmjit run -L`. Prints its path. Works on Debian machines, without root: apt runs on lists of its own below TARGETDIR,
# from the mirror this machine uses; a second call keeps what is there. No package's scripts run.
# `python3-testsuite` is the tests of the Python that python3 is; the package's name has its version.
# usage: fetch_debian.sh TARGETDIR PACKAGE ...
set -eu

target=${1:?usage: fetch_debian.sh TARGETDIR PACKAGE ...}
shift
mkdir -p "$target/etc/apt/apt.conf.d" "$target/etc/apt/preferences.d" "$target/state/lists/partial" \
    "$target/cache/archives/partial"
target=$(cd "$target" && pwd)
packages="$*"
wanted=$packages
if [ "$(cat "$target/fetched" 2>/dev/null)" = "$wanted" ]; then
    echo "$target/root"
    exit 0
fi

mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n -e 's/^URIs:[[:space:]]*//p' -e 's/^deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}//p' |
    tr ' ' '\n' | grep -E '^[a-z+]+:.*/debian/?$' | head -n 1)
[ -n "$mirror" ] || { echo "no Debian mirror in this machine's apt sources" >&2; exit 1; }

echo "deb [arch=riscv64 trusted=yes] $mirror sid main" >"$target/etc/apt/sources.list"
touch "$target/state/status"
set -- -qq -o Dir="$target" -o Dir::State="$target/state" -o Dir::Cache="$target/cache" -o Dir::Etc="$target/etc/apt" \
    -o Dir::State::status="$target/state/status" -o APT::Architecture=riscv64 -o APT::Architectures=riscv64 \
    -o APT::Sandbox::User=root -o Acquire::Languages=none
apt-get "$@" update >&2
apt-get "$@" autoclean >&2
version=$(apt-cache "$@" depends python3 | sed -n 's/^ *Depends: \(python3\.[0-9]*\)$/\1/p')
packages=$(echo "$packages" | sed "s/python3-testsuite/lib$version-testsuite/")
# No package counts as installed, so apt chooses everything that these need.
# shellcheck disable=SC2086
apt-get "$@" install --yes --download-only --no-install-recommends $packages >&2
rm -rf "$target/root"
mkdir -p "$target/root/usr"
for name in bin sbin lib; do
    mkdir "$target/root/usr/$name"
    ln -s "usr/$name" "$target/root/$name"
done
for package in "$target"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$target/root" --keep-directory-symlink --no-same-owner
done
echo "$wanted" >"$target/fetched"
echo "$target/root"
