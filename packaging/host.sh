#!/bin/sh
# host.sh install|uninstall PREFIX: what belongs to a venv at PREFIX elsewhere on the machine, below $DESTDIR.
set -eu
prefix=$2 root=${DESTDIR:-}
here=$(dirname "$0")/..
units=$root/usr/local/lib/systemd/system

# copy MODE SOURCE TARGET: with the paths of this installation.
copy() {
    mkdir -p "$(dirname "$3")"
    sed "s|/opt/smartgate|$prefix|g" "$2" >"$3"
    chmod "$1" "$3"
}

# keep MODE SOURCE TARGET: only where there is none; it is the administrator's from then on.
keep() { [ -e "$3" ] || copy "$@"; }

case $1 in
install)
    # Whoever runs the gateway may not write here, and would compile at each start.
    "$root$prefix/bin/python3" -m compileall -q -s "$root$prefix" -p "$prefix" "$root$prefix/lib"
    for unit in "$here"/systemd/*.service "$here"/systemd/*.socket; do
        copy 644 "$unit" "$units/$(basename "$unit")"
    done
    copy 644 "$here/systemd/smartgate.sysusers" "$root/usr/local/lib/sysusers.d/smartgate.conf"
    copy 644 "$here/systemd/smartgate.tmpfiles" "$root/usr/local/lib/tmpfiles.d/smartgate.conf"
    copy 644 "$here/packaging/smartgate.8" "$root/usr/local/share/man/man8/smartgate.8"
    keep 644 "$here/systemd/smartgate.logrotate" "$root/etc/logrotate.d/smartgate"
    keep 644 "$here/etc/smartgate.toml" "$root/etc/smartgate/smartgate.toml"
    keep 600 "$here/packaging/smartgate.default" "$root/etc/default/smartgate"
    mkdir -p "$root/usr/local/bin"
    ln -sfn "$prefix/bin/smartgate" "$root/usr/local/bin/smartgate"
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        systemd-sysusers smartgate.conf
        systemd-tmpfiles --create smartgate.conf
        systemctl daemon-reload
    fi
    ;;
uninstall)
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        systemctl disable --now smartgate.service smartgate.socket || true
        systemctl stop 'smartgate@*.service' || true
    fi
    rm -rf "$root$prefix" "$units"/smartgate.* "$units"/smartgate@.* "$root"/etc/systemd/system/*.wants/smartgate@*.service
    rm -f "$root/usr/local/bin/smartgate" "$root/usr/local/share/man/man8/smartgate.8" "$root/etc/logrotate.d/smartgate" \
        "$root/usr/local/lib/sysusers.d/smartgate.conf" "$root/usr/local/lib/tmpfiles.d/smartgate.conf"
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
    echo "left as they are: $root/etc/smartgate, $root/etc/default/smartgate, $root/var/log/smartgate and the user smartgate"
    ;;
esac
