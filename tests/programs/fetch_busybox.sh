#!/bin/sh
# Fetch Debian's static riscv64 busybox into TARGETDIR and print the path of the binary.
# Works on Debian machines, without root: apt runs on lists of its own below TARGETDIR, from the mirror this machine uses.
# usage: fetch_busybox.sh TARGETDIR
set -eu

target=${1:?usage: fetch_busybox.sh TARGETDIR}
mkdir -p "$target/etc/apt/apt.conf.d" "$target/etc/apt/preferences.d" "$target/state/lists/partial" "$target/cache/archives/partial"
target=$(cd "$target" && pwd)

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
cd "$target"
rm -f busybox-static_*.deb
apt-get "$@" download busybox-static >&2
dpkg -x busybox-static_*.deb "$target/root"
for path in "$target/root/usr/bin/busybox" "$target/root/bin/busybox"; do
    if [ -x "$path" ]; then
        echo "$path"
        exit 0
    fi
done
echo "the package holds no busybox" >&2
exit 1
