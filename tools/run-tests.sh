#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run-tests.sh [-l LIVE_BINARY]... UNIT_BINARY... - run Criterion binaries and add
# up their results, with the seconds that each took. The last line, alone, is
# "N passed, N failed, N skipped". Unit tests run as many at a time as there are CPUs,
# live ones one by one.
#
# Live tests need root and BPF. As another user they run through sudo when it asks
# for no password; else they are skipped, with the reason.
#
# TEST_TIMEOUT   seconds that one binary may take (default 480)
# TEST_SLOW      tests that take as many seconds are told (default 8)
# TEST_FILTER    only tests whose suite/name matches this pattern
# TEST_RETRIES   how many failed live tests of a binary are tried again (default 4), each up to
#                twice, the second time after a pause: they are about CPUs that other programs and
#                the hypervisor may have for a while. What passes then is told. More of them than
#                that are no accident: none is tried again
set -u

limit=${TEST_TIMEOUT:-480} slow=${TEST_SLOW:-8}
jobs=$(nproc 2>/dev/null || echo 2)
passed=0 failed=0 skipped=0
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mpvtrace-tests.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

unit=() live=()
while [ $# -gt 0 ]; do
	case $1 in
	-l) live+=("$2"); shift 2 ;;
	*) unit+=("$1"); shift ;;
	esac
done

# count TAP STATUS NAME MS: adds one binary's results. A test that the plan promised
# and that has no line is failed, and so is a binary that never wrote its plan.
count() {
	local tap=$1 status=$2 name=$3 ms=$4 plan ok bad skip
	# What TEST_FILTER leaves out is not counted.
	sed -i '/^ok .*# SKIP test was skipped$/d' "$tap"
	[ -z "${TEST_FILTER-}" ] || sed -i '/^1\.\./d' "$tap"
	plan=$(sed -n '/^1\.\./{s///p;q}' "$tap" 2>/dev/null)
	skip=$(grep -c '^ok .*# SKIP' "$tap" 2>/dev/null)
	ok=$(($(grep -c '^ok ' "$tap" 2>/dev/null) - skip))
	bad=$(grep -c '^not ok ' "$tap" 2>/dev/null)
	[ -n "$plan" ] || [ -n "${TEST_FILTER-}" ] || plan=$((ok + bad + skip + 1))
	[ $((ok + bad + skip)) -ge "${plan:-0}" ] || bad=$((plan - ok - skip))
	[ "$status" = 0 ] || [ "$bad" -gt 0 ] || bad=1
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
	printf '%-44s %4d passed %4d failed %4d skipped %7s\n' "$name" "$ok" "$bad" "$skip" \
		"$((ms / 1000)).$((ms / 100 % 10)) s"
	sed -n 's/^ok - \(.*[^ ]\)  *(\([0-9]*\)\.[0-9]*s)$/\2 \1/p' "$tap" | sort -rn |
		while read -r secs test; do
			[ "$secs" -lt "$slow" ] || printf '  %3d s: %s\n' "$secs" "$test"
		done
	grep '^ok .*# SKIP' "$tap" | sed 's/^ok - /  skipped: /; s/ *# SKIP */: /'
	grep '^not ok ' "$tap" | sed 's/^not ok - /  FAILED: /'
	[ "$status" = 0 ] || [ "$bad" -gt 0 ] && [ "$status" -lt 2 ] || echo "  ended with status $status"
}

ms_now() { echo $((${EPOCHREALTIME/[^0-9]/} / 1000)); }

# run FILES COMMAND...: COMMAND must write its TAP to FILES.tap; what it says goes to FILES.out,
# its status and the milliseconds it took to FILES.ended.
run() {
	local files=$1 t0 status
	t0=$(ms_now)
	shift
	: >"$files.tap"
	timeout -k 10 "$limit" "$@" >"$files.out" 2>&1 </dev/null
	status=$?
	echo "$status $(($(ms_now) - t0))" >"$files.ended"
}

# told FILES NAME: what came of it.
told() {
	local status ms
	read -r status ms <"$1.ended" || status=1 ms=0
	[ "$status" = 0 ] || cat "$1.out"
	count "$1.tap" "$status" "$2" "$ms"
}

# once NAME COMMAND...: a failed test by itself; 0 when it passes now.
once() {
	local name=$1
	shift
	: >"$tap"
	timeout -k 10 "$limit" "$@" --filter "${name/:://}" >"$tmp/out" 2>&1 </dev/null &&
		grep "^ok - $name" "$tap" | grep -qv '# SKIP'
}

# again COMMAND...: the failed tests of the last run again.
again() {
	local names name try
	mapfile -t names < <(sed -n 's/^not ok - \([a-z0-9_]*::[a-z0-9_]*\).*/\1/p' "$tap")
	[ ${#names[@]} -le "${TEST_RETRIES:-4}" ] || return 0
	for name in ${names[@]+"${names[@]}"}; do
		for try in second third; do
			[ $try = second ] || sleep 10
			if once "$name" "$@"; then
				passed=$((passed + 1)) failed=$((failed - 1))
				echo "  passed at the $try try: $name"
				break
			fi
			cat "$tmp/out"
		done
	done
}

filter=()
[ -z "${TEST_FILTER-}" ] || filter=(--filter "$TEST_FILTER")

started=0
for bin in ${unit[@]+"${unit[@]}"}; do
	[ "$started" -lt "$jobs" ] || wait -n
	started=$((started + 1))
	files=$tmp/$(basename "$bin")
	run "$files" "$bin" --color=never "--tap=$files.tap" ${filter[@]+"${filter[@]}"} &
done
wait
for bin in ${unit[@]+"${unit[@]}"}; do
	told "$tmp/$(basename "$bin")" "$bin"
done

# why_not MPVTRACE: prints why the live tests cannot run here, or nothing.
as_root=()
why_not() {
	if [ "$(id -u)" != 0 ]; then
		if ! sudo -n true 2>/dev/null; then
			echo "not root (and sudo wants a password): run 'sudo make test-live'"
			return
		fi
		as_root=(sudo -n)
	fi
	local status=0
	timeout 60 ${as_root[@]+"${as_root[@]}"} "$1" check >"$tmp/check" 2>&1 </dev/null || status=$?
	# 3: a privilege is missing; 4: this kernel cannot record. A failure of its trial
	# recording is no reason to skip: the tests shall show it.
	grep -q 'trial recording' "$tmp/check" && status=0
	case $status in
	3 | 4) echo "mpvtrace check: $(grep -E '^(no|mpvtrace:)' "$tmp/check" | head -n 3 | tr '\n' ';')" ;;
	esac
}

if [ ${#live[@]} -gt 0 ]; then
	build=$(dirname "$(dirname "$(dirname "${live[0]}")")")
	why_not "$build/mpvtrace" >"$tmp/why"	# not in a subshell: it sets as_root
	why=$(cat "$tmp/why")
	for bin in "${live[@]}"; do
		files=$tmp/$(basename "$bin") tap=$files.tap
		if [ "$why" ]; then
			n=$("$bin" --list 2>/dev/null | grep -c '^[[:space:]]*├──\|^[[:space:]]*└──\|^[[:space:]]*[|\`]--')
			[ "$n" -gt 0 ] || n=1
			skipped=$((skipped + n))
			printf '%-44s %4d passed %4d failed %4d skipped\n' "$bin" 0 0 "$n"
			continue
		fi
		# One at a time: they look at what is loaded on the whole machine.
		command=(${as_root[@]+"${as_root[@]}"} env "MPVTRACE_BUILD=$build"
			"$bin" --color=never -j1 "--tap=$tap")
		run "$files" "${command[@]}" ${filter[@]+"${filter[@]}"}
		told "$files" "$bin"
		again "${command[@]}"
	done
	if [ "$why" ]; then
		echo
		echo "LIVE TESTS SKIPPED: $why"
		echo
	fi
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
