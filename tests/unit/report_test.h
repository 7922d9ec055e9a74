/* SPDX-License-Identifier: MIT */
/* report_test.h: what the tests of report and export share. */
#ifndef MT_REPORT_TEST_H
#define MT_REPORT_TEST_H

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "../support/tb.h"
#include "report.h"
#include "report/utf8_priv.h"

/* Takes the builder; the model must load. */
static inline struct model *loaded(struct tb *tb)
{
	struct model *m = tb_load(tb, NULL);

	cr_assert(m, "the model loads");
	tb_free(tb);
	return m;
}

/* The same with each slice kept, as reports have them. */
static inline struct model *with_slices(struct tb *tb)
{
	struct model_opts o = {.flags = MODEL_SLICES};
	struct model *m = tb_load(tb, &o);

	cr_assert(m, "the model loads");
	tb_free(tb);
	return m;
}

static inline ssize_t write_nothing(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
	errno = ENOSPC;
	return 0;
}

/* A stream to a disk without room. */
static inline FILE *full_disk(void)
{
	return fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_nothing});
}

static inline char *text_of(const struct model *m, const struct report_opts *o)
{
	struct report r = {0};
	struct err err = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	cr_assert_eq(report_text(&r, o, out, &err), 0, "%s", err.msg);
	fclose(out);
	report_release(&r);
	return text;
}

/* An export; its report is built and released. */
static inline int export_try(const struct model *m, const char *format, const struct export_opts *o,
                             FILE *out, struct err *err)
{
	const struct exporter *x = exporter_find(format);
	struct report r = {0};
	int code;

	cr_assert(x);
	cr_assert_eq(report_build(&r, m, err), 0, "%s", err->msg);
	code = x->run(&r, o, out, err);
	report_release(&r);
	return code;
}

static inline char *export_of(const struct model *m, const char *format,
                              const struct export_opts *o)
{
	struct err err = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	cr_assert_eq(export_try(m, format, o, out, &err), 0, "%s", err.msg);
	fclose(out);
	return text;
}

static inline char *json_text_of(const struct model *m)
{
	struct report r = {0};
	struct err err = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	cr_assert_eq(report_json(&r, NULL, out, &err), 0, "%s", err.msg);
	fclose(out);
	report_release(&r);
	return text;
}

static inline json_t *json_of(const struct model *m)
{
	char *text = json_text_of(m);
	json_error_t why;
	json_t *doc = json_loads(text, JSON_REJECT_DUPLICATES, &why);

	cr_assert(doc, "the JSON parses: %s at line %d", why.text, why.line);
	free(text);
	return doc;
}

/* "a.b.c" inside doc; NULL = no such key. */
static inline json_t *at(json_t *doc, const char *path)
{
	char key[64];

	while (doc && *path) {
		size_t n = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)n, path);
		doc = json_object_get(doc, key);
		path += n + (path[n] == '.');
	}
	return doc;
}

static inline uint64_t num(json_t *doc, const char *path)
{
	json_t *v = at(doc, path);

	cr_assert(json_is_integer(v), "%s is an integer", path);
	return (uint64_t)json_integer_value(v);
}

/* With MT_GOLDEN_DIR set, what was printed is also left there, for a look and as the next golden.
 */
static inline void leave_golden(const char *name, const char *text)
{
	const char *dir = getenv("MT_GOLDEN_DIR");
	char path[512];
	FILE *f;

	if (!dir)
		return;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	cr_assert(f);
	fputs(text, f);
	fclose(f);
}

static inline size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* No line is wider than this, none ends in a space, no byte can drive a terminal. */
static inline void expect_fits(const char *text, unsigned width)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		cr_expect_leq(utf8_width_n(text, n), width, "'%.*s' takes %zu of %u columns",
		              (int)n, text, utf8_width_n(text, n), width);
		cr_expect(!n || text[n - 1] != ' ', "'%.*s' ends in a space", (int)n, text);
		for (size_t i = 0; i < n; i++)
			cr_expect_geq((unsigned char)text[i], 0x20);
		text += n + (text[n] == '\n');
	}
}

/* Three frames of /usr/bin/app in a space, and the kernel's. Innermost first, as recorded. */
static inline void app_symbols(struct tb *tb, uint32_t space)
{
	tb_map(tb, space, 0x400000, 0x500000, 0, "/usr/bin/app");
	tb_symbol(tb, "/usr/bin/app", 0x100, "main", 4, 0);
	tb_symbol(tb, "/usr/bin/app", 0x200, "work", 8, 0);
	tb_symbol(tb, "/usr/bin/app", 0x300, "lock_wait", 12, 0);
	tb_symbol(tb, "[kernel]", 0xffffffff81000100, "futex_wait", 0, 0);
}

static inline uint32_t app_stack(struct tb *tb, uint32_t space)
{
	static const uint64_t frames[] = {0x400300, 0x400200, 0x400100};

	return tb_stack(tb, STACK_USER, space, frames, 3);
}

static inline uint32_t kernel_stack(struct tb *tb)
{
	static const uint64_t frames[] = {0xffffffff81000100};

	return tb_stack(tb, STACK_KERNEL, 0, frames, 1);
}

/* --- recordings ------------------------------------------------------------------------------- */

static inline void argv(struct tb *tb, const char *args, size_t n)
{
	struct rec_meta meta = {
	        .key = {(const uint8_t *)META_ARGV, strlen(META_ARGV)},
	        .value = {(const uint8_t *)args, n},
	};

	tb_raw(tb, REC_K_META, TB_EPOCH - TB_START, &meta);
}

/* main starts four workers on two CPUs and joins them; they share a lock, run 20 ms each and
 * wait for each other. */
static inline struct tb *workers(void)
{
	static const char args[] = "/usr/bin/app\0--threads\0"
	                           "4";
	struct tb *tb = tb_new();
	char name[16];

	argv(tb, args, sizeof(args));
	tb_task(tb, 1, "app");
	app_symbols(tb, 1);
	tb_run(tb, 1, 0, 2 * MS);
	for (uint32_t i = 0; i < 4; i++) {
		uint64_t start = (1 + i / 2) * MS + i * 10 * MS;

		snprintf(name, sizeof(name), "worker-%u", i);
		tb_thread(tb, 2 + i, 1, name, 1 * MS);
		tb_on(tb, 2 + i, 1);
		tb_run(tb, 2 + i, start, start + 10 * MS);
		tb_stacks(tb, 2 + i, app_stack(tb, 1), kernel_stack(tb));
		tb_futex_wait(tb, 2 + i, 0x601000, start + 40 * MS, 1 + i);
		tb_run(tb, 2 + i, start + 41 * MS, start + 51 * MS);
		tb_faults(tb, 2 + i, 100 + i, 0, 64, 2);
		tb_exit(tb, 2 + i, 0);
	}
	tb_join(tb, 1, 5, 83 * MS);
	tb_run(tb, 1, 83 * MS, 84 * MS);
	tb_faults(tb, 1, 2000, 3, 512, 10);
	tb_rss(tb, 1, 50 * MS, 30 << 20, 10 << 20);
	tb_footprint(tb, 1, 60 * MS, 40 << 20, 30 << 20, 28 << 20);
	tb_cost(tb, "recorder cpu", 1, 2 * MS);
	tb_exit(tb, 1, 3 << 8);
	return tb;
}

static inline struct tb *crowd(unsigned n)
{
	struct tb *tb = tb_new();
	char name[32];

	tb_task(tb, 1, "make");
	tb_run(tb, 1, 0, 1 * MS);
	for (unsigned i = 0; i < n; i++) {
		uint64_t start = 1 * MS + i * 10 * US;

		snprintf(name, sizeof(name), i % 2 ? "cc1" : "worker-%u", i);
		tb_fork(tb, 2 + i, 1, name, 500 * US);
		tb_on(tb, 2 + i, 1);
		tb_run(tb, 2 + i, start, start + 10 * US);
		tb_faults(tb, 2 + i, 10, 0, 5, 1);
		tb_exit(tb, 2 + i, 0);
	}
	tb_exit(tb, 1, 0);
	return tb;
}

static inline struct tb *hostile(void)
{
	static const char *const names[] = {
	        "\x1b[31mred",
	        "\xff\xfe\xc0\x80",
	        "a;b;c d",
	        "two\nlines",
	        "",
	        "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2",
	        "\"quoted\\",
	        "e\xcc\x81\xcc\x81",
	        "\xe2\x80\xaertl",
	        "%s%n%d",
	};
	static const char args[] = "\x1b]0;title\x07\0\xff\0 \0'";
	static const uint64_t frames[] = {0x700100, 0x700200, 0x123};
	struct tb *tb = tb_new();

	argv(tb, args, sizeof(args));
	tb_meta(tb, META_USER, "\xff\x1b");
	tb_note(tb, "a note\nof \x1b[1m two \xff lines");
	tb_loss(tb, "ring\n\xff full", 7);
	tb_task(tb, 1, names[0]);
	tb_map(tb, 1, 0x700000, 0x800000, 0, "/tmp/a b;c\n\xff.so");
	tb_symbol(tb, "/tmp/a b;c\n\xff.so", 0x100, "operator new(unsigned long);\n\x1b[2J\xff 12",
	          0, 0);
	tb_symbol(tb, "/tmp/a b;c\n\xff.so", 0x200, NULL, 0, 0);
	tb_stacks(tb, 1, tb_stack(tb, STACK_USER, 1, frames, 3), 0);
	for (uint32_t i = 0; i < ARRAY_LEN(names); i++) {
		if (i)
			tb_thread(tb, 1 + i, 1, names[i], 0);
		tb_on(tb, 1 + i, i);
		tb_run(tb, 1 + i, 0, (1 + i) * MS);
		tb_futex_wait(tb, 1 + i, 0x1000 + i, 20 * MS, 0);
		tb_run(tb, 1 + i, 20 * MS, 21 * MS);
		tb_exit(tb, 1 + i, 0);
	}
	return tb;
}

static inline struct tb *bare(void)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "true");
	return tb;
}

static inline struct tb *crowd_200(void)
{
	return crowd(200);
}

#endif
