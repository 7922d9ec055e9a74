/* SPDX-License-Identifier: MIT */
/* CPU time that went into pickling. */
#include "report/text_priv.h"

#define FEW  3  /* samples: fewer are chance */
#define MANY 20 /* … and this many are not */
#define MUCH 3  /* one part in so many of what Python used is worth telling first */

static struct pickle_row sum_of(const struct report *r)
{
	struct pickle_row sum = {0};

	for (size_t i = 0; i < r->pickling.n; i++) {
		const struct pickle_row *p = &r->pickling.v[i];

		sum.samples = sat_add(sum.samples, p->samples);
		sum.dumps = sat_add(sum.dumps, p->dumps);
		sum.loads = sat_add(sum.loads, p->loads);
	}
	return sum;
}

void text_much_pickling(struct tx *t)
{
	struct pickle_row sum = sum_of(t->r);
	uint64_t both = sat_add(sum.dumps, sum.loads);
	char line[160], share[16];

	if (both < MANY || both < sum.samples / MUCH || t->o->task)
		return;
	snprintf(line, sizeof(line), "%s of Python's CPU time is pickling and unpickling.",
	         fmt_share(share, sizeof(share), both, sum.samples));
	tx_items(t, TX_PLAIN, NULL, line);
}

void text_pickling(struct tx *t)
{
	struct pickle_row sum = sum_of(t->r);
	uint64_t samples = sum.samples, dumps = sum.dumps, loads = sum.loads;
	char all[32], out[32], in[32], text[256], hits[32], count[48], share[16];

	if (sat_add(dumps, loads) < FEW || t->o->task)
		return;
	snprintf(text, sizeof(text),
	         "about %s of CPU, %s of what Python used\npickling %s, unpickling %s\nby %s of %s",
	         fmt_ns(all, sizeof(all), sat_mul(sat_add(dumps, loads), t->r->sample_ns)),
	         fmt_share(share, sizeof(share), sat_add(dumps, loads), samples),
	         fmt_ns(out, sizeof(out), sat_mul(dumps, t->r->sample_ns)),
	         fmt_ns(in, sizeof(in), sat_mul(loads, t->r->sample_ns)),
	         fmt_count(hits, sizeof(hits), sat_add(dumps, loads)),
	         fmt_n(count, sizeof(count), samples, "sample", "samples"));
	tx_section(t);
	tx_items(t, TX_PLAIN, "pickling", text);
}
