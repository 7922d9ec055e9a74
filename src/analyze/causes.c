/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "analyze_priv.h"
#include "capacity_priv.h"

const char *cause_key(enum cause c)
{
	static const char *const keys[] = {
#define X(NAME, key, text) key,
	        CAUSES(X)
#undef X
	};

	return (unsigned)c < CAUSE_N ? keys[c] : "unattributed";
}

const char *cause_text(enum cause c)
{
	static const char *const texts[] = {
#define X(NAME, key, text) text,
	        CAUSES(X)
#undef X
	};

	return (unsigned)c < CAUSE_N ? texts[c] : "unattributed";
}

int analyze_waits(struct report *r, struct err *err)
{
	if (!model_has_slices(r->m))
		return 0;
	r->w = waits_build(r->m, err);
	return r->w ? 0 : -ENOMEM;
}

static uint64_t capacity(uint64_t wall_ns, double cpus)
{
	double ns = floor((double)wall_ns * cpus + 1e-6);

	return ns < 1.8e19 ? (uint64_t)ns : UINT64_MAX;
}

static int fill(struct report *r, struct sweep *s)
{
	int err;

	spots_sort(s);
	err = breakdown_fill(r, s);
	if (!err)
		err = idle_fill(r, s);
	if (!err)
		err = shares_fill(r, s);
	if (!err)
		err = serial_fill(r, s);
	if (!err)
		err = verdict_fill(r, s);
	r->undisturbed_ns = (uint64_t)(s->undisturbed + 0.5);
	r->causes_known = !err;
	return err;
}

int analyze_causes(struct report *r, struct err *err)
{
	struct sweep s;
	int rc;

	(void)err;
	/* Without the number of CPUs there is no capacity to split. */
	if (!r->w || !(r->cpus > 0) || r->cpus > 1e6)
		return 0;
	r->capacity_ns = capacity(r->wall_ns, r->cpus);
	rc = sweep_run(&s, r->w, r->cpus);
	if (!rc)
		rc = fill(r, &s);
	sweep_release(&s);
	if (rc != -E2BIG)
		return rc;
	r->capacity_ns = 0;
	r->chains_too_long = true;
	return 0;
}
