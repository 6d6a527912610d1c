#!/bin/sh
# venv.sh WHEELS PLACE [FINAL]: the tree that every package carries: a venv that runs at FINAL (else at PLACE), made at
# PLACE of nothing but the lock's wheels and the gateway's own. PYTHON is what it runs with.
set -eu
wheels=$1 place=$2 final=${3:-$2} python=${PYTHON:-python3}
here=$(dirname "$0")
new=$place.new

rm -rf "$new"
"$python" -m venv "$new"
pip() { "$new/bin/python" -m pip --disable-pip-version-check -q "$@"; }
quiet="--no-index --no-compile --root-user-action=ignore"
# shellcheck disable=SC2086
{
    pip install $quiet --require-hashes --no-deps --find-links "$wheels" -r "$here/requirements.lock"
    pip install $quiet --no-deps --find-links "$wheels" smartgate
}
pip check
pip uninstall -y --root-user-action=ignore setuptools pip

# What nobody runs: the packages' own tests, news, compilers and stubs, and all commands but two.
find "$new/lib" -depth -type d \( -name test -o -name tests -o -name newsfragments -o -name _flatc \) -exec rm -rf {} +
find "$new/lib" -type f -name '*.pyi' -delete
find "$new/bin" ! -type d ! -name 'python*' ! -name twistd ! -name smartgate -delete
# What is known of commands depends on where this was made: the same commit is to make the same tree.
find "$new/lib" -path '*.dist-info/RECORD' -exec sed -i '\|^\.\./\.\./\.\./bin/|d' {} +
rm -rf "$new/share" "$new/include" "$new/lib64"

# Twisted writes down once which plugins there are, and again when one is not older than that; who runs the gateway may
# not write there, and a package has the same date for all of its files.
find "$new/lib" -path '*/twisted/plugins/*.py' -exec touch -d '2020-01-01 UTC' {} +
"$new/bin/python" -B -c 'import gateway.cli, gateway.tap
from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
find "$new/lib" -depth -type d -name __pycache__ -exec rm -rf {} +
find "$new/lib" -type f ! -name '*.so*' -exec chmod a-x {} +

# Where the path here is too long for the kernel, pip lets commands begin as a shell's, with two lines more.
sed -i -e "1s|^#!.*|#!$final/bin/python3|" -e "/^'''exec' /d" -e "/^' '''\$/d" "$new/bin/twistd" "$new/bin/smartgate"
sed -i '/^command = /d' "$new/pyvenv.cfg"

# Two renames, so that what runs meanwhile finds the whole old tree or the whole new one, but for the moment between.
rm -rf "$place.old"
if [ -e "$place" ]; then mv "$place" "$place.old"; fi
mv "$new" "$place"
rm -rf "$place.old"
