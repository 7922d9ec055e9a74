/* SPDX-License-Identifier: MIT */
/*
 * initfini.c: rows of .init and .fini, which the C library's start files make of hand-written
 * pieces without call frame information. The dynamic linker calls .init before anything else of a
 * library, so where its pages are not in memory yet this is where its reading is waited for.
 *
 * Followed is what these pieces are on x86-64, with or without endbr64 before: glibc's, which lower
 * the stack pointer by 8 at the start and raise it before the return, musl's, which push and pop a
 * register. What else is in there may call, but leaves the stack pointer as it was.
 */
#include <string.h>

#include "unwind_priv.h"

#define CODE_MAX 4096

static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
static const struct {
	uint8_t enter[4], leave[5];
	uint8_t n_enter, n_leave; /* the last byte of `leave` is the return */
} forms[] = {
        {{0x48, 0x83, 0xec, 0x08}, {0x48, 0x83, 0xc4, 0x08, 0xc3}, 4, 5},
        {{0x50}, {0x58, 0xc3}, 1, 2},
};

/* Where the stack pointer has been lowered, and the return; from the start on. */
static bool find_form(const uint8_t *p, size_t n, size_t *lowered, size_t *back)
{
	size_t at =
	        n >= sizeof(endbr64) && !memcmp(p, endbr64, sizeof(endbr64)) ? sizeof(endbr64) : 0;

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		size_t in = forms[i].n_enter, out = forms[i].n_leave;

		if (n < at + in + out || memcmp(p + at, forms[i].enter, in) != 0 ||
		    memcmp(p + n - out, forms[i].leave, out) != 0)
			continue;
		*lowered = at + in;
		*back = n - 1;
		return true;
	}
	return false;
}

static bool read_code(const struct image *im, const struct image_place *place, struct buf *b)
{
	return place->n && place->n <= CODE_MAX && !image_read(im, place->off, place->n, b);
}

int initfini_list(const struct image *im, fde_vec *out)
{
	const struct {
		const struct image_place *place;
		uint64_t vaddr;
	} known[] = {{&im->init, im->init_vaddr}, {&im->fini, im->fini_vaddr}};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(known) && !rc; i++) {
		struct buf b = {0};
		size_t lowered, back;

		if (read_code(im, known[i].place, &b) && known[i].vaddr + b.n > known[i].vaddr &&
		    find_form(b.p, b.n, &lowered, &back)) {
			const struct fde f = {.start = known[i].vaddr,
			                      .end = known[i].vaddr + b.n,
			                      .ins = (uint32_t)lowered,
			                      .ins_n = (uint32_t)back,
			                      .source = FDE_INITFINI};

			rc = vec_push(out, f);
		}
		buf_release(&b);
	}
	return rc;
}

int initfini_rows(const struct fde *f, cfa_row fn, void *ctx)
{
	int rc = fn(ctx, f->start, MT_INFO(MT_UNW_RSP, 0, 1, 0));

	if (!rc)
		rc = fn(ctx, f->start + f->ins, MT_INFO(MT_UNW_RSP, 0, 2, 0));
	return rc ? rc : fn(ctx, f->start + f->ins_n, MT_INFO(MT_UNW_RSP, 0, 1, 0));
}
