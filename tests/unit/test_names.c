/* SPDX-License-Identifier: MIT */
/* Stacks, rows, and names of addresses; system call tables; facts of the recording. */
#include "model_test.h"

static uint32_t user_stack(struct tb *tb, uint32_t space, uint64_t a, uint64_t b)
{
	return tb_stack(tb, STACK_USER, space, (uint64_t[]){a, b}, 2);
}

static const char *name_at(const struct model *m, uint32_t stack, uint32_t i, struct frame *out)
{
	const struct mstack *s = model_stack(m, stack);
	size_t n = model_resolve(m, s, i, out, 1);

	cr_assert_eq(n, 1);
	return out->name ? out->name : "";
}

Test(names, user_frames)
{
	struct tb *tb = tb_new();
	struct frame f, many[4];
	uint32_t stack;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_map(tb, 1, 0x400000, 0x410000, 0x1000, "/bin/app");
	tb_symbol(tb, "/bin/app", 0x1010, "wait_here", 0x10, 0);
	tb_symbol(tb, "/bin/app", 0x2000, "said before", 0x20, 0);
	tb_symbol(tb, "/bin/app", 0x2000, "outer", 0x20, 0);
	tb_symbol(tb, "/bin/app", 0x2000, "inlined", 0, 1);
	tb_symbol(tb, "/bin/app", 0x2000, "deepest", 0, 2);
	tb_symbol(tb, "/bin/app", 0x3000, NULL, 0, 0);
	stack = tb_stack(tb, STACK_USER, 1,
	                 (uint64_t[]){0x400010, 0x401000, 0x402000, 0x403000, 0x500000}, 5);
	m = load(tb, NULL);
	cr_expect_str_eq(name_at(m, stack, 0, &f), "wait_here");
	cr_expect_str_eq(f.module, "/bin/app");
	cr_expect_eq(f.offset, 0x1010);
	cr_expect_eq(f.name_off, 0x10);
	cr_assert_eq(model_resolve(m, model_stack(m, stack), 1, many, 4), 3);
	cr_expect_str_eq(many[0].name, "deepest");
	cr_expect_str_eq(many[1].name, "inlined");
	cr_expect_str_eq(many[2].name, "outer");
	cr_expect(many[0].inlined && many[1].inlined && !many[2].inlined);
	cr_expect_str_eq(name_at(m, stack, 2, &f), "", "looked for, not found");
	cr_expect_str_eq(f.module, "/bin/app");
	cr_expect_str_eq(name_at(m, stack, 3, &f), "", "no symbol record");
	cr_expect_eq(f.offset, 0x4000);
	cr_expect_str_eq(name_at(m, stack, 4, &f), "");
	cr_expect_str_eq(f.module, "", "unmapped");
	cr_expect_eq(f.offset, 0x500000);
	cr_expect_eq(model_resolve(m, model_stack(m, stack), 5, many, 4), 0);
	cr_expect_eq(model_resolve(m, model_stack(m, stack), 0, many, 0), 0);
	model_free(m);
}

Test(names, kernel_frames)
{
	struct tb *tb = tb_new();
	uint32_t stack = tb_stack(tb, STACK_KERNEL, 0, (uint64_t[]){0xffffffff81000010}, 1);
	struct frame f;
	struct model *m;

	tb_symbol(tb, "[kernel]", 0xffffffff81000010, "schedule", 0x10, 0);
	m = load(tb, NULL);
	cr_expect_str_eq(name_at(m, stack, 0, &f), "schedule");
	cr_expect_str_eq(f.module, "[kernel]");
	model_free(m);
}

/* A forked space sees what its parent had mapped by then, and its own since. */
Test(names, forked_spaces_inherit)
{
	struct rec_map late = {.space = 1, .start = 0x9000, .end = 0xa000},
	               over = {.space = 1, .start = 0x1000, .end = 0x2000};
	uint64_t addr = 0x1800;
	struct rec_stack later = {.id = 70, .kind = STACK_USER, .space = 3, .frames = {&addr, 1}};
	struct tb *tb = tb_new();
	uint32_t stack, own;
	struct frame f;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 9 * MS);
	tb_fork(tb, 2, 1, "child", 5 * MS);
	tb_fork(tb, 3, 2, "grandchild", 6 * MS);
	tb_map(tb, 1, 0x1000, 0x2000, 0, "/lib/old");
	tb_map(tb, 3, 0x3000, 0x4000, 0, "/lib/own");
	late.file = tb_string(tb, "/lib/late");
	tb_raw(tb, REC_K_MAP, TB_EPOCH + 8 * MS, &late);
	over.file = tb_string(tb, "/lib/new");
	tb_raw(tb, REC_K_MAP, TB_EPOCH + 7 * MS, &over);
	tb_raw(tb, REC_K_STACK, TB_EPOCH + 9 * MS, &later);
	stack = user_stack(tb, 3, 0x1800, 0x3800);
	own = user_stack(tb, 1, 0x9800, 0x3800);
	m = load(tb, NULL);
	name_at(m, stack, 0, &f);
	cr_expect_str_eq(f.module, "/lib/old");
	name_at(m, 70, 0, &f);
	cr_expect_str_eq(f.module, "/lib/old", "what the parent mapped since is not the child's");
	name_at(m, stack, 1, &f);
	cr_expect_str_eq(f.module, "/lib/own");
	name_at(m, own, 0, &f);
	cr_expect_str_eq(f.module, "/lib/late");
	name_at(m, own, 1, &f);
	cr_expect_str_eq(f.module, "", "not the child's");
	model_free(m);
}

/* A mapping that took another's place counts from then on. */
Test(names, replaced_mappings)
{
	struct rec_map second = {.space = 1, .start = 0x1800, .end = 0x3000};
	uint64_t addr = 0x1900;
	struct rec_stack before = {.id = 70, .kind = STACK_USER, .space = 1, .frames = {&addr, 1}};
	struct rec_stack after = {.id = 71, .kind = STACK_USER, .space = 1, .frames = {&addr, 1}};
	struct tb *tb = tb_new();
	struct frame f;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_map(tb, 1, 0x1000, 0x2000, 0, "/lib/first");
	second.file = tb_string(tb, "/lib/second");
	tb_raw(tb, REC_K_MAP, TB_EPOCH + 5 * MS, &second);
	tb_raw(tb, REC_K_STACK, TB_EPOCH + 4 * MS, &before);
	tb_raw(tb, REC_K_STACK, TB_EPOCH + 6 * MS, &after);
	m = load(tb, NULL);
	name_at(m, 70, 0, &f);
	cr_expect_str_eq(f.module, "/lib/first");
	name_at(m, 71, 0, &f);
	cr_expect_str_eq(f.module, "/lib/second");
	model_free(m);
}

Test(names, spaces_in_a_circle)
{
	struct rec_space a = {.id = 50, .parent = 51}, b = {.id = 51, .parent = 50},
	                 self = {.id = 52, .parent = 52};
	struct tb *tb = tb_new();
	uint32_t one = user_stack(tb, 50, 1, 2), two = user_stack(tb, 52, 1, 2);
	struct frame f;
	struct model *m;

	tb_raw(tb, REC_K_SPACE, TB_EPOCH, &a);
	tb_raw(tb, REC_K_SPACE, TB_EPOCH, &b);
	tb_raw(tb, REC_K_SPACE, TB_EPOCH, &self);
	m = load(tb, NULL);
	cr_expect_str_eq(name_at(m, one, 0, &f), "");
	cr_expect_str_eq(name_at(m, two, 0, &f), "");
	model_free(m);
}

Test(names, rows_of_stacks)
{
	const struct stack_row *rows;
	struct tb *tb = tb_new();
	uint32_t a, b;
	struct model *m;
	size_t n;

	tb_task(tb, 1, "main");
	a = user_stack(tb, 1, 1, 2);
	b = user_stack(tb, 1, 3, 4);
	tb_run(tb, 1, 0, 1 * MS);
	tb_stacks(tb, 1, a, 0);
	tb_futex_wait(tb, 1, 0x1000, 3 * MS, 0);
	tb_run(tb, 1, 4 * MS, 5 * MS);
	tb_futex_wait(tb, 1, 0x1000, 6 * MS, 0);
	tb_run(tb, 1, 6 * MS, 7 * MS);
	tb_stacks(tb, 1, b, 0);
	tb_futex_wait(tb, 1, 0x1000, 8 * MS, 0);
	tb_run(tb, 1, 8 * MS, 9 * MS);
	tb_sample(tb, 1, 500 * US, b, 0);
	tb_sample(tb, 1, 600 * US, b, 0);
	tb_sample(tb, 1, 700 * US, a, 0);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	n = model_off_cpu(m, &rows);
	cr_assert_eq(n, 2);
	cr_expect_eq(rows[0].ustack, a);
	cr_expect_eq(rows[0].blocked_ns, 3 * MS);
	cr_expect_eq(rows[0].runnable_ns, 1 * MS);
	cr_expect_eq(rows[0].count, 2);
	cr_expect_eq(rows[0].cause, BLOCK_FUTEX);
	cr_expect_eq(rows[1].ustack, b);
	n = model_on_cpu(m, &rows);
	cr_assert_eq(n, 2);
	cr_expect_eq(rows[0].ustack, b);
	cr_expect_eq(rows[0].count, 2);
	cr_expect_eq(model_task(m, 1)->samples, 3);
	cr_assert_eq(model_futex_at(m, 0)->sites.n, 2);
	cr_expect_eq(model_futex_at(m, 0)->sites.v[0].wait_ns, 3 * MS);
	model_free(m);
}

Test(names, system_calls)
{
	cr_expect_str_eq(syscall_name("x86_64", 202), "futex");
	cr_expect_str_eq(syscall_name("aarch64", 98), "futex");
	cr_expect_str_eq(syscall_name("x86_64", 449), "futex_waitv");
	cr_expect_str_eq(syscall_name("aarch64", 455), "futex_wait");
	cr_expect_str_eq(syscall_name("x86_64", 0), "read");
	cr_expect_str_eq(syscall_name("aarch64", 63), "read");
	cr_expect_null(syscall_name("x86_64", -1));
	cr_expect_null(syscall_name("x86_64", 100000));
	cr_expect_null(syscall_name("aarch64", 244)); /* a hole */
	cr_expect_null(syscall_name("riscv64", 63));
	cr_expect_null(syscall_name("", 0));
}

/* Numbers of one machine name one call each. */
Test(names, system_call_numbers_are_unique)
{
	static const char *const arches[] = {"x86_64", "aarch64"};

	for (size_t a = 0; a < ARRAY_LEN(arches); a++) {
		size_t known = 0;

		for (int32_t i = 0; i < 600; i++) {
			const char *name = syscall_name(arches[a], i);

			for (int32_t k = 0; name && k < i; k++)
				if (syscall_name(arches[a], k))
					cr_assert_str_neq(name, syscall_name(arches[a], k));
			known += name != NULL;
		}
		cr_expect_gt(known, 300);
	}
}

/* A 32-bit process has other numbers. */
Test(names, compat_calls_have_no_cause)
{
	struct site compat = {.nr = 61, .arch = 1}, own = {.nr = 61};

	cr_expect_eq(syscall_cause("x86_64", &compat), BLOCK_OTHER);
	cr_expect_eq(syscall_cause("x86_64", &own), BLOCK_CHILD);
}

Test(names, exit_statuses)
{
	cr_expect_eq(shell_status(0), 0);
	cr_expect_eq(shell_status(3 << 8), 3);
	cr_expect_eq(shell_status(9), 137);
	cr_expect_eq(shell_status(11 | 128), 139, "with a core dump");
	cr_expect_eq(shell_status(UINT64_MAX), 128 + 127);
}

Test(names, facts_losses_costs_notes)
{
	const struct bpf_cost *costs;
	const struct loss *losses;
	const char *const *notes;
	struct tb *tb = tb_new();
	struct model *m;

	tb_meta(tb, META_CPUS, "1.5");
	tb_meta(tb, META_HOST, "old");
	tb_meta(tb, META_HOST, "new");
	tb_loss(tb, "ring-full", 3);
	tb_loss(tb, "ring-full", 8);
	tb_loss(tb, "task-state", 1);
	tb_loss(tb, "nothing", 0);
	tb_cost(tb, "recorder cpu", 1, 5 * MS);
	tb_note(tb, "said once");
	tb_note(tb, "said once");
	m = load(tb, NULL);
	cr_expect_str_eq(model_meta(m, META_HOST), "new");
	cr_expect_float_eq(model_recording(m)->cpus, 1.5, 1e-9);
	cr_expect_eq(model_recording(m)->page_size, 4096);
	cr_assert_eq(model_losses(m, &losses), 2, "cumulative counts; none is no loss");
	cr_expect_eq(losses[0].count, 8);
	cr_expect_eq(model_recording(m)->lost, 9);
	cr_assert_eq(model_costs(m, &costs), 1);
	cr_expect_str_eq(costs[0].name, "recorder cpu");
	cr_assert_eq(model_notes(m, &notes), 1);
	cr_expect_str_eq(notes[0], "said once");
	model_free(m);
}

Test(names, senseless_facts)
{
	static const char *const values[] = {"nan", "inf", "-3", "", "1e999", "x"};

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct tb *tb = tb_new();
		struct model *m;

		tb_meta(tb, META_CPUS, values[i]);
		tb_meta(tb, META_PAGE_SIZE, values[i]);
		m = load(tb, NULL);
		cr_expect_float_eq(model_recording(m)->cpus, 0, 1e-9);
		cr_expect_eq(model_recording(m)->page_size, 4096);
		model_free(m);
	}
}
