/* SPDX-License-Identifier: MIT */
/* complete.h: records a program and looks how many of its waits have their whole stack. */
#ifndef MT_LIVE_COMPLETE_H
#define MT_LIVE_COMPLETE_H

#include "live.h"
#include "pyframes.h"
#include "uframes.h"

static inline bool has_tables(void)
{
#if defined(__x86_64__)
	return true;
#else
	return false;
#endif
}

static inline struct model *recorded(const char *const *opts, const char *const *cmd)
{
	const char *args[48] = {mpvtrace(), "run", "-f", "-o", "t.mpv"};
	size_t n = 5;
	struct model *m;
	struct proc p;

	for (; *opts; opts++)
		args[n++] = *opts;
	args[n++] = "--";
	for (; *cmd && n < 47; cmd++)
		args[n++] = *cmd;
	p = run(args);
	cr_assert_eq(p.status, 0, "%s: status %d; stderr:\n%s", args[n - 1], p.status, p.err);
	m = pyframes_load("t.mpv");
	cr_assert(m);
	return m;
}

/* So many percent of the waits have their whole stack; at least one has more than `deep` frames. */
static inline void check_share(const char *const *opts, const char *const *cmd, unsigned percent,
                               unsigned deep)
{
	struct model *m = NULL;
	struct uframes_count c = {0};

	if (!has_tables())
		cr_skip_test("no tables on this machine");
	/* Of a program whose files have to be read from disk, each library is waited for before its
	 * table is there; not all of these stacks can be finished, and of a short recording they
	 * can be more than one in a hundred. The second time the files are in memory. */
	for (unsigned i = 0; i < 3 && (!m || c.complete * 100 < c.waits * percent); i++) {
		if (m)
			pyframes_free(m);
		m = recorded(opts, cmd);
		c = uframes_count(m, deep);
	}
	cr_expect_geq(c.waits, 5, "%s: only %lu waits have a stack", cmd[0],
	              (unsigned long)c.waits);
	cr_expect_geq(c.complete * 100, c.waits * percent,
	              "%s: %lu of %lu waits have a whole stack", cmd[0], (unsigned long)c.complete,
	              (unsigned long)c.waits);
	cr_expect(c.deep, "%s: no stack of more than %u frames", cmd[0], deep);
	pyframes_free(m);
}

static inline void check_complete(const char *const *opts, const char *const *cmd, unsigned deep)
{
	check_share(opts, cmd, 99, deep);
}

#endif
