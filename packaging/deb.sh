#!/bin/sh
# deb.sh WHEELS VERSION TARGET: the Debian package of this tree, for the Python and the architecture of this machine.
set -eu
for tool in dpkg-buildpackage dh; do
    command -v "$tool" >/dev/null || { echo "make deb needs $tool: apt install build-essential debhelper" >&2; exit 1; }
done
wheels=$(realpath "$1") version=$2 target=$3
tree=build/deb/smartgate-$version

rm -rf build/deb
mkdir -p "$tree" "$target"
cp -r packaging systemd etc CHANGELOG.md "$tree"
cp -r packaging/debian "$tree/debian"
# The date of what is packaged, so that the same commit makes the same package.
when=$(date -uR -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
cat >"$tree/debian/changelog" <<EOF
smartgate ($version) stable; urgency=medium

  * What is new stands in /usr/share/doc/smartgate/changelog.gz.

 -- $(sed -n 's/^Maintainer: //p' packaging/debian/control)  $when
EOF
(cd "$tree" && WHEELS=$wheels dpkg-buildpackage --build=binary --no-sign) >build/deb/log 2>&1 || { tail -40 build/deb/log >&2; exit 1; }
cp build/deb/smartgate_*.deb "$target"
echo "$target/$(basename build/deb/smartgate_*.deb)"
