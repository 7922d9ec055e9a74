/* SPDX-License-Identifier: MIT */
/* Waits of recordings that make no sense, or are large: what is promised holds all the same. */
#include "locks_test.h"
#include "rnd.h"

static uint64_t wild(uint64_t below)
{
	return rnd(12) ? rnd(below) : rnd(2) ? UINT64_MAX - rnd(3) : 1ull << rnd(64);
}

static uint64_t word_at(void)
{
	return 0x1000 + 4 * rnd(24);
}

/* --- definitions and events with anything in them ------------------------------------------- */

static void define(struct tb *tb, uint64_t ts)
{
	static const uint8_t address[20] = {127, 0, 0, 1};
	struct rec_task task = {.id = wild(8),
	                        .proc = wild(8),
	                        .space = wild(4),
	                        .ns_tid = wild(9),
	                        .flags = rnd(8),
	                        .ctid = rnd(2) ? word_at() : 0};
	struct rec_site site = {.id = wild(8),
	                        .nr_plus1 = rnd(2) ? 203 : rnd(400),
	                        .a0 = word_at(),
	                        .a1 = rnd(300),
	                        .a2 = rnd(9),
	                        .a3 = rnd(2),
	                        .arch = rnd(2) ? 0 : rnd(1024)};
	struct rec_file file = {.id = wild(6),
	                        .kind = wild(9),
	                        .inode = rnd(4),
	                        .peer = rnd(4),
	                        .family = rnd(2) ? 2 : wild(12),
	                        .laddr = {address, rnd(21)},
	                        .raddr = {address, rnd(21)},
	                        .lport = rnd(3),
	                        .rport = rnd(3)};
	struct rec_futex_key key = {
	        .space = wild(4), .addr = word_at(), .inode = rnd(3), .offset = 4 * wild(9)};
	struct rec_object object = {.space = wild(4),
	                            .addr = word_at(),
	                            .name = rnd(3),
	                            .off = wild(60),
	                            .size = wild(60)};
	struct rec_gil gil = {
	        .id = wild(4), .space = wild(4), .addr = wild(0x2000), .version = wild(9)};
	struct rec_space space = {.id = wild(4), .parent = wild(4)};

	switch (rnd(7)) {
	case 0:
		return tb_raw(tb, REC_K_TASK, ts, &task);
	case 1:
		return tb_raw(tb, REC_K_SITE, ts, &site);
	case 2:
		return tb_raw(tb, REC_K_FILE, ts, &file);
	case 3:
		return tb_raw(tb, REC_K_FUTEX_KEY, ts, &key);
	case 4:
		return tb_raw(tb, REC_K_OBJECT, ts, &object);
	case 5:
		return tb_raw(tb, REC_K_GIL, ts, &gil);
	default:
		return tb_raw(tb, REC_K_SPACE, ts, &space);
	}
}

static void happen(struct tb *tb, uint64_t ts)
{
	struct rec_switch sw = {.cpu = rnd(3),
	                        .prev = rnd(8),
	                        .next = rnd(8),
	                        .flags = rnd(2048),
	                        .site = wild(8),
	                        .word = rnd(9),
	                        .owner = rnd(9),
	                        .delay = rnd(MS),
	                        .ustack = rnd(3),
	                        .addr = word_at(),
	                        .park = rnd(5) ? 0 : word_at(),
	                        .file = wild(6),
	                        .gil = wild(4),
	                        .gil_state = rnd(2),
	                        .gil_holder = rnd(4),
	                        .gil_switches = rnd(99)};
	struct rec_waking wk = {.task = rnd(8),
	                        .waker = wild(8),
	                        .flags = rnd(128),
	                        .site = wild(8),
	                        .file = wild(6),
	                        .gil = wild(4),
	                        .gil_holder = rnd(4)};
	struct rec_holds holds = {.task = wild(8), .space = wild(4), .addr = word_at()};
	struct rec_pythread py = {.task = wild(8), .tstate = rnd(4)};

	switch (rnd(24)) {
	case 0:
		return tb_raw(tb, REC_K_HOLDS, ts, &holds);
	case 1:
		return tb_raw(tb, REC_K_PYTHREAD, ts, &py);
	case 2 ... 8:
		return tb_raw(tb, REC_K_WAKING, ts, &wk);
	default:
		return tb_raw(tb, REC_K_SWITCH, ts, &sw);
	}
}

Test(waits_hostile, random_records)
{
	for (unsigned round = 0; round < 2000; round++) {
		struct model_opts opts = {.flags = MODEL_SLICES};
		unsigned n = (unsigned)rnd(160);
		struct tb *tb = tb_new();
		uint64_t ts = TB_EPOCH;
		struct err err = {0};
		struct built b;

		if (round % 3 == 0)
			opts.since_ns = rnd(20 * MS);
		for (unsigned i = 0; i < n / 4; i++)
			define(tb, TB_EPOCH);
		for (unsigned i = 0; i < n; i++) {
			ts = rnd(50) ? ts + rnd(MS) : TB_EPOCH - SEC + rnd(2 * SEC);
			happen(tb, ts);
		}
		b.m = tb_load(tb, &opts);
		cr_assert(b.m);
		b.w = waits_build(b.m, &err);
		cr_assert(b.w, "round %u: %s", round, err.msg);
		expect_sound(b.w);
		built_free(&b);
		tb_free(tb);
	}
}

/* --- a mutex that many threads queue for
 * ---------------------------------------------------------- */

#define LOCK 0x5000

/* 1 has it until 1 ms, each later thread for 50 us after the one before it. */
static struct built queue_of(uint32_t threads)
{
	struct tb *tb = tb_program(threads, "main", "worker");
	uint32_t wake;
	uint64_t t = MS;

	wake = tb_site(tb, TB_NR_futex, LOCK, TB_FUTEX_WAKE, 1, FD_UNKNOWN);
	for (uint32_t id = 1; id <= threads; id++) {
		tb_wakes_by(tb, id, wake, 0);
		tb_run(tb, id, 0, id == 1 ? t : id * US / 4);
		if (id == 1)
			continue;
		tb_owner(tb, id, 1);
		tb_futex(tb, id, LOCK, TB_FUTEX_WAIT, 2, 0, t, id - 1);
		tb_run(tb, id, t, t + 50 * US);
		t += 50 * US;
	}
	return build_waits(tb);
}

Test(waits_hostile, a_queue_is_tiled_by_its_holders)
{
	const uint32_t threads = 40;
	struct built b = queue_of(threads);

	cr_expect_eq(b.w->locks.n, 1);
	cr_expect_eq(b.w->locks.v[0].owner_agree, threads - 1);
	for (uint32_t id = 3; id <= threads; id++) {
		expect_blame(&b, id, 0, MS / 2, BLAME_HELD, 1);
		for (uint32_t holder = 2; holder < id; holder++)
			expect_blame(&b, id, 0, MS + (holder - 2) * 50 * US + 25 * US, BLAME_HELD,
			             holder);
	}
	built_free(&b);
}

/* Beside thousands of others a wait has fewer pieces; who ended it is among them. */
Test(waits_hostile, long_queues_are_tiled_coarsely)
{
	const uint32_t threads = 1000;
	struct built b = queue_of(threads);

	cr_expect_lt(b.w->blames.n, 70 * threads);
	for (uint32_t id = 100; id <= threads; id++) {
		uint64_t end = MS + (id - 2) * 50 * US;

		expect_blame(&b, id, 0, MS / 2, BLAME_HELD, 1);
		expect_blame(&b, id, 0, end - 1, BLAME_HELD, id - 1);
	}
	built_free(&b);
}
