#!/bin/sh
# SPDX-License-Identifier: MIT
#
# setup.sh - install what is missing, and nothing else.
#
# usage: tools/setup.sh [-n] LEVEL...
#
#   build    compile mpvtrace
#   test     run the unit and live tests
#   check    the static checks of `make check`
#   bench    the tools that `make bench` compares with
#   tutorials  what the programs of `make tutorials` use
#   kernels  boot other kernels for `make test-kernels`
#   -n       only say what is missing (exit status 1 when something is)
#
# Debian and Ubuntu by apt-get, Fedora by dnf; as root, else through sudo. When
# nothing is missing it asks no package manager and ends within milliseconds.
set -eu

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# --- what each level needs: how to see it | Debian package | Fedora package -----
# cmd:NAME    a command on the path or in /usr/sbin
# inc:FILE    a header the C compiler finds; FILE,FILE: one of them
# py:MODULE   a module that /usr/bin/python3 imports
# pg:NAME     a program of PostgreSQL, on the path or where Debian keeps them
# bpftool     one that works: Ubuntu's is a wrapper that may find no real one
# A level that is only nice to have is marked with a leading "?": when the
# package manager does not offer the package, it is left out.
needs() {
	case $1 in
	build) cat <<-'EOF' ;;
		cmd:cc|gcc|gcc
		inc:stdio.h|libc6-dev|glibc-devel
		cmd:make|make|make
		cmd:clang|clang|clang
		bpftool|bpftool|bpftool
		inc:bpf/libbpf.h|libbpf-dev|libbpf-devel
		inc:libelf.h|libelf-dev|elfutils-libelf-devel
		inc:elfutils/libdw.h|libdw-dev|elfutils-devel
		inc:libiberty/demangle.h,demangle.h|libiberty-dev|binutils-devel
		inc:lzma.h|liblzma-dev|xz-devel
		inc:zlib.h|zlib1g-dev|zlib-devel
		inc:jansson.h|libjansson-dev|jansson-devel
		inc:sys/capability.h|libcap-dev|libcap-devel
	EOF
	test) needs build; cat <<-'EOF' ;;
		inc:criterion/criterion.h|libcriterion-dev|criterion-devel
		cmd:python3|python3|python3
		cmd:setpriv|util-linux|util-linux
		?cmd:gdb|gdb|gdb
		?cmd:musl-gcc|musl-tools|musl-gcc
		?cmd:chromium|chromium|chromium
	EOF
	demo) needs build; echo 'cmd:python3|python3|python3' ;;
	check) needs test; cat <<-'EOF' ;;
		cmd:cppcheck|cppcheck|cppcheck
		cmd:clang-format|clang-format|clang-tools-extra
		?cmd:shellcheck|shellcheck|ShellCheck
		?cmd:man|man-db|man-db
	EOF
	bench) needs build; cat <<-'EOF' ;;
		cmd:python3|python3|python3
		cmd:taskset|util-linux|util-linux
		?cmd:perf|linux-perf|perf
		?cmd:offcputime-bpfcc|bpfcc-tools|bcc-tools
	EOF
	tutorials) needs demo; cat <<-'EOF' ;;
		pg:initdb|postgresql|postgresql-server
		py:psycopg2|python3-psycopg2|python3-psycopg2
		py:numpy|python3-numpy|python3-numpy
	EOF
	kernels) needs test; cat <<-'EOF' ;;
		cmd:qemu-system-x86_64|qemu-system-x86|qemu-system-x86-core
		cmd:busybox|busybox-static|busybox
		cmd:cpio|cpio|cpio
		cmd:xz|xz-utils|xz
	EOF
	*) die "unknown level '$1' (build, test, demo, check, bench, tutorials, kernels)" ;;
	esac
}

have() {
	case $1 in
	cmd:*) PATH=$PATH:/usr/sbin:/sbin command -v "${1#cmd:}" >/dev/null 2>&1 ;;
	inc:*) for dir in /usr/include /usr/local/include /usr/include/*-linux-gnu; do
		for file in $(echo "${1#inc:}" | tr , ' '); do
			[ ! -e "$dir/$file" ] || return 0
		done
	       done
	       return 1 ;;
	py:*) /usr/bin/python3 -c "import ${1#py:}" >/dev/null 2>&1 ;;
	pg:*) have "cmd:${1#pg:}" && return
	      for file in /usr/lib/postgresql/*/bin/"${1#pg:}"; do
		[ ! -x "$file" ] || return 0
	      done
	      return 1 ;;
	bpftool) "$(dirname "$0")/find-bpftool.sh" >/dev/null 2>&1 ;;
	esac
}

# missing COLUMN LEVEL...: packages whose probe fails, "?" kept in front.
missing() {
	column=$1; shift
	for level; do needs "$level"; done | sort -u | while IFS='|' read -r probe deb rpm; do
		nice=''
		case $probe in '?'*) nice='?' probe=${probe#?} ;; esac
		have "$probe" && continue
		case $column in deb) echo "$nice$deb" ;; rpm) echo "$nice$rpm" ;; esac
	done | sort -u
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		die "not root and no sudo; run as root: $*"
	fi
}

# Ubuntu before 24.10 has no package of the name: bpftool and perf are in these.
ubuntu_names() {
	while read -r pkg; do
		case $pkg in
		bpftool) apt_has bpftool && echo bpftool || echo 'linux-tools-common linux-tools-generic' ;;
		'?linux-perf') apt_has linux-perf && echo '?linux-perf' ||
			echo 'linux-tools-common linux-tools-generic' ;;
		*) echo "$pkg" ;;
		esac
	done
}

# A package of that name with a version to install (not a mere mention).
apt_has() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'; }
dnf_has() { dnf -q list "$1" >/dev/null 2>&1; }

# offered HAS: from "pkg" and "?pkg" lines, those to ask for.
offered() {
	while read -r line; do
		for pkg in $line; do
			case $pkg in
			'?'*) if "$1" "${pkg#?}"; then echo "${pkg#?}"; else say "not offered here, left out: ${pkg#?}"; fi ;;
			*) echo "$pkg" ;;
			esac
		done
	done
}

install_apt() {
	say "missing: $(missing deb "$@" | tr '\n' ' ')"
	as_root apt-get -qq -o Acquire::Retries=3 update || say 'apt-get update failed; trying with what is known'
	pkgs=$(missing deb "$@" | ubuntu_names | offered apt_has)
	[ "$pkgs" ] || return 0
	# shellcheck disable=SC2086  # one word per package
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
		-o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install $pkgs >&2
}

install_dnf() {
	pkgs=$(missing rpm "$@" | offered dnf_has)
	say "missing: $(echo "$pkgs" | tr '\n' ' ')"
	[ "$pkgs" ] || return 0
	# shellcheck disable=SC2086
	as_root dnf -q -y install $pkgs >&2
}

dry=''
[ "${1-}" != -n ] || { dry=1; shift; }
[ $# -gt 0 ] || set -- build
for level; do needs "$level" >/dev/null; done	# a wrong name ends here, before any work

if [ "$dry" ]; then
	lacking=$(missing deb "$@")
	[ -z "$lacking" ] || { echo "$lacking"; exit 1; }
	exit 0
fi
# What is only nice to have is asked for once, together with something needed or
# when the level itself is asked for by name; it never makes set-up fail.
lacking=$(missing deb "$@")
[ "$lacking" ] || exit 0
marker=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/mpvtrace-setup
if ! echo "$lacking" | grep -qv '^?'; then
	[ "$(cat "$marker" 2>/dev/null)" != "$lacking" ] || exit 0	# asked before, not to be had
fi
if command -v apt-get >/dev/null 2>&1; then
	install_apt "$@"
elif command -v dnf >/dev/null 2>&1; then
	install_dnf "$@"
else
	die "neither apt-get nor dnf here; install by hand what these Debian packages hold:
$lacking"
fi
still=$(missing deb "$@")
{ mkdir -p "$(dirname "$marker")" && echo "$still" >"$marker"; } 2>/dev/null || :
if echo "$still" | grep -q '^[^?]'; then
	die "still missing: $(echo "$still" | grep -v '^?' | tr '\n' ' ')"
fi
