/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unwind_priv.h"

/* The bytes between two functions are padding, and nobody is called from there: no row. */
#define PADDING_MAX 16

struct builder {
	const struct image *im;
	VEC(uint64_t) rows;
	uint64_t seg_vaddr, seg_off; /* of the segment that the current FDE lies in */
	uint64_t limit;              /* … its code ends here: the next one's start */
	uint64_t covered;            /* end of the code covered so far */
	uint64_t work;
};

static int compare_fde(const void *a, const void *b)
{
	const struct fde *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->source != y->source)
		return x->source < y->source ? -1 : 1;
	return x->ins < y->ins ? -1 : x->ins > y->ins;
}

static int compare_row(const void *a, const void *b)
{
	uint32_t x = MT_ROW_OFF(*(const uint64_t *)a), y = MT_ROW_OFF(*(const uint64_t *)b);

	return x < y ? -1 : x > y;
}

static int add_row(struct builder *b, uint64_t vaddr, uint32_t info)
{
	uint64_t off = vaddr - b->seg_vaddr + b->seg_off;
	uint64_t *last = b->rows.n ? &b->rows.v[b->rows.n - 1] : NULL;

	if (off > UINT32_MAX)
		return 0;
	if (last && MT_ROW_OFF(*last) == off) {
		*last = MT_ROW(off, info); /* a row of no length */
		return 0;
	}
	if (last && MT_ROW_INFO(*last) == info && MT_ROW_OFF(*last) < off)
		return 0;
	if (b->rows.n >= UNWIND_MAX_WORDS)
		return -E2BIG;
	return vec_push(&b->rows, MT_ROW(off, info));
}

static int on_row(void *ctx, uint64_t vaddr, uint32_t info)
{
	struct builder *b = ctx;

	return vaddr < b->limit ? add_row(b, vaddr, info) : 0;
}

static bool is_bottom(const struct image *im, uint64_t start)
{
	for (size_t i = 0; i < im->bottoms.n; i++)
		if (im->bottoms.v[i] == start)
			return true;
	return false;
}

/* The rows of one function. */
static int function_rows(struct builder *b, const struct fde *f, struct cie *cie)
{
	const struct image_bytes *sec =
	        f->source == FDE_DEBUG ? &b->im->debug_frame : &b->im->eh_frame;
	struct cursor ins = {sec->data.p + f->ins, sec->data.p + f->ins + f->ins_n, false};
	struct cfa_state s = cie->initial;

	if (is_bottom(b->im, f->start))
		return add_row(b, f->start, MT_INFO(MT_UNW_BOTTOM, 0, 0, 0));
	if (f->source == FDE_INITFINI)
		return initfini_rows(f, on_row, b);
	if (f->source == FDE_SCANNED)
		return codeframes_rows(b->im, f, on_row, b);
	if (f->source >= FDE_GO)
		return golang_rows(b->im, f, on_row, b);
	return cfa_run(cie, &s, &ins, f->start, f->end, on_row, b);
}

static int add_fde(struct builder *b, const struct fde *f, const struct fde *next, struct cie *cie)
{
	const struct image_bytes *sec =
	        f->source == FDE_DEBUG ? &b->im->debug_frame : &b->im->eh_frame;
	uint64_t off, left;
	int rc;

	b->work += f->ins_n + 16;
	if (b->work > UNWIND_MAX_WORK)
		return -E2BIG;
	if (f->start < b->covered || image_offset(b->im, f->start, true, &off, &left))
		return 0; /* within another function: hostile, or a part that says the same */
	if (f->source < FDE_GO && !cfi_cie(sec, f->source == FDE_DEBUG, f->cie, cie))
		return 0;
	b->seg_vaddr = f->start;
	b->seg_off = off;
	b->limit = f->end - f->start > left ? f->start + left : f->end;
	if (next && next->start < b->limit && next->start > f->start)
		b->limit = next->start;
	rc = function_rows(b, f, cie);
	if (rc)
		return rc;
	b->covered = b->limit;
	if (next && next->start >= b->limit && next->start - b->limit < PADDING_MAX)
		return 0;
	return add_row(b, b->limit, MT_INFO(MT_UNW_NONE, 0, 0, 0));
}

static int make_rows(struct builder *b, fde_vec *fdes)
{
	struct cie cie = {0};
	enum fde_source source = FDE_EH;
	int rc = 0;

	if (fdes->n)
		qsort(fdes->v, fdes->n, sizeof(fdes->v[0]), compare_fde);
	for (size_t i = 0; i < fdes->n && !rc; i++) {
		if (fdes->v[i].source != source)
			cie.valid = false; /* offsets count in another section */
		source = fdes->v[i].source;
		rc = add_fde(b, &fdes->v[i], i + 1 < fdes->n ? &fdes->v[i + 1] : NULL, &cie);
	}
	for (size_t i = 1; i < b->rows.n; i++) {
		if (MT_ROW_OFF(b->rows.v[i]) <= MT_ROW_OFF(b->rows.v[i - 1])) {
			/* Segments in another order in the file than in memory. */
			qsort(b->rows.v, b->rows.n, sizeof(b->rows.v[0]), compare_row);
			break;
		}
	}
	return rc;
}

static int add_index(struct unwind_table *t, const struct builder *b)
{
	uint32_t first = MT_ROW_OFF(b->rows.v[0]) >> MT_BLOCK_SHIFT;
	uint32_t last = MT_ROW_OFF(b->rows.v[b->rows.n - 1]) >> MT_BLOCK_SHIFT;
	size_t row = 0;

	if ((uint64_t)last - first + 2 + b->rows.n > UNWIND_MAX_WORDS)
		return -E2BIG;
	t->base_block = first;
	t->n_blocks = last - first + 1;
	t->n_rows = (uint32_t)b->rows.n;
	if (vec_reserve(&t->words, t->n_blocks + 1 + b->rows.n))
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n_blocks; i++) {
		uint64_t start = (uint64_t)(first + i) << MT_BLOCK_SHIFT;

		while (row + 1 < b->rows.n && MT_ROW_OFF(b->rows.v[row + 1]) <= start)
			row++;
		t->words.v[t->words.n++] = row;
	}
	t->words.v[t->words.n++] = b->rows.n - 1;
	memcpy(t->words.v + t->words.n, b->rows.v, b->rows.n * sizeof(b->rows.v[0]));
	t->words.n += b->rows.n;
	return 0;
}

int unwind_table_build(struct unwind_table *t, int fd)
{
	struct image im;
	struct builder b = {.im = &im};
	fde_vec fdes = {0};
	int rc;

	memset(t, 0, sizeof(*t));
	rc = image_open(&im, fd);
	if (!rc)
		rc = image_frames(&im);
	if (!rc && im.eh_frame.data.n)
		rc = cfi_list(&im, &im.eh_frame, false, &fdes);
	if (!rc && im.debug_frame.data.n)
		rc = cfi_list(&im, &im.debug_frame, true, &fdes);
	if (!rc && im.is_go)
		rc = golang_list(&im, &fdes);
	if (!rc)
		rc = initfini_list(&im, &fdes);
	if (!rc)
		rc = codeframes_list(&im, &fdes);
	if (!rc)
		rc = make_rows(&b, &fdes);
	if (!rc)
		rc = b.rows.n ? add_index(t, &b) : -ENODATA;
	vec_release(&fdes);
	vec_release(&b.rows);
	image_release(&im);
	return rc;
}

void unwind_table_release(struct unwind_table *t)
{
	vec_release(&t->words);
	memset(t, 0, sizeof(*t));
}
