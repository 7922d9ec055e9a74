/* SPDX-License-Identifier: MIT */
/* Widths of text, tables that fit, groups of like names. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"
#include "report/table_priv.h"
#include "report/utf8_priv.h"

Test(utf8, width)
{
	cr_expect_eq(utf8_width(""), 0);
	cr_expect_eq(utf8_width("abc"), 3);
	cr_expect_eq(utf8_width("µs …"), 4);
	cr_expect_eq(utf8_width("漢字"), 4);
	cr_expect_eq(utf8_width("e\xcc\x81"), 1, "a combining accent");
	cr_expect_eq(utf8_width("\xf0\x9f\x98\x80"), 2, "an emoji");
	cr_expect_eq(utf8_width("\xff\xc0\x80"), 3, "no UTF-8: a column for each byte");
	cr_expect_eq(utf8_width("\xe6\xbc"), 2, "cut in the middle");
}

Test(utf8, cut_keeps_characters_whole)
{
	cr_expect_eq(utf8_cut("abc", 2), 2);
	cr_expect_eq(utf8_cut("abc", 9), 3);
	cr_expect_eq(utf8_cut("漢字", 3), 3);
	cr_expect_eq(utf8_cut("漢字", 1), 0);
}

Test(utf8, shorten)
{
	char out[64];

	cr_expect_str_eq(utf8_shorten(out, sizeof(out), "short", 5), "short");
	cr_expect_str_eq(utf8_shorten(out, sizeof(out), "resize_image_fast", 10), "resi…_fast");
	cr_expect_str_eq(utf8_shorten(out, sizeof(out), "漢字漢字漢字", 6), "漢…字");
	cr_expect_str_eq(utf8_shorten(out, sizeof(out), "abc", 1), "…");
	cr_expect_str_eq(utf8_shorten(out, sizeof(out), "abc", 0), "");
}

/* Whatever the room, the result ends, fits and is whole UTF-8. */
Test(utf8, shorten_into_little_room)
{
	char out[40];

	for (size_t n = 1; n <= sizeof(out); n++) {
		for (size_t cols = 0; cols < 30; cols++) {
			memset(out, 'x', sizeof(out));
			utf8_shorten(out, n, "漢字abc漢字def漢字ghi漢字", cols);
			cr_assert(memchr(out, '\0', n), "%zu bytes, %zu columns", n, cols);
			cr_assert_leq(utf8_width(out), cols);
		}
	}
}

Test(utf8, made_valid)
{
	size_t n;
	char *s = utf8_valid("a\xff"
	                     "b\0c\xe6\xbc",
	                     7, &n);

	cr_expect_eq(n, 13);
	cr_expect_eq(memcmp(s,
	                    "a\xef\xbf\xbd"
	                    "b\0c\xef\xbf\xbd\xef\xbf\xbd",
	                    13),
	             0);
	free(s);
	s = utf8_valid("", 0, &n);
	cr_expect(s && !n);
	free(s);
}

/* --- tables -------------------------------------------------------------------------------- */

static void example(struct table *tab)
{
	static const struct column cols[] = {
	        {.head = "names", .left = true, .min = 8},
	        {.head = "time"},
	        {.head = "futex", .paren = true},
	        {.head = "pipe", .paren = true},
	        {.head = "never", .drop = 3},
	        {.head = "long heading", .brief = "long", .drop = 1},
	        {.head = "second", .drop = 2},
	};

	for (size_t i = 0; i < ARRAY_LEN(cols); i++)
		table_column(tab, &cols[i]);
	for (unsigned row = 0; row < 2; row++) {
		table_name(tab, row ? "a_long_name_of_a_task" : "x\n");
		table_ns(tab, row ? 1500000 : 0);
		table_ns(tab, 20000000);
		table_count(tab, 7);
		table_count(tab, 0);
		table_bytes(tab, 4096 * (row + 1));
		table_cell(tab, "%u", row);
	}
}

static char *printed(unsigned width)
{
	struct table tab = {0};
	struct tx t = {.width = width};
	char *text = NULL;
	size_t n = 0;

	example(&tab);
	t.out = open_memstream(&text, &n);
	table_print(&tab, &t);
	fclose(t.out);
	table_release(&tab);
	cr_assert_eq(t.err, 0);
	return text;
}

static void expect_table(unsigned width, const char *want)
{
	char *text = printed(width);

	cr_expect_str_eq(text, want, "at %u:\n%s", width, text);
	free(text);
}

Test(table, fits_by_giving_things_up_in_order)
{
	expect_table(100, "names                    time  (futex  pipe)  long heading  second\n"
	                  "x\\x0a                       0   20 ms     7           4 KB       0\n"
	                  "a_long_name_of_a_task  1.5 ms   20 ms     7           8 KB       1\n");
	expect_table(62, "names                    time  (futex  pipe)  long  second\n"
	                 "x\\x0a                       0   20 ms     7   4 KB       0\n"
	                 "a_long_name_of_a_task  1.5 ms   20 ms     7   8 KB       1\n");
	expect_table(50, "names            time  (futex  pipe)  long  second\n"
	                 "x\\x0a               0   20 ms     7   4 KB       0\n"
	                 "a_long…a_task  1.5 ms   20 ms     7   8 KB       1\n");
	expect_table(40, "names          time  (futex  pipe)  long\n"
	                 "x\\x0a             0   20 ms     7   4 KB\n"
	                 "a_lon…_task  1.5 ms   20 ms     7   8 KB\n");
}

Test(table, never_wider_than_the_page)
{
	for (unsigned width = 4; width < 120; width++) {
		char *text = printed(width), *line = text;

		while (*line) {
			size_t n = strcspn(line, "\n");

			cr_expect_leq(utf8_width_n(line, n), width, "%s", text);
			line += n + 1;
		}
		cr_expect(!strstr(text, "never"), "a column of zeros is not shown");
		free(text);
	}
}

Test(table, without_rows_prints_nothing)
{
	struct table tab = {0};
	struct tx t = {.width = 80, .out = stderr};

	table_column(&tab, &(struct column){.head = "heading"});
	table_print(&tab, &t);
	cr_expect(!t.any);
	table_release(&tab);
}

/* --- lines ----------------------------------------------------------------------------------- */

Test(page, items_break_between_items_first)
{
	struct tx t = {.width = 40};
	char *text = NULL;
	size_t n = 0;

	t.out = open_memstream(&text, &n);
	tx_items(&t, TX_PLAIN, "label",
	         "one item\ntwo items\na third, which is longer than a line");
	tx_items(&t, TX_PLAIN, NULL, "wordswithoutspacesthatarelongerthanalineoffortycolumns");
	fclose(t.out);
	cr_expect_str_eq(text,
	                 "label            one item · two items\n"
	                 "                 a third, which is\n"
	                 "                 longer than a line\n"
	                 "wordswithoutspacesthatarelongerthanaline\n"
	                 "offortycolumns\n",
	                 "%s", text);
	free(text);
}

Test(page, shares)
{
	char s[16];

	cr_expect_str_eq(fmt_share(s, sizeof(s), 0, 10), "0 %");
	cr_expect_str_eq(fmt_share(s, sizeof(s), 1, 100000), "<0.1 %");
	cr_expect_str_eq(fmt_share(s, sizeof(s), 514, 1000), "51.4 %");
	cr_expect_str_eq(fmt_share(s, sizeof(s), 10, 10), "100 %");
	cr_expect_str_eq(fmt_share(s, sizeof(s), 1, 0), "?");
	cr_expect_eq(sat_add(UINT64_MAX, 1), UINT64_MAX);
	cr_expect_eq(sat_mul(UINT64_MAX / 2, 3), UINT64_MAX);
}

/* --- groups ----------------------------------------------------------------------------------- */

static size_t make(struct groups *g, struct group_item *items, size_t n, size_t max)
{
	cr_assert_eq(groups_make(g, items, n, max, true), 0);
	return g->list.n;
}

Test(groups, only_when_there_are_too_many)
{
	struct group_item items[] = {
	        {"worker-0", 1, 0, 5, 0, 0},  {"main", 1, 0, 9, 1, 0},
	        {"worker-12", 1, 0, 7, 2, 0}, {"worker-3", 1, 0, 1, 3, 0},
	        {"worker-1", 2, 0, 2, 4, 0},
	};
	struct groups g;
	char label[64];

	cr_expect_eq(make(&g, items, 5, 5), 5);
	cr_expect_eq(g.level, GROUP_SINGLE);
	cr_expect_str_eq(items[g.list.v[0].first].name, "main");
	cr_expect_str_eq(items[g.list.v[1].first].name, "worker-12");
	groups_release(&g);
	cr_expect_eq(make(&g, items, 5, 4), 3);
	cr_expect_eq(g.level, GROUP_FINE);
	cr_expect_eq(g.list.v[0].weight, 13);
	cr_expect_eq(g.list.v[0].n, 3);
	cr_expect_str_eq(group_label(label, sizeof(label), items, &g.list.v[0]), "worker-0 … -12");
	groups_release(&g);
	cr_expect_eq(make(&g, items, 5, 2), 2);
	cr_expect_eq(g.level, GROUP_COARSE);
	cr_expect_eq(g.list.v[0].n, 4);
	groups_release(&g);
	cr_expect_eq(make(&g, NULL, 0, 2), 0);
	groups_release(&g);
}

Test(groups, labels)
{
	struct group_item same[] = {{"cc1", 0, 0, 1, 0, 0}, {"cc1", 0, 0, 1, 1, 0}};
	struct group_item inside[] = {{"Thread-2 (run)", 0, 0, 1, 0, 0},
	                              {"Thread-10 (run)", 0, 0, 1, 1, 0}};
	struct group_item start[] = {{"C1 Compiler", 0, 0, 1, 0, 0},
	                             {"C2 Compiler", 0, 0, 1, 1, 0}};
	struct group_item alike[] = {{"w1", 0, 0, 1, 0, 0}, {"w11", 0, 0, 1, 1, 0}};
	struct group_item plain[] = {{"t9", 0, 0, 1, 0, 0}, {"t10\x1b", 0, 0, 1, 1, 0}};
	struct group all = {.first = 0, .n = 2};
	char label[64];

	cr_expect_str_eq(group_label(label, sizeof(label), same, &all), "cc1");
	cr_expect_str_eq(group_label(label, sizeof(label), inside, &all), "Thread-2 … -10 (run)");
	cr_expect_str_eq(group_label(label, sizeof(label), start, &all), "C1 … C2 Compiler");
	cr_expect_str_eq(group_label(label, sizeof(label), alike, &all), "w1 … w11");
	cr_expect_str_eq(group_label(label, sizeof(label), plain, &all), "t9 … t10\\x1b");
}

Test(groups, list_tells_equal_names_apart)
{
	struct group_item items[] = {{"worker", 0, 0, 60, 0, 71},
	                             {"worker", 0, 0, 30, 1, 72},
	                             {"main", 0, 0, 10, 2, 70}};
	struct buf b = {0};
	struct groups g;

	cr_assert_eq(make(&g, items, 3, 3), 3);
	cr_assert_eq(groups_put(&b, items, &g, 2, 100), 0);
	cr_expect_str_eq((char *)b.p, "worker 71 60.0 %, worker 72 30.0 %, +1");
	groups_release(&g);
	b.n = 0;
	cr_assert_eq(make(&g, items, 3, 2), 2);
	cr_assert_eq(groups_put(&b, items, &g, 2, 0), 0);
	cr_expect_str_eq((char *)b.p, "worker (2), main");
	groups_release(&g);
	buf_release(&b);
}
