/* SPDX-License-Identifier: MIT */
/* Flame graphs as text: one well-formed document whose frames add up, whatever the names. A real
 * browser looks at one in tests/live/test_browser.c. */
#include <errno.h>

#include "report_test.h"

static char *svg(const struct model *m, const struct export_opts *o)
{
	return export_of(m, "svg", o);
}

/* Tags nest, text holds no bare '<' or '&', attributes are quoted. Style and script are ours. */
static void expect_well_formed(const char *p)
{
	char open[64][16];
	unsigned depth = 0;

	while ((p = strpbrk(p, "<&"))) {
		size_t n = strcspn(p + 1, " \t\n/>?!&<");
		const char *end = strchr(p, '>');

		if (*p == '&') {
			cr_assert(!strncmp(p, "&amp;", 5) || !strncmp(p, "&lt;", 4) ||
			                  !strncmp(p, "&gt;", 4) || !strncmp(p, "&quot;", 6),
			          "'%.20s'", p);
			p++;
			continue;
		}
		cr_assert(end, "'%.40s' ends", p);
		if (p[1] == '?') {
			p = end;
		} else if (!strncmp(p, "<![CDATA[", 9)) {
			p = strstr(p, "]]>");
			cr_assert(p);
		} else if (p[1] == '/') {
			n = (size_t)(end - p) - 2;
			cr_assert(depth && strlen(open[depth - 1]) == n &&
			                  !strncmp(open[depth - 1], p + 2, n),
			          "'%.20s' closes %s", p, depth ? open[depth - 1] : "nothing");
			depth--;
			p = end;
		} else if (end[-1] == '/') {
			p = end;
		} else {
			cr_assert_lt(n, sizeof(open[0]));
			cr_assert_lt(depth, 64u);
			snprintf(open[depth++], sizeof(open[0]), "%.*s", (int)n, p + 1);
			p = end;
		}
	}
	cr_expect_eq(depth, 0u);
}

struct shape {
	unsigned frames, hits;
	uint64_t total, leaves;
};

/* Reads data-v of all frames: children lie inside their parents and never overlap. */
static struct shape shape_of(const char *text, const char *name)
{
	uint64_t start[4096] = {0}, end[4096] = {0}, next[4096] = {0};
	struct shape s = {0};
	const char *p = text;

	while ((p = strstr(p, "data-v=\""))) {
		unsigned long long at, weight, self;
		unsigned depth;
		const char *title = strstr(p, "<title>");

		cr_assert_eq(sscanf(p, "data-v=\"%u %llu %llu %llu\"", &depth, &at, &weight, &self),
		             4);
		cr_assert_lt(depth, 4096u);
		if (!s.frames++)
			s.total = weight;
		s.leaves += self;
		if (depth) {
			cr_expect_geq(at, next[depth - 1]);
			cr_expect_geq(at, start[depth - 1]);
			cr_expect_leq(at + weight, end[depth - 1]);
			next[depth - 1] = at + weight;
		}
		start[depth] = next[depth] = at;
		end[depth] = at + weight;
		cr_assert(title);
		s.hits += !strncmp(title + 7, name, strlen(name)) && title[7 + strlen(name)] == '<';
		p++;
	}
	return s;
}

Test(svg, adds_up)
{
	struct model *m = loaded(workers());
	struct export_opts o = {.view = "off-cpu"};
	char *text = svg(m, &o);
	struct shape s = shape_of(text, "lock_wait");
	uint64_t blocked = 0;

	for (size_t i = 0; i < model_n_tasks(m); i++)
		blocked += model_task_at(m, i)->blocked_ns;
	expect_well_formed(text);
	cr_expect_eq(s.total, blocked);
	cr_expect_eq(s.leaves, blocked, "every ns is in one frame of its own");
	cr_expect_eq(s.hits, 4u, "once below each of the four threads");
	cr_expect(strstr(text, ">/usr/bin/app --threads 4<"));
	cr_expect(strstr(text, "<g class=\"k"), "the kernel's frames have their colour");
	free(text);
	model_free(m);
}

Test(svg, by_and_reverse)
{
	struct model *m = loaded(workers());
	struct export_opts o = {.view = "off-cpu", .by = EXPORT_BY_PROCESS};
	char *text = svg(m, &o);

	cr_expect_eq(shape_of(text, "lock_wait").hits, 1u);
	cr_expect_eq(shape_of(text, "app-1001").hits, 1u);
	free(text);
	o.reverse = true;
	text = svg(m, &o);
	expect_well_formed(text);
	cr_expect_eq(shape_of(text, "app-1001").hits, 2u, "above the stack, and above none");
	free(text);
	model_free(m);
}

/* Small frames are summed up: the document stays small, the sum right. */
Test(svg, small_frames)
{
	struct model *m = loaded(crowd(2000));
	struct export_opts o = {.view = "off-cpu", .by = EXPORT_BY_TASK, .min_ratio = 0.01};
	char *text = svg(m, &o);
	struct shape s = shape_of(text, "");

	expect_well_formed(text);
	cr_expect_lt(s.frames, 210u);
	cr_expect_eq(s.leaves, s.total);
	free(text);
	model_free(m);
}

Test(svg, hostile_names)
{
	struct model *m = loaded(hostile());
	struct export_opts o = {.view = "off-cpu", .task = NULL};
	char *text = svg(m, &o);

	expect_well_formed(text);
	for (const char *p = text; *p; p++)
		cr_assert((unsigned char)*p >= 0x20 || *p == '\n' || *p == '\t');
	free(text);
	model_free(m);
}

/* Names that would be markup, or end the script. */
Test(svg, markup_in_names)
{
	static const char evil[] = "</title><script>alert(1)</script>\"'&lt;]]>";
	static const uint64_t frames[] = {0x400300, 0x400200, 0x400100};
	struct export_opts o = {.view = "off-cpu", .by = EXPORT_BY_TASK};
	struct tb *tb = tb_new();
	struct model *m;
	char *text;

	argv(tb, evil, sizeof(evil));
	tb_task(tb, 1, "<b>&");
	tb_map(tb, 1, 0x400000, 0x500000, 0, "/tmp/\"><script>");
	tb_symbol(tb, "/tmp/\"><script>", 0x100, evil, 0, 0);
	tb_symbol(tb, "/tmp/\"><script>", 0x200, "\xef\xbf\xbe\xef\xbf\xbf", 0, 0);
	tb_stacks(tb, 1, tb_stack(tb, STACK_USER, 1, frames, 3), 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex_wait(tb, 1, 0x1000, 2 * MS, 0);
	tb_run(tb, 1, 2 * MS, 3 * MS);
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	text = svg(m, &o);
	expect_well_formed(text);
	cr_expect(!strstr(text, "<script>alert"));
	cr_expect(!strstr(text, "\xef\xbf\xbe"));
	free(text);
	model_free(m);
}

/* Nothing recorded is an answer, not an error. */
Test(svg, nothing_there)
{
	struct model *m = loaded(bare());
	struct export_opts o = {.view = "on-cpu"};
	char *text = svg(m, &o);

	expect_well_formed(text);
	cr_expect_eq(shape_of(text, "all").frames, 1u);
	free(text);
	model_free(m);
}

Test(svg, two_exports_are_equal)
{
	struct export_opts o = {.view = "off-cpu"};
	struct model *m = loaded(workers()), *n = loaded(workers());
	char *a = svg(m, &o), *b = svg(n, &o);

	cr_expect_str_eq(a, b);
	free(a);
	free(b);
	model_free(m);
	model_free(n);
}
