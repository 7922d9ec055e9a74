#!/bin/sh
# SPDX-License-Identifier: MIT
#
# find-bpftool.sh - print the path of a bpftool that works.
#
# /usr/sbin is often not on a user's path, and Ubuntu's /usr/sbin/bpftool is a
# wrapper that refuses unless the tools of the very kernel that runs are there,
# though any version can do what the build needs.
for tool in "$(command -v bpftool 2>/dev/null)" /usr/sbin/bpftool /usr/local/sbin/bpftool \
	/usr/lib/linux-tools/*/bpftool /usr/lib/linux-tools-*/bpftool; do
	if [ -x "$tool" ] && "$tool" version >/dev/null 2>&1; then
		echo "$tool"
		exit 0
	fi
done
echo bpftool
exit 1
