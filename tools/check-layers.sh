#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-layers.sh - does every include point the allowed way?
#
#   cli -> collect -> { trace, symbol, python, unwind } -> base;  symbol -> unwind (golang.h)
#   cli -> report -> { analyze, symbol };  analyze -> locks -> model -> trace -> base
#
# A directory may include its own headers and those of the directories below it.
# collect and model never see each other. Only collect (and bpf) may use libbpf,
# only symbol libelf, libdw, liblzma and libiberty, only report jansson, only trace and symbol zlib.
# *_priv.h stays inside its directory.
set -eu
cd "$(dirname "$0")/.."

# What each directory may include from include/ (its own header among them).
allowed() {
	case $1 in
	base) echo 'base.h' ;;
	trace) echo 'base.h trace.h' ;;
	symbol) echo 'base.h trace.h symbol.h golang.h' ;;
	python) echo 'base.h mt_abi.h python.h' ;;
	model) echo 'base.h trace.h model.h' ;;
	locks) echo 'base.h runs.h trace.h model.h waits.h' ;;
	analyze) echo 'base.h runs.h trace.h model.h waits.h report.h compare.h symbol.h' ;;
	report) echo 'base.h trace.h model.h waits.h report.h compare.h symbol.h' ;;
	unwind) echo 'base.h unwind.h golang.h mt_flags.h mt_unwind.h' ;;
	collect) echo 'base.h trace.h symbol.h python.h unwind.h collect.h mt_abi.h mt_unwind.h' ;;
	cli) echo 'base.h trace.h model.h waits.h report.h compare.h symbol.h collect.h' ;;
	esac
}

# External libraries: pattern | directories that may.
libraries='bpf/|collect
linux/bpf|collect
libelf|symbol
gelf|symbol
elfutils/|symbol
libiberty/|symbol
lzma|symbol
jansson|report
zlib|trace symbol unwind
sys/capability|collect'

bad=0
complain() { echo "$1: $2" >&2; bad=1; }

for file in src/*/*.[ch]; do
	dir=$(basename "$(dirname "$file")")
	ok=$(allowed "$dir")
	[ "$ok" ] || complain "$file" "directory '$dir' has no row in check-layers.sh"
	# shellcheck disable=SC2013  # names without blanks
	for inc in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file"); do
		name=$(basename "$inc")
		if [ "$inc" != "$name" ]; then
			[ "$(dirname "$inc")" = "$dir" ] || complain "$file" "includes $inc of another directory"
		elif [ -e "include/$inc" ]; then
			case " $ok " in *" $inc "*) ;; *) complain "$file" "$dir may not include $inc" ;; esac
		elif [ ! -e "src/$dir/$inc" ] && [ "$inc" != mpvtrace.skel.h ] && [ "$inc" != svg_assets.h ]; then
			complain "$file" "includes $inc, which is neither in include/ nor in src/$dir/"
		elif [ "$inc" = mpvtrace.skel.h ] && [ "$dir" != collect ]; then
			complain "$file" "only collect may use the BPF skeleton"
		fi
	done
	# shellcheck disable=SC2013  # names without blanks
	for inc in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*<\([^>]*\)>.*/\1/p' "$file"); do
		echo "$libraries" | while IFS='|' read -r prefix who; do
			case $inc in "$prefix"*)
				case " $who " in *" $dir "*) ;; *) echo "$file: only $who may use <$inc>" ;; esac ;;
			esac
		done
	done | grep . >&2 && bad=1
done

# A header stands by itself: it must compile alone.
for header in include/*.h; do
	[ "$header" != include/mt_abi.h ] || continue
	echo "#include \"$(basename "$header")\"" |
		"${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c - ||
		complain "$header" 'does not compile by itself'
done
exit $bad
