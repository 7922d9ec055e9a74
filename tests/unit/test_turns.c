/* SPDX-License-Identifier: MIT */
/* Many that work one at a time are told as one, and at what they wait for each other. */
#include "causes_test.h"
#include "model_test.h"

#define ROUNDS 4
#define TURN   (10 * MS)

/* Three tasks work in turn, the first one as long as said, and hand on at a word of each: at one
 * object, or in that function. */
static struct tb *ring_at(const char *const names[3], uint64_t first, const char *function)
{
	struct tb *tb = tb_new();
	const uint64_t frame = 0x400100;
	uint32_t stack;

	tb_task(tb, 1, "main");
	tb_map(tb, 1, 0x400000, 0x401000, 0, "/usr/bin/app");
	tb_symbol(tb, "/usr/bin/app", 0x100, function ? function : "wait", 0, 0);
	stack = tb_stack(tb, STACK_USER, 1, &frame, 1);
	for (uint32_t k = 0; k < 3; k++) {
		tb_thread(tb, 2 + k, 1, names[k], 0);
		tb_on(tb, 2 + k, 2 + k);
	}
	for (uint32_t k = 0; k < 3; k++) {
		uint32_t id = 2 + k, before = 2 + (k + 2) % 3;
		uint64_t at = COND + k * 0x100;

		if (function)
			tb_stacks(tb, id, stack, 0);
		else
			tb_object(tb, 1, at, "baton", 0, 48);
		for (uint64_t i = 0; i < ROUNDS; i++) {
			uint64_t t = i * (first + 2 * TURN) + (k ? first + (k - 1) * TURN : 0);

			if (i || k) {
				if (!i)
					tb_run(tb, id, 0, US);
				tb_futex(tb, id, at, TB_FUTEX_BITSET, 0, 0, t, before);
			}
			tb_run(tb, id, t, t + (k ? TURN : first) + US);
		}
		tb_exit(tb, id, 0);
	}
	tb_run(tb, 1, 0, US);
	tb_exit(tb, 1, 0);
	return tb;
}

static struct tb *ring(const char *const names[3], uint64_t first)
{
	return ring_at(names, first, NULL);
}

/* A word for each waiter, but they have one name. */
Test(turns, of_several_words)
{
	static const char *const names[3] = {"w", "w", "w"};
	struct built b = build(ring(names, TURN));

	expect_verdict(&b, VERDICT_SERIALIZED,
	               "what 3 tasks called w do one at a time, waiting for each other at baton:");
	cr_expect(!strstr(b.r.headline, " alone "), "each of them again: %s", b.r.headline);
	drop(&b);
}

/* One of them has more than the others together, and yet they wait for each other. */
Test(turns, of_different_length)
{
	static const char *const names[3] = {"w", "w", "w"};
	struct built b = build(ring(names, 5 * TURN / 2));

	expect_verdict(&b, VERDICT_SERIALIZED,
	               "what 3 tasks called w do one at a time, waiting for each other at baton:");
	drop(&b);
	b = build(ring(names, 10 * TURN));
	expect_verdict(&b, VERDICT_SERIALIZED, "SERIALIZED by what w (1002) does alone: ");
	drop(&b);
}

static bool of_goroutines(const struct built *b)
{
	for (size_t i = 0; i < b->r.notes.n; i++)
		if (strstr(b->r.notes.v[i], "goroutines that wait for each other"))
			return true;
	return false;
}

/* Threads of a Go program that have nothing to run do not wait for each other there: for what they
 * do is not seen, and a note says that. */
Test(turns, of_a_go_program)
{
	static const char *const names[3] = {"w", "w", "w"};
	struct built b = build(ring_at(names, TURN, "runtime.stopm"));

	expect_verdict(&b, VERDICT_SERIALIZED, "what 3 tasks called w do one at a time:");
	cr_expect(of_goroutines(&b));
	drop(&b);
	b = build(ring_at(names, TURN, "next_turn"));
	expect_verdict(&b, VERDICT_SERIALIZED, ", waiting for each other in next_turn (app):");
	cr_expect_not(of_goroutines(&b));
	drop(&b);
}

/* main starts so many, one after the other, and waits for what they write. */
static struct tb *starts(uint32_t n, uint64_t each)
{
	static const char *const names[] = {"date", "sh", "wc", "od"};
	struct tb *tb = tb_new();
	uint64_t t = MS;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, MS);
	for (uint32_t id = 2; id < 2 + n; id++, t += each) {
		tb_fork(tb, id, 1, names[id % 4], t);
		tb_on(tb, id, id % 4 + 1);
		tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, t + each, id);
		tb_run(tb, 1, t + each, t + each + US);
		tb_run(tb, id, t, t + each + US);
		tb_exit(tb, id, 0);
	}
	tb_run(tb, 1, t + US, t + n * each / 10);
	tb_exit(tb, 1, 0);
	return tb;
}

/* main waits for a thread that starts four programs, one after the other: all of one name, but no
 * program waits where main does. */
Test(turns, who_waits_there_does_not_work)
{
	struct tb *tb = tb_new();
	struct built b;
	uint64_t t = MS;

	tb_task(tb, 1, "py");
	tb_thread(tb, 2, 1, "py", 0);
	tb_on(tb, 2, 1);
	tb_object(tb, 1, COND, "future", 0, 48);
	tb_run(tb, 1, 0, US);
	tb_run(tb, 2, 0, MS);
	for (uint32_t id = 3; id < 7; id++, t += 20 * MS) {
		tb_fork(tb, id, 1, "py", t);
		tb_on(tb, id, id % 2);
		tb_call(tb, 2, TB_NR_read, 3, FD_PIPE, t + 20 * MS, id);
		tb_run(tb, 2, t + 20 * MS, t + 20 * MS + US);
		tb_run(tb, id, t, t + 20 * MS + US);
		tb_exit(tb, id, 0);
	}
	tb_futex(tb, 1, COND, TB_FUTEX_BITSET, 0, 0, t + US, 2);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, t + US, t + MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	expect_verdict(&b, VERDICT_SERIALIZED, "tasks called py do one at a time: ");
	drop(&b);
}

/* No name has half of it. */
Test(turns, of_several_names)
{
	struct built b = build(starts(12, 5 * MS));

	expect_verdict(&b, VERDICT_SERIALIZED, "what 12 tasks (");
	cr_expect(strstr(b.r.headline, ", …) do one at a time: "), "%s", b.r.headline);
	drop(&b);
}

/* One after the other, in ms; main waits for what each of them writes. */
static struct built chain(const char *const *names, const unsigned *ms, uint32_t n)
{
	struct tb *tb = tb_new();
	uint64_t t = MS;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, MS);
	for (uint32_t i = 0, id = 2; i < n; i++, id++) {
		uint64_t end = t + ms[i] * MS;

		tb_fork(tb, id, 1, names[i], t);
		tb_on(tb, id, id % 4 + 1);
		tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, end, id);
		tb_run(tb, 1, end, end + US);
		tb_run(tb, id, t, end + US);
		tb_exit(tb, id, 0);
		t = end;
	}
	tb_run(tb, 1, t + US, t + MS);
	tb_exit(tb, 1, 0);
	return build(tb);
}

/* A script of commands, each of a name of its own: none of them is alone what it takes so long for.
 */
Test(turns, each_of_its_own_name)
{
	static const char *const names[] = {"sed", "awk", "sort", "gzip"};
	static const unsigned ms[] = {6, 8, 6, 7};
	struct built b = chain(names, ms, 4);

	expect_verdict(&b, VERDICT_SERIALIZED,
	               "SERIALIZED by what 4 tasks (awk, gzip, sed, …) do one at a time: ");
	cr_expect(!strstr(b.r.headline, " alone "), "each of them again: %s", b.r.headline);
	drop(&b);
}

/* Those of whose name there is most come first, not the longest one's. */
Test(turns, the_largest_name_first)
{
	static const char *const names[] = {"wc", "sh", "sh", "date", "sh"};
	static const unsigned ms[] = {2, 3, 3, 6, 3};
	struct built b = chain(names, ms, 5);

	expect_verdict(&b, VERDICT_SERIALIZED, "SERIALIZED by what 5 tasks (sh, date, wc) do one ");
	drop(&b);
}

/* Each is too small for the account's list; all of a name are not. */
Test(turns, crowds_are_parts_of_the_account)
{
	struct built b = build(starts(400, MS));
	struct report_opts o = {0};
	struct err err = {0};
	size_t n = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &n);

	cr_assert(out);
	cr_expect_eq(report_text(&b.r, &o, out, &err), 0);
	fclose(out);
	for (unsigned i = 0; i < 4; i++) {
		static const char *const names[] = {"date", "sh", "wc", "od"};
		char part[64];

		snprintf(part, sizeof(part), "100 %s alone, one by one 11.3 %%", names[i]);
		cr_expect(strstr(text, part), "%s: %s", part, text);
	}
	cr_expect(!strstr(text, " smaller "), "none of them again: %s", text);
	free(text);
	drop(&b);
}
