#!/bin/bash
# SPDX-License-Identifier: MIT
#
# check-docs.sh MPVTRACE - do README, man page, completion and help name the same
# commands, options, views, formats and exit statuses? All but README are printed
# from the program's own tables; README is written by hand.
set -u
cd "$(dirname "$0")/.." || exit 1

mpvtrace=${1:?usage: check-docs.sh MPVTRACE}
bad=0
complain() { echo "$*" >&2; bad=1; }

# has TEXT WORD: is WORD in it, as a word?
has() { grep -qE -- "(^|[^[:alnum:]-])$2($|[^[:alnum:]-])" <<<"$1"; }

readme=$(cat README.md)
completion=$("$mpvtrace" completion)
# Roff's escapes undone.
man=$("$mpvtrace" man | sed 's/\\-/-/g; s/\\f[A-Z]//g')
overview=$("$mpvtrace" --help)
formats=$("$mpvtrace" help export)

commands=$(sed -n "s/^[[:space:]]*local commands='\(.*\)'$/\1/p" <<<"$completion")
[ "$commands" ] || complain 'completion: no list of commands'

options=''
for command in $commands; do
	has "$overview" "$command" || complain "--help: no command $command"
	has "$man" "mpvtrace $command" || complain "man page: no command $command"
	has "$readme" "mpvtrace $command" || complain "README.md: no command $command"
	help=$("$mpvtrace" help "$command") || complain "help $command fails"
	own=$(sed -nE 's/^  (-[a-zA-Z], |    )(--[a-z-]+).*/\2/p' <<<"$help")
	options="$options $own"
	for option in $own; do
		has "$man" "$option" || complain "man page: $command has $option"
		has "$completion" "$option" || complain "completion: $command has $option"
		has "$readme" "$option" || complain "README.md: $command has $option"
	done
done

# What README says of mpvtrace must exist: the options of lines that call it (up to
# the command recorded), and those in the first column of tables.
claimed=$( { grep -E '^ +(sudo )?mpvtrace ' README.md | sed -E 's/ -- .*| --[ab] .*|\|.*|#.*//; s/^(.* run .*(make|program)).*/\1/'
	sed -nE 's/^\| (`-[^|]*(\\\|[^|]*)*) \|.*/\1/p' README.md; } | grep -oE -- '--[a-z][a-z-]*' | sort -u)
for option in $claimed; do
	has "$options" "$option" || complain "README.md: no command has $option"
done

for status in $("$mpvtrace" help exit-status | sed -nE 's/^ *([0-9]+) .*/\1/p'); do
	[ "$status" = 0 ] || has "$readme" "$status" || complain "README.md: no exit status $status"
	has "$man" "$status" || complain "man page: no exit status $status"
done

# Views and formats: --view and --format say which there are when asked for another.
words() { "$mpvtrace" export "--$1" '?' 2>&1 | sed -n 's/.*is not one of \([^;]*\).*/\1/p' | tr -d ,; }
for word in $(words view) $(words format); do
	has "$formats" "$word" || complain "help export: no $word"
	has "$man" "$word" || complain "man page: no $word"
	has "$readme" "$word" || complain "README.md: no view or format $word"
done
[ "$(words view)" ] || complain 'export --view: no list of views'

# Every library that the program is linked with has a row in README's table.
libs=$(sed -n 's/^LIBS *:= *//p' Makefile)
for lib in $libs; do
	case $lib in
	-lm | -pthread) ;;
	-ldw | -lelf) has "$readme" libdw || complain "README.md: $lib" ;;
	-lz) has "$readme" zlib || complain "README.md: $lib" ;;
	*) grep -qE "^\| [^|]*\b(lib)?${lib#-l}\b" README.md || complain "README.md: why $lib?" ;;
	esac
done

# What a merge left behind.
left=$(grep -rnE '^(<<<<<<<|>>>>>>>) ' README.md Makefile src bpf include tests tools 2>/dev/null)
[ -z "$left" ] || complain "$left"
exit $bad
