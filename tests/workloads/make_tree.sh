#!/bin/sh
# SPDX-License-Identifier: MIT
#
# make_tree.sh DIR [FILES] - write a small C program of so many files (24) and its Makefile,
# to be built by `make -j2 -C DIR`.
set -eu

dir=$1
files=${2:-24}
mkdir -p "$dir"
i=0
calls='' decls=''
while [ "$i" -lt "$files" ]; do
	cat >"$dir/part$i.c" <<-EOF
		#include <stdio.h>
		#include <stdlib.h>
		#include <string.h>
		static int compare(const void *a, const void *b)
		{
			return *(const int *)a - *(const int *)b;
		}
		int part$i(int seed)
		{
			int v[64], sum = 0;
			char text[128];
			for (int j = 0; j < 64; j++)
				v[j] = (seed * 1103515245 + j * 12345 + $i) & 0xffff;
			qsort(v, 64, sizeof(v[0]), compare);
			for (int j = 0; j < 64; j++) {
				snprintf(text, sizeof(text), "%d-%d", j, v[j]);
				sum += (int)strlen(text) * (j % 7);
			}
			return sum;
		}
	EOF
	decls="$decls int part$i(int);" calls="$calls sum += part$i(sum);"
	i=$((i + 1))
done
cat >"$dir/main.c" <<EOF
#include <stdio.h>
$decls
int main(void)
{
	int sum = 1;
	$calls
	return printf("%d", sum) < 0;
}
EOF
cat >"$dir/Makefile" <<'EOF'
SRC := $(wildcard *.c)
program: $(SRC:.c=.o)
	cc -o $@ $^
%.o: %.c
	cc -O2 -c -o $@ $<
EOF
