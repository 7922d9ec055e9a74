/* SPDX-License-Identifier: MIT */
/* Which line of /proc/PID/maps an address lies in. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "collect/collect_priv.h"

static const char maps[] =
        "55d0c0a00000-55d0c0a21000 r-xp 00002000 08:01 131 /usr/bin/app\n"
        "7f1200000000-7f1200002000 rw-s 00010000 fd:1f 4294967299   /dev/shm/a file (deleted)\n"
        "7f1200002000-7f1200003000 rw-p 00000000 00:00 0 \n"
        "damaged line\n"
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]";

static bool path_is(const struct mapping *m, const char *path)
{
	return m->path_n == strlen(path) && !memcmp(m->path, path, m->path_n);
}

Test(mappings, by_address)
{
	struct mapping m;

	cr_assert_eq(maps_find(maps, 0x7f1200001fff, &m), 0);
	cr_expect_eq(m.start, 0x7f1200000000);
	cr_expect_eq(m.end, 0x7f1200002000);
	cr_expect_eq(m.offset, 0x10000);
	cr_expect_eq(m.dev, 0xfd << 20 | 0x1f);
	cr_expect_eq(m.inode, 4294967299);
	cr_expect(m.shared);
	cr_expect(path_is(&m, "/dev/shm/a file (deleted)"));
	cr_assert_eq(maps_find(maps, 0x7f1200002000, &m), 0);
	cr_expect(!m.shared && path_is(&m, ""));
	cr_assert_eq(maps_find(maps, 0xffffffffff600fff, &m), 0);
	cr_expect(path_is(&m, "[vsyscall]"));
	cr_expect_neq(maps_find(maps, 0x7f1200003000, &m), 0);
	cr_expect_neq(maps_find("", 0, &m), 0);
}

/* A process may have 65,530. Takes longer than the test may when each line is read to the end of
 * the text. */
Test(mappings, of_many, .timeout = 30)
{
	enum { N = 60000, LINE = 96 };
	char *text = malloc((size_t)N * LINE), *p = text;
	uint64_t base = 0x7f0000000000;
	struct mapping m;

	cr_assert(text);
	for (unsigned i = 0; i < N; i++)
		p += sprintf(p, "%llx-%llx rw-s 00000000 00:01 %u   /dev/shm/x%u (deleted)\n",
		             (unsigned long long)(base + i * 0x2000ull),
		             (unsigned long long)(base + i * 0x2000ull + 0x1000), i + 1, i);
	cr_assert_eq(maps_find(text, base + (N - 1) * 0x2000ull, &m), 0);
	cr_expect_eq(m.inode, N);
	free(text);
}
