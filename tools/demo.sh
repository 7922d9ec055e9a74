#!/bin/sh
# SPDX-License-Identifier: MIT
#
# demo.sh [BUILD] - record one CPython program twice, once with threads and once
# with processes, and print both reports. Recording needs root: asks sudo for it.
set -eu

build=$(realpath "${1:-build}")
cd "$(dirname "$0")/.."
# The interpreter itself: python3 may be a script that looks for it.
python=$(python3 -c 'import sys; print(sys.executable)')
# The traces stay: what the reports propose next is to be tried on them.
traces=$build/demo
mkdir -p "$traces"

root=''
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null 2>&1 || { echo "demo: recording needs root, and there is no sudo" >&2; exit 3; }
	root=sudo
fi

record() {
	$root "$build/mpvtrace" run -f -o "$traces/$1.mpv" -- \
		"$python" tests/workloads/demo.py --mode "$1" --workers 4
}

status=0
record threads || status=$?
printf '\n%s\n\n' '--------------------------------------------------------------------------------'
record processes || status=$?
exit "$status"
