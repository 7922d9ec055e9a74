/* SPDX-License-Identifier: MIT */
/* CPU time that went into pickling, in one line. */
#include "report/text_priv.h"

#define FEW 3 /* samples: fewer are chance */

void text_pickling(struct tx *t)
{
	uint64_t samples = 0, dumps = 0, loads = 0;
	char all[32], out[32], in[32], text[256], hits[32], count[48], share[16];

	for (size_t i = 0; i < t->r->pickling.n; i++) {
		const struct pickle_row *p = &t->r->pickling.v[i];

		samples = sat_add(samples, p->samples);
		dumps = sat_add(dumps, p->dumps);
		loads = sat_add(loads, p->loads);
	}
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
