/* SPDX-License-Identifier: MIT */
#include "report/figures_priv.h"

char *fmt_share(char *out, size_t n, uint64_t part, uint64_t whole)
{
	double percent = whole ? 100.0 * (double)part / (double)whole : 0;

	if (!whole)
		snprintf(out, n, "?");
	else if (!part)
		snprintf(out, n, "0 %%");
	else if (percent < 0.05)
		snprintf(out, n, "<0.1 %%");
	else
		snprintf(out, n, "%.*f %%", percent < 99.95, percent);
	return out;
}

char *fmt_n(char *out, size_t n, uint64_t count, const char *one, const char *many)
{
	char number[32];

	snprintf(out, n, "%s %s", fmt_count(number, sizeof(number), count),
	         count == 1 ? one : many);
	return out;
}

bool counters_known(const struct task *t)
{
	return t->has_base && t->has_end;
}

bool first_touch_bytes(const struct task *t, uint64_t page_size, uint64_t *bytes)
{
	if (!counters_known(t) || !t->faults_known || !page_size)
		return false;
	*bytes = sat_mul(t->pages_known ? t->touched_pages : t->first_write_faults, page_size);
	return true;
}
