#!/bin/bash
# SPDX-License-Identifier: MIT
#
# check.sh [BUILD] - the static checks, and the unit tests under sanitizers. Each
# step says ok, FAILED with its output, or skipped with the reason. The last line
# is "N passed, N failed, N skipped", in steps.
set -u
cd "$(dirname "$0")/.." || exit 1

build=${1:-build}
jobs=$(nproc 2>/dev/null || echo 2)
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

step() {
	local name=$1 t0=$SECONDS
	shift
	if "$@" >"$out" 2>&1; then
		passed=$((passed + 1))
		printf 'ok       %s (%d s)\n' "$name" $((SECONDS - t0))
	else
		failed=$((failed + 1))
		printf 'FAILED   %s\n' "$name"
		tail -n 200 "$out"
	fi
}

skip() {
	skipped=$((skipped + 1))
	printf 'skipped  %s: %s\n' "$1" "$2"
}

# step_if COMMAND NAME CMD...: only when COMMAND is installed.
step_if() {
	local tool=$1
	shift
	if command -v "$tool" >/dev/null 2>&1; then
		step "$@"
	else
		skip "$1" "no $tool here (tools/setup.sh check)"
	fi
}

sources() { git ls-files -- "$@" 2>/dev/null || find "$@" -type f; }

# Everything, quietly; what went wrong is in $out. -k: all of it at once.
compiles() {
	make --no-print-directory -s -k -j"$jobs" B="$build" CC="${CC:-cc}" CFLAGS='-O2 -g' all unit-bins live-bins \
		tools-bins
}

lint() {
	cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr --max-configs=1 -j "$jobs" \
		--enable=warning,performance,portability --suppressions-list=.ci/cppcheck.txt \
		-D__x86_64__ -D_GNU_SOURCE -DMT_VERSION='"check"' \
		'-DLIBBPF_OPTS(type,name,...)=struct type name = {__VA_ARGS__}' -Iinclude -Isrc src
}

formatted() {
	local files
	mapfile -t files < <(sources src bpf include tests tools | grep -E '\.[ch]$' |
		grep -E -v -f <(grep -v '^#' .ci/unformatted.txt))
	clang-format --dry-run -Werror "${files[@]}"
}

sanitized() {
	local san='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
	local b=$build/sanitized units
	# A third less to compile than with -O1 -g everywhere, for the same messages.
	make --no-print-directory -s -j"$jobs" B="$b" CFLAGS="-O1 -g1 -fno-omit-frame-pointer $san" \
		TEST_CFLAGS=-O0 LDFLAGS="$san" unit-bins || return 1
	mapfile -t units < <(sources tests/unit | sed -n "s,^tests/unit/\(test_.*\)\.c\$,$b/tests/unit/\1,p")
	ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:abort_on_error=0 \
		LSAN_OPTIONS=suppressions=$PWD/.ci/lsan.txt:print_suppressions=0 \
		UBSAN_OPTIONS=print_stacktrace=1 tools/run-tests.sh "${units[@]}"
}

scripts() {
	local files
	mapfile -t files < <(sources tools tests | grep '\.sh$')
	shellcheck .ci/run "${files[@]}"
}

pythons() {
	local files
	mapfile -t files < <(sources tools tests | grep '\.py$')
	python3 - "${files[@]}" <<-'EOF'
		import ast, sys
		for name in sys.argv[1:]:
		    ast.parse(open(name, encoding="utf-8").read(), name)
	EOF
}

licences() {
	local bad
	bad=$(sources src bpf include tests tools .ci | grep -E '\.([ch]|sh|py)$' |
		xargs grep -L 'SPDX-License-Identifier: MIT')
	[ -z "$bad" ] || { echo "no SPDX line: $bad"; return 1; }
}

man_page() {
	make --no-print-directory "$build/mpvtrace" && "$build/mpvtrace" man >"$out.man" &&
		man --warnings -l -E UTF-8 -Tutf8 "$out.man" 2>"$out.warn" >/dev/null
	cat "$out.warn"
	[ ! -s "$out.warn" ]
	local status=$?
	rm -f "$out.man" "$out.warn"
	return $status
}

clang_warns() { make --no-print-directory -s B="$build" CC=clang warnings; }

# The ordinary build is there already after `make test`.
step 'builds, warnings as errors' compiles
step "clang's warnings as errors" clang_warns
step 'stack of the BPF programs' tools/bpf-stack.py "$build/mpvtrace.bpf.o"
step 'include direction' tools/check-layers.sh
step 'licence lines' licences
step_if cppcheck 'cppcheck' lint
step_if clang-format 'formatting' formatted
step_if shellcheck 'shell scripts' scripts
step 'Python files' pythons
step_if man 'man page' man_page
step 'README, man page, completion and help agree' tools/check-docs.sh "$build/mpvtrace"
step 'unit tests under ASan and UBSan' sanitized

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
