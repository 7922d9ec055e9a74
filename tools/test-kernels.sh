#!/bin/bash
# SPDX-License-Identifier: MIT
#
# test-kernels.sh [BUILD] - the live tests under other kernels, in QEMU: Debian's 6.1 and
# 6.12, or those named in KERNELS. It needs a script that boots them (VMTEST, default
# ../shared/vmtest.sh); without it, it says so and skips. Emulation is slow, so some minutes.
#
# The last line is "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 1

build=${1:-build}
vmtest=${VMTEST:-../shared/vmtest.sh}
kernels=${KERNELS:-6.1 6.12}

if [ ! -x "$vmtest" ]; then
	echo "SKIPPED: no script to boot other kernels at $vmtest (set VMTEST)"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
tools/setup.sh kernels || exit 1
make --no-print-directory -s B="$build" all live-bins || exit 1

mapfile -t live < <(printf '%s\n' tests/live/test_*.c | sed "s,^\(.*\)\.c\$,$build/\1,")
args=()
for bin in "${live[@]}"; do args+=(-l "$bin"); done

# One host thread for all virtual CPUs: with several, QEMU 7 loses guest timers for minutes.
export VMTEST_ACCEL=${VMTEST_ACCEL:-tcg,thread=single,tb-size=512}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
for kernel in $kernels; do
	echo "=== kernel $kernel"
	"$vmtest" -k "$kernel" -t "${VMTEST_SECONDS:-1500}" -m 3072 -e TEST_TIMEOUT=900 -e TEST_FILTER \
		-e MT_SLOW_MACHINE=1 -- tools/run-tests.sh "${args[@]}" 2>&1 | tee "$log.one"
	rc=${PIPESTATUS[0]}
	# A guest that died has no summary: one failure.
	grep -qE '^[0-9]+ passed, ' "$log.one" || echo '0 passed, 1 failed, 0 skipped' >>"$log.one"
	[ "$rc" = 0 ] || status=1
	cat "$log.one" >>"$log"
	rm -f "$log.one"
done
awk '/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p += $1; f += $3; s += $5 }
	END { printf "%d passed, %d failed, %d skipped\n", p, f, s }' "$log"
exit $status
