/* SPDX-License-Identifier: MIT */
/* Rows by instructions, where there is no call frame information: pieces of code worked out by
 * hand, and this program's own code against the information that its compiler left. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unwind/codesteps.h"
#include "unwind/unwind_priv.h"

#define BASE 0x1000

static code_row_vec rows_of(const uint8_t *code, size_t n, const uint64_t *starts, size_t n_sure,
                            size_t n_starts)
{
	struct code_starts s = {.v = (uint64_t *)starts, .n = n_starts, .n_sure = n_sure};
	code_row_vec rows = {0};

	cr_assert_eq(code_rows(code, n, BASE, &s, &rows), 0);
	return rows;
}

static uint32_t at(const code_row_vec *rows, uint64_t vaddr)
{
	uint32_t info = 0;

	for (size_t i = 0; i < rows->n && rows->v[i].vaddr <= vaddr; i++)
		info = rows->v[i].info;
	return info;
}

static void expect_cfa(const code_row_vec *rows, uint64_t offset, int64_t cfa, int64_t bp)
{
	uint32_t info = at(rows, BASE + offset);

	cr_expect_eq(MT_INFO_KIND(info), MT_UNW_RSP, "at %lu: kind %u", offset, MT_INFO_KIND(info));
	cr_expect_eq(MT_INFO_CFA(info), cfa, "at %lu: CFA %ld", offset, (long)MT_INFO_CFA(info));
	cr_expect_eq(MT_INFO_BP(info), bp, "at %lu: rbp %ld", offset, (long)MT_INFO_BP(info));
}

static void expect_kind(const code_row_vec *rows, uint64_t offset, unsigned kind)
{
	cr_expect_eq(MT_INFO_KIND(at(rows, BASE + offset)), kind, "at %lu: kind %u", offset,
	             MT_INFO_KIND(at(rows, BASE + offset)));
}

Test(codeframes, pushes_and_a_branch)
{
	static const uint8_t code[] = {
	        0x55,                         /*  0 push %rbp */
	        0x53,                         /*  1 push %rbx */
	        0x48, 0x83, 0xec, 0x18,       /*  2 sub $0x18,%rsp */
	        0x85, 0xff,                   /*  6 test %edi,%edi */
	        0x74, 0x08,                   /*  8 je 18 */
	        0x48, 0x83, 0xc4, 0x18,       /* 10 add $0x18,%rsp */
	        0x5b,                         /* 14 pop %rbx */
	        0x5d,                         /* 15 pop %rbp */
	        0xc3,                         /* 16 ret */
	        0x90,                         /* 17 nop */
	        0xe8, 0x00, 0x00, 0x00, 0x10, /* 18 call elsewhere */
	        0xeb, 0xf1,                   /* 23 jmp 10 */
	};
	code_row_vec rows = rows_of(code, sizeof(code), NULL, 0, 0);

	expect_cfa(&rows, 0, 8, 0);
	expect_cfa(&rows, 1, 16, -16);
	expect_cfa(&rows, 2, 24, -16);
	expect_cfa(&rows, 6, 48, -16);
	expect_cfa(&rows, 14, 24, -16);
	expect_cfa(&rows, 16, 8, 0);
	expect_cfa(&rows, 18, 48, -16);
	expect_cfa(&rows, 23, 48, -16);
	vec_release(&rows);
}

/* It returns elsewhere than it came from: nothing of it is believed; what is before and behind is.
 */
Test(codeframes, what_does_not_come_back)
{
	static const uint8_t code[] = {
	        0x53, 0x5b, 0xc3,       /* push %rbx; pop %rbx; ret */
	        0x53, 0x53, 0x5b, 0xc3, /* 3 push; push; pop; ret */
	        0x53, 0x5b, 0xc3,       /* 7 */
	};
	static const uint64_t starts[] = {BASE + 3, BASE + 7};
	code_row_vec rows = rows_of(code, sizeof(code), starts, 2, 2);

	expect_cfa(&rows, 1, 16, 0);
	for (uint64_t i = 3; i < 7; i++)
		expect_kind(&rows, i, MT_UNW_NONE);
	expect_cfa(&rows, 8, 16, 0);
	vec_release(&rows);
}

/* Two ways that do not agree on where the stack is. */
Test(codeframes, ways_that_differ)
{
	static const uint8_t code[] = {
	        0x74, 0x01,             /* 0 je 3 */
	        0x53,                   /* 2 push %rbx */
	        0xf3, 0x0f, 0x1e, 0xfa, /* 3 endbr64 */
	        0xf4,                   /* 7 hlt */
	};
	code_row_vec rows = rows_of(code, sizeof(code), NULL, 0, 0);

	expect_kind(&rows, 3, MT_UNW_NONE);
	expect_kind(&rows, 0, MT_UNW_NONE);
	vec_release(&rows);
}

/* An aligned stack is found by rbp; a variable one, too. */
Test(codeframes, by_rbp)
{
	static const uint8_t code[] = {
	        0x55,                   /* 0 push %rbp */
	        0x48, 0x89, 0xe5,       /* 1 mov %rsp,%rbp */
	        0x48, 0x83, 0xe4, 0xe0, /* 4 and $-32,%rsp */
	        0x90,                   /* 8 */
	        0xc9,                   /* 9 leave */
	        0xc3,                   /* 10 ret */
	};
	code_row_vec rows = rows_of(code, sizeof(code), NULL, 0, 0);
	uint32_t info = at(&rows, BASE + 8);

	expect_cfa(&rows, 4, 16, -16);
	cr_expect_eq(MT_INFO_KIND(info), MT_UNW_RBP);
	cr_expect_eq(MT_INFO_CFA(info), 16);
	cr_expect_eq(MT_INFO_BP(info), -16);
	expect_cfa(&rows, 10, 8, 0);
	vec_release(&rows);
}

/* musl's clone() and restore_rt, as its assembly says them. */
Test(codeframes, a_threads_start_and_a_handlers_return)
{
	static const uint8_t code[] = {
	        0x0f, 0x05,                               /*  0 syscall */
	        0x85, 0xc0,                               /*  2 test %eax,%eax */
	        0x75, 0x0d,                               /*  4 jne 19 */
	        0x31, 0xed,                               /*  6 xor %ebp,%ebp */
	        0x5f,                                     /*  8 pop %rdi */
	        0x41, 0xff, 0xd1,                         /*  9 call *%r9 */
	        0x89, 0xc7,                               /* 12 mov %eax,%edi */
	        0xb0, 0x3c,                               /* 14 mov $60,%al */
	        0x0f, 0x05,                               /* 16 syscall */
	        0xf4,                                     /* 18 hlt */
	        0xc3,                                     /* 19 ret */
	        0x90,                                     /* 20 */
	        0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, /* 21 mov $15,%rax */
	        0x0f, 0x05,                               /* 28 syscall */
	};
	code_row_vec rows = rows_of(code, sizeof(code), NULL, 0, 0);

	expect_cfa(&rows, 2, 8, 0);
	expect_kind(&rows, 8, MT_UNW_BOTTOM);
	expect_kind(&rows, 11, MT_UNW_BOTTOM);
	expect_cfa(&rows, 19, 8, 0);
	expect_kind(&rows, 20, MT_UNW_SIGNAL);
	expect_kind(&rows, 21, MT_UNW_SIGNAL);
	vec_release(&rows);
}

/* The next function is not part of the one that ends in a call that does not return. */
Test(codeframes, behind_a_call_that_does_not_return)
{
	uint8_t code[32];
	code_row_vec rows;

	memset(code, 0x90, sizeof(code));
	memcpy(code, (const uint8_t[]){0x53, 0x74, 0x02, 0x5b, 0xc3, 0xe8, 0, 0, 0, 0x10}, 10);
	memcpy(code + 16, (const uint8_t[]){0x55, 0x5d, 0xc3}, 3); /* who calls this is not known */
	rows = rows_of(code, sizeof(code), NULL, 0, 0);
	expect_cfa(&rows, 5, 16, 0);
	expect_kind(&rows, 17, MT_UNW_NONE);
	vec_release(&rows);
	rows = rows_of(code, sizeof(code), (const uint64_t[]){BASE + 16}, 1, 1);
	expect_cfa(&rows, 5, 16, 0);
	expect_cfa(&rows, 17, 16, -16);
	vec_release(&rows);
}

/* --- against the compiler's own information --- */

struct agreement {
	size_t same, none, other;
};

static bool agree(uint32_t got, uint32_t want)
{
	if (MT_INFO_KIND(got) == MT_INFO_KIND(want))
		return MT_INFO_CFA(got) == MT_INFO_CFA(want);
	/* Both ways may lead there. */
	return MT_INFO_KIND(got) == MT_UNW_RBP || MT_INFO_KIND(want) == MT_UNW_RBP;
}

static struct agreement compare(struct image *im, const struct unwind_view *v)
{
	struct agreement a = {0};
	code_step_vec steps = {0};
	struct buf b = {0};
	size_t row = 0;

	cr_assert(!image_read(im, im->text.off, im->text.n, &b) && !code_steps(b.p, b.n, &steps));
	for (size_t i = 0; i < steps.n; i++) {
		uint64_t vaddr = im->text_vaddr + steps.v[i].at;
		uint32_t want = unwind_find(v, im->text.off + steps.v[i].at), got;

		if (steps.v[i].op == CODE_PAD || MT_INFO_KIND(want) == MT_UNW_NONE)
			continue;
		while (row + 1 < im->code_rows.n && im->code_rows.v[row + 1].vaddr <= vaddr)
			row++;
		got = im->code_rows.v[row].info;
		if (MT_INFO_KIND(got) == MT_UNW_NONE)
			a.none++;
		else if (agree(got, want))
			a.same++;
		else
			a.other++;
	}
	vec_release(&steps);
	buf_release(&b);
	return a;
}

/* Sanitizers put in calls that do not return, and much else. */
#if defined(__SANITIZE_ADDRESS__)
#define NONE_PART 2
#else
#define NONE_PART 10
#endif

Test(codeframes, this_program_as_its_compiler_says)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct unwind_table t;
	struct unwind_view v;
	fde_vec none = {0};
	struct agreement a;
	struct image im;

	cr_assert_eq(unwind_table_build(&t, fd), 0);
	v = (struct unwind_view){t.words.v, (uint32_t)t.words.n, t.base_block, t.n_blocks};
	cr_assert(!image_open(&im, fd) && !image_frames(&im) && !codeframes_list(&im, &none));
	if (!im.code_rows.n)
		cr_skip_test("keeps frame pointers");
	a = compare(&im, &v);
	cr_expect_gt(a.same, 10000);
	cr_expect_lt(a.none, a.same / NONE_PART, "%zu of %zu not followed", a.none, a.same);
	cr_expect_leq(a.other, a.same / 1000, "%zu of %zu are elsewhere", a.other, a.same);
	vec_release(&none);
	unwind_table_release(&t);
	image_release(&im);
	close(fd);
}
