/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "rnd.h"
#include "runs.h"

#define eq_str(got, want)                                                                \
	do {                                                                             \
		const char *got_ = (got), *want_ = (want);                               \
		cr_expect(!strcmp(got_, want_), "got \"%s\", want \"%s\"", got_, want_); \
	} while (0)

/* --- errors --- */

Test(err, set_and_wrap)
{
	struct err e = {0};

	cr_expect_eq(err_set(&e, -ENOENT, MT_EXIT_TRACE_UNREADABLE, "no %s", "file"), -ENOENT);
	cr_expect_eq(e.status, MT_EXIT_TRACE_UNREADABLE);
	eq_str(e.msg, "no file");
	cr_expect_eq(err_wrap(&e, -ENOENT, "while %d", 7), -ENOENT);
	eq_str(e.msg, "while 7: no file");
	cr_expect_eq(err_set(NULL, -EIO, 1, "x"), -EIO);
	cr_expect_eq(err_wrap(NULL, -EIO, "x"), -EIO);
}

Test(err, own_message_as_argument)
{
	struct err e = {0};

	err_set(&e, -1, 1, "inner");
	err_set(&e, -1, 2, "outer(%s)", e.msg);
	eq_str(e.msg, "outer(inner)");
	err_wrap(&e, -1, "%s", e.msg);
	eq_str(e.msg, "outer(inner): outer(inner)");
}

Test(err, wrap_of_nothing_is_a_failure)
{
	struct err e = {0};

	err_wrap(&e, -1, "context");
	eq_str(e.msg, "context");
	cr_expect_eq(e.status, MT_EXIT_FAIL);
}

Test(err, long_messages_end_at_a_whole_character)
{
	char text[2000];
	struct err e = {0};
	size_t i, n;

	for (i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "µ", 2);
	text[i] = '\0';
	err_set(&e, -1, 1, "%s", text);
	n = strlen(e.msg);
	cr_expect(n < sizeof(e.msg) && n >= sizeof(e.msg) - 3);
	cr_expect_eq(n % 2, 0);
	err_wrap(&e, -1, "x"); /* shifts by three */
	n = strlen(e.msg);
	cr_expect(n < sizeof(e.msg));
	cr_expect_eq((n - 3) % 2, 0);
}

/* --- memory --- */

Test(vec, grows_and_keeps)
{
	VEC(int) v = {0};
	int i;

	for (i = 0; i < 1000; i++)
		cr_assert_eq(vec_push(&v, i * 3), 0);
	cr_assert_eq(v.n, 1000);
	for (i = 0; i < 1000; i++)
		cr_assert_eq(v.v[i], i * 3);
	vec_release(&v);
	cr_expect(!v.v && !v.n && !v.cap);
	vec_release(&v);
}

Test(vec, absurd_sizes_are_refused)
{
	VEC(uint64_t) v = {0};

	cr_expect_eq(vec_reserve(&v, SIZE_MAX / 4), -ENOMEM);
	cr_expect_eq(vec_push(&v, 1), 0);
	cr_expect_eq(vec_reserve(&v, SIZE_MAX), -ENOMEM);
	cr_expect_eq(v.n, 1);
	vec_release(&v);
}

Test(buf, put_and_printf)
{
	struct buf b = {0};

	cr_assert_eq(buf_put(&b, "ab", 2), 0);
	cr_assert_eq(buf_put(&b, NULL, 0), 0);
	cr_assert_eq(buf_printf(&b, "-%d-%s", 42, "x"), 0);
	cr_expect_eq(b.n, 7);
	eq_str((char *)b.p, "ab-42-x");
	buf_release(&b);
	buf_release(&b);
	buf_release(NULL);
}

/* --- hmap against a plain table --- */

Test(hmap, random_operations_match_a_model)
{
	static uint64_t model[512];
	static bool present[512];
	struct hmap h = {0};
	uint64_t x = 88172645463325252ull, *p;
	size_t n = 0;
	bool added;
	int i;

	cr_expect_null(hmap_get(&h, 1, 2));
	hmap_del(&h, 1, 2);
	for (i = 0; i < 200000; i++) {
		unsigned k;

		rnd_next(&x);
		k = (unsigned)(x >> 20) % ARRAY_LEN(model);
		if (x % 3) {
			p = hmap_put(&h, k % 16, k / 16, &added);
			cr_assert(p);
			cr_assert_eq(added, !present[k]);
			cr_assert_eq(*p, present[k] ? model[k] : 0);
			n += !present[k];
			*p = model[k] = x;
			present[k] = true;
		} else {
			hmap_del(&h, k % 16, k / 16);
			n -= present[k];
			present[k] = false;
		}
		cr_assert_eq(h.n, n);
	}
	for (i = 0; i < (int)ARRAY_LEN(model); i++) {
		p = hmap_get(&h, (uint64_t)i % 16, (uint64_t)i / 16);
		cr_assert_eq(!!p, present[i]);
		if (p)
			cr_assert_eq(*p, model[i]);
	}
	hmap_release(&h);
	hmap_release(NULL);
}

Test(hmap, regular_keys_stay_fast, .timeout = 20)
{
	struct hmap h = {0};
	uint64_t i;

	/* Page addresses, small ids, high bits only: each must spread. */
	for (i = 0; i < 300000; i++) {
		cr_assert(hmap_put(&h, i << 12, 0, NULL));
		cr_assert(hmap_put(&h, 0, i + 1, NULL));
		cr_assert(hmap_put(&h, 1, i << 40, NULL));
	}
	cr_expect_eq(h.n, 900000);
	hmap_release(&h);
}

Test(hash, depends_on_every_byte_length_and_seed)
{
	uint8_t b[40] = {0};
	uint64_t h;
	size_t n, i;

	for (n = 0; n <= sizeof(b); n++) {
		h = hash_bytes(b, n, 5);
		cr_expect_eq(h, hash_bytes(b, n, 5));
		cr_expect_neq(h, hash_bytes(b, n, 6));
		if (n)
			cr_expect_neq(h, hash_bytes(b, n - 1, 5));
		for (i = 0; i < n; i++) {
			b[i] ^= 1;
			cr_expect_neq(h, hash_bytes(b, n, 5), "byte %zu of %zu", i, n);
			b[i] ^= 1;
		}
	}
}

Test(strtab, each_string_once)
{
	struct strtab *t = strtab_new();
	char s[32];
	const char *first;
	bool added;
	uint32_t id;
	int i;

	cr_assert(t);
	id = strtab_add(t, "one", 3, &added);
	cr_expect(id == 1 && added);
	first = strtab_get(t, 1);
	for (i = 0; i < 50000; i++) {
		snprintf(s, sizeof(s), "string %d", i);
		cr_assert_eq(strtab_add(t, s, strlen(s), &added), (uint32_t)i + 2);
		cr_assert(added);
	}
	cr_expect_eq(strtab_add(t, "string 777", 10, &added), 779);
	cr_expect(!added);
	eq_str(strtab_get(t, 779), "string 777");
	cr_expect_eq(strtab_get(t, 1), first, "strings must not move");
	cr_expect_eq(strtab_count(t), 50001);
	eq_str(strtab_get(t, 0), "");
	eq_str(strtab_get(t, 60000), "");
	strtab_free(t);
	strtab_free(NULL);
}

Test(strtab, nuls_empty_and_long)
{
	struct strtab *t = strtab_new();
	char *big = calloc(1, 300000);
	uint32_t a, b, c, d;

	a = strtab_add(t, "a\0b", 3, NULL);
	b = strtab_add(t, "a", 1, NULL);
	c = strtab_add(t, "", 0, NULL);
	d = strtab_add(t, big, 300000, NULL);
	cr_expect(a && b && c && d && a != b && b != c && c != d);
	cr_expect_eq(memcmp(strtab_get(t, a), "a\0b", 4), 0);
	cr_expect_eq(strtab_add(t, "a\0b", 3, NULL), a);
	cr_expect_eq(strtab_add(t, NULL, 0, NULL), c);
	cr_expect_eq(strtab_add(t, big, 300000, NULL), d);
	free(big);
	strtab_free(t);
}

/* --- numbers --- */

struct fmt_case {
	uint64_t v;
	const char *want;
};

static void check_fmt(char *(*fmt)(char *, size_t, uint64_t), const struct fmt_case *c, size_t n)
{
	char out[40];

	for (; n--; c++)
		eq_str(fmt(out, sizeof(out), c->v), c->want);
}

Test(units, ns)
{
	static const struct fmt_case c[] = {
	        {0, "0 s"},
	        {1, "0.01 µs"},
	        {200, "0.2 µs"},
	        {1234, "1.23 µs"},
	        {99960, "100 µs"},
	        {38000000, "38 ms"},
	        {12100000, "12.1 ms"},
	        {999499, "999 µs"},
	        {999500, "1 ms"},
	        {999999999, "1 s"},
	        {1030000000, "1.03 s"},
	        {5914000000, "5.91 s"},
	        {123456000000, "123 s"},
	        {1200000000000, "20 min"},
	        {9000000000000, "150 min"},
	        {86400000000000, "24 h"},
	        {UINT64_MAX, "5,124,096 h"},
	};

	check_fmt(fmt_ns, c, ARRAY_LEN(c));
}

Test(units, bytes_and_counts)
{
	static const struct fmt_case bytes[] = {
	        {0, "0 B"},
	        {999, "999 B"},
	        {1000, "0.98 KB"},
	        {9216, "9 KB"},
	        {43201331, "41.2 MB"},
	        {1023ull << 20, "1 GB"},
	        {16ull << 40, "16 TB"},
	        {UINT64_MAX, "16,777,216 TB"},
	};
	static const struct fmt_case counts[] = {
	        {0, "0"},
	        {999, "999"},
	        {1204, "1,204"},
	        {1000000, "1,000,000"},
	        {UINT64_MAX, "18,446,744,073,709,551,615"},
	};

	check_fmt(fmt_bytes, bytes, ARRAY_LEN(bytes));
	check_fmt(fmt_count, counts, ARRAY_LEN(counts));
}

Test(units, output_is_bounded)
{
	char out[8];

	memset(out, 'x', sizeof(out));
	fmt_count(out, 4, 1234567);
	eq_str(out, "1,2");
	cr_expect_eq(out[4], 'x');
}

struct parse_case {
	const char *s;
	int err;
	uint64_t v;
};

Test(parse, durations)
{
	static const struct parse_case c[] = {
	        {"1.5", 0, 1500000000},
	        {"200ms", 0, 200000000},
	        {"3s", 0, 3000000000},
	        {"2m", 0, 120000000000},
	        {"0.25m", 0, 15000000000},
	        {".5", 0, 500000000},
	        {"1h", 0, 3600000000000},
	        {"10us", 0, 10000},
	        {"0", 0, 0},
	        {"0.1234567899", 0, 123456789},
	        {"", -EINVAL, 0},
	        {".", -EINVAL, 0},
	        {"1.", -EINVAL, 0},
	        {"-1", -EINVAL, 0},
	        {"+1", -EINVAL, 0},
	        {" 1", -EINVAL, 0},
	        {"1 s", -EINVAL, 0},
	        {"1e3", -EINVAL, 0},
	        {"nan", -EINVAL, 0},
	        {"1sx", -EINVAL, 0},
	        {"18446744074", -EINVAL, 0},
	        {"99999999999999999999999", -EINVAL, 0},
	};
	uint64_t v;
	size_t i;

	for (i = 0; i < ARRAY_LEN(c); i++) {
		v = 0;
		cr_expect_eq(parse_duration_ns(c[i].s, &v), c[i].err, "%s", c[i].s);
		cr_expect_eq(v, c[i].v, "%s: %llu", c[i].s, (unsigned long long)v);
	}
}

Test(parse, bytes)
{
	static const struct parse_case c[] = {
	        {"0", 0, 0},        {"65536", 0, 65536},       {"64K", 0, 65536},
	        {"8m", 0, 8 << 20}, {"1G", 0, 1 << 30},        {"1GiB", 0, 1 << 30},
	        {"64KB", 0, 65536}, {"1X", -EINVAL, 0},        {"", -EINVAL, 0},
	        {"K", -EINVAL, 0},  {"1.5M", -EINVAL, 0},      {"1KK", -EINVAL, 0},
	        {"-1", -EINVAL, 0}, {"16777216T", -EINVAL, 0}, {"16777215T", 0, 16777215ull << 40},
	};
	uint64_t v;
	size_t i;

	for (i = 0; i < ARRAY_LEN(c); i++) {
		v = 0;
		cr_expect_eq(parse_bytes(c[i].s, &v), c[i].err, "%s", c[i].s);
		cr_expect_eq(v, c[i].v, "%s", c[i].s);
	}
}

Test(parse, u64)
{
	uint64_t v = 7;

	cr_expect_eq(parse_u64("12", 1, 12, &v), 0);
	cr_expect_eq(v, 12);
	cr_expect_eq(parse_u64("18446744073709551615", 0, UINT64_MAX, &v), 0);
	cr_expect_eq(v, UINT64_MAX);
	v = 7;
	cr_expect_eq(parse_u64("18446744073709551616", 0, UINT64_MAX, &v), -EINVAL);
	cr_expect_eq(parse_u64("13", 1, 12, &v), -EINVAL);
	cr_expect_eq(parse_u64("0", 1, 12, &v), -EINVAL);
	cr_expect_eq(parse_u64("", 0, 12, &v), -EINVAL);
	cr_expect_eq(parse_u64("1x", 0, 12, &v), -EINVAL);
	cr_expect_eq(parse_u64("0x1", 0, 12, &v), -EINVAL);
	cr_expect_eq(v, 7);
}

Test(safe, names_cannot_drive_the_terminal)
{
	static const char *const c[][2] = {
	        {"worker-1", "worker-1"},
	        {"naïve µ 線程 🧵", "naïve µ 線程 🧵"},
	        {"a\nb\x1b[31m\x7f", "a\\x0ab\\x1b[31m\\x7f"},
	        {"\xff\xc3", "\\xff\\xc3"},
	        {"\xc0\xaf", "\\xc0\\xaf"},                   /* overlong */
	        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* surrogate */
	        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond U+10FFFF */
	        {"x\xc2\x9by", "x\\xc2\\x9by"},               /* CSI of the second control set */
	        {"a\xe2\x80\xae"
	         "b",
	         "a\\xe2\\x80\\xaeb"}, /* right-to-left override */
	        {"", ""},
	};
	char out[64];
	size_t i;

	for (i = 0; i < ARRAY_LEN(c); i++)
		eq_str(fmt_safe(out, sizeof(out), c[i][0]), c[i][1]);
}

Test(safe, cuts_at_whole_characters)
{
	char out[16];

	eq_str(fmt_safe(out, 4, "abµ"), "ab");
	eq_str(fmt_safe(out, 5, "abµ"), "abµ");
	eq_str(fmt_safe(out, 5, "ab\n"), "ab");
	eq_str(fmt_safe(out, 1, "ab"), "");
	out[0] = 'x';
	fmt_safe(out, 0, "ab");
	cr_expect_eq(out[0], 'x');
}

/* --- files --- */

Test(io, whole_files_and_limits)
{
	char path[] = "/tmp/mpvtrace-test-XXXXXX", block[10000];
	struct buf b = {0};
	int fd = mkstemp(path);

	cr_assert(fd >= 0);
	memset(block, 'z', sizeof(block));
	cr_expect_eq(write_full(fd, block, sizeof(block)), 0);
	cr_expect_eq(read_file_at(AT_FDCWD, path, sizeof(block), &b), 0);
	cr_expect_eq(b.n, sizeof(block));
	cr_expect_eq(b.p[b.n], 0);
	b.n = 0;
	cr_expect_eq(read_file_at(AT_FDCWD, path, sizeof(block) - 1, &b), -EFBIG);
	cr_expect_eq(pread_full(fd, block, 100, 9950), 50);
	cr_expect_eq(pread_full(fd, block, 100, 20000), 0);
	cr_expect_eq(pread_full(fd, block, 100, UINT64_MAX - 5), 0);
	cr_expect_eq(pread_full(-1, block, 100, 0), -EBADF);
	cr_expect_eq(write_full(-1, block, 1), -EBADF);
	unlink(path);
	cr_expect_eq(read_file_at(AT_FDCWD, path, 10, &b), -ENOENT);
	buf_release(&b);
	close(fd);
}

Test(io, names_of_files)
{
	cr_expect_str_eq(path_base("/usr/lib/app.py"), "app.py");
	cr_expect_str_eq(path_base("/dir/"), "/dir/");
	cr_expect_str_eq(path_base(NULL), "");
	cr_expect_str_eq(path_label("/usr/lib/app.py"), "app.py");
	cr_expect_str_eq(path_label("/usr/lib/python3.11/logging/__init__.py"),
	                 "logging/__init__.py");
	cr_expect_str_eq(path_label("app/__main__.py"), "app/__main__.py");
	cr_expect_str_eq(path_label("/__main__.py"), "__main__.py");
	cr_expect_str_eq(path_label("__init__.py"), "__init__.py");
	cr_expect_str_eq(path_label(""), "");
	cr_expect_str_eq(path_label(NULL), "");
}

/* --- threads --- */

struct called {
	_Atomic unsigned times[500];
	size_t fails_from;
};

static int call(void *ctx, size_t i)
{
	struct called *c = ctx;

	c->times[i]++;
	return i >= c->fails_from ? -(int)i : 0;
}

Test(parallel, calls_each_once_and_tells_the_first_error)
{
	struct called c = {.fails_from = 500};

	cr_assert_eq(parallel(0, call, &c), 0);
	cr_assert_eq(parallel(500, call, &c), 0);
	for (size_t i = 0; i < 500; i++)
		cr_assert_eq(c.times[i], 1, "%zu", i);
	c.fails_from = 123;
	cr_assert_eq(parallel(500, call, &c), -123);
	cr_assert_eq(parallel(1, call, &c), 0);
}

/* --- runs --- */

struct item {
	unsigned key, place;
};

static bool has_smaller_key(const void *a, const void *b)
{
	return ((const struct item *)a)->key < ((const struct item *)b)->key;
}

static void expect_sorted(unsigned n, unsigned run, unsigned keys)
{
	struct item v[200], other[200], *sorted;
	uint64_t sum = 0, sorted_sum = 0;

	for (unsigned i = 0; i < n; i++) {
		v[i] = (struct item){i % run * 7919 % keys, i};
		sum += v[i].key;
	}
	sorted = runs_sort(v, other, n, sizeof(*v), has_smaller_key);
	for (unsigned i = 0; i < n; i++) {
		sorted_sum += sorted[i].key;
		cr_assert(!i || sorted[i - 1].key < sorted[i].key ||
		                  (sorted[i - 1].key == sorted[i].key &&
		                   sorted[i - 1].place < sorted[i].place),
		          "%u in runs of %u: place %u", n, run, i);
	}
	cr_assert_eq(sum, sorted_sum);
}

Test(runs, sorted_and_stable_whatever_the_length_of_runs)
{
	for (unsigned n = 0; n <= 200; n += 1 + n / 10)
		for (unsigned run = 1; run <= 200; run += 1 + run / 5)
			for (unsigned keys = 1; keys <= 10000; keys *= 10)
				expect_sorted(n, run, keys);
}

/* --- the end of an output -------------------------------------------------------------------- */

/* The first 100 bytes, then the error in *cookie. */
static ssize_t write_some(void *cookie, const char *buf, size_t n)
{
	static size_t room = 100;

	(void)buf;
	if (n <= room) {
		room -= n;
		return (ssize_t)n;
	}
	errno = *(int *)cookie;
	return -1;
}

static void expect_told(int code, unsigned lines, int status)
{
	FILE *f = fopencookie(&code, "w", (cookie_io_functions_t){.write = write_some});
	struct err err = {0};

	cr_assert(f && !setvbuf(f, NULL, _IOFBF, 64));
	for (unsigned i = 0; i < lines; i++)
		fputs("some text\n", f);
	cr_expect_eq(stream_end(f, "the text", &err), status ? -code : 0);
	cr_expect_eq(err.status, status);
	if (status) {
		cr_expect(strstr(err.msg, "the text"), "%s", err.msg);
		cr_expect(strstr(err.msg, strerror(code)), "%s", err.msg);
	}
	fclose(f);
}

/* Why it could not be written is told, too, when it was found out long before the end. */
Test(stream, end_tells_why)
{
	expect_told(ENOSPC, 5, 0);
	expect_told(ENOSPC, 10, MT_EXIT_OUTPUT);
	expect_told(ENOSPC, 500, MT_EXIT_OUTPUT);
	expect_told(EPIPE, 500, MT_EXIT_OUTPUT);
}

Test(base, names_without_parameters)
{
	static const char *const cases[][2] = {
	        {"ns::f(int) const [clone .part.0]", "ns::f"},
	        {"JavaCalls::call_helper(JavaValue*, methodHandle const&, void (*)(int))",
	         "JavaCalls::call_helper"},
	        {"ns::F::operator()(int) const", "ns::F::operator()"},
	        {"operator()", "operator()"},
	        {"(anonymous namespace)::f(int)", "(anonymous namespace)::f"},
	        {"main.(*T).work", "main.(*T).work"},
	        {"work", "work"},
	        {")", ")"},
	        {"", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		cr_expect_eq(name_without_parameters(cases[i][0]), strlen(cases[i][1]), "%s: %zu",
		             cases[i][0], name_without_parameters(cases[i][0]));
}
