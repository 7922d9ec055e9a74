/* SPDX-License-Identifier: MIT */
/*
 * golang.c: Go's scheduler runs on stacks of its own. The functions that change over to such a
 * stack call on it what they were told to, but nobody called them there: what lies above
 * their frames is left over from something else. Go's call frame information does not say so.
 *
 * A stripped Go program has no call frame information, and frame pointers do not lead far: its
 * assembly, where it waits, keeps none. But the run-time library has a table of its own
 * (runtime/symtab.go: pcHeader, moduledata.ftab, _func), which is never stripped: each function's
 * start and name, and a list of how far rsp is from the return address at which place
 * ("pcsp": pairs of a signed difference and a number of bytes, as variable-length numbers), which
 * is what the linker makes .debug_frame of. Forms of Go 1.2, 1.16, 1.18 and 1.20 on.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "codesteps.h"
#include "unwind_priv.h"

#define SYMBOLS_MAX (4u << 20)
#define STRINGS_MAX (256u << 20)

static bool changes_stack(const char *name)
{
	static const char *const names[] = {"runtime.mcall", "runtime.systemstack",
	                                    "runtime.morestack", "runtime.asmcgocall"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t n = strlen(names[i]);

		if (!strncmp(name, names[i], n) && (!name[n] || !strcmp(name + n, ".abi0")))
			return true;
	}
	return false;
}

static int look_at(struct image *im, const struct buf *syms, const struct buf *strings)
{
	for (size_t at = 0; at + sizeof(Elf64_Sym) <= syms->n; at += sizeof(Elf64_Sym)) {
		const char *name;
		Elf64_Sym s;

		memcpy(&s, syms->p + at, sizeof(s));
		if (s.st_name >= strings->n || !s.st_shndx)
			continue;
		/* The last string ends where the buffer does, by the byte put behind it. */
		name = (const char *)strings->p + s.st_name;
		if (!strcmp(name, "crosscall_amd64"))
			im->crosscall = s.st_value;
		im->is_cgo |= !strcmp(name, "crosscall2");
		if (ELF64_ST_TYPE(s.st_info) != STT_FUNC || !changes_stack(name))
			continue;
		if (im->bottoms.n < 16 && vec_push(&im->bottoms, s.st_value))
			return -ENOMEM;
	}
	return 0;
}

/* The same by its instructions, where symbols do not name it. */
static int find_crosscall(struct image *im)
{
	static const uint8_t code[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56,
	                               0x41, 0x57, 0x48, 0x89, 0xfb, 0x48, 0x89, 0xd7,
	                               0xff, 0xd6, 0xff, 0xd3, 0x41, 0x5f};
	struct buf b = {0};
	int rc = im->text.n > UNWIND_MAX_SECTION ? 0 : image_read(im, im->text.off, im->text.n, &b);
	const uint8_t *p = rc || !b.n ? NULL : memmem(b.p, b.n, code, sizeof(code));

	if (p)
		im->crosscall = im->text_vaddr + (uint64_t)(p - b.p);
	buf_release(&b);
	return rc == -ENOMEM ? rc : 0;
}

int golang_symbols(struct image *im)
{
	const struct image_place *tab = im->symtab.n ? &im->symtab : &im->dynsym;
	const struct image_place *str = im->symtab.n ? &im->strtab : &im->dynstr;
	struct buf syms = {0}, strings = {0};
	int rc;

	if (!tab->n || tab->n > SYMBOLS_MAX * sizeof(Elf64_Sym) || !str->n || str->n > STRINGS_MAX)
		return 0;
	rc = image_read(im, tab->off, tab->n, &syms);
	if (!rc)
		rc = image_read(im, str->off, str->n, &strings);
	if (!rc)
		rc = buf_put(&strings, "", 1) ? -ENOMEM : look_at(im, &syms, &strings);
	buf_release(&syms);
	buf_release(&strings);
	if (!rc && im->is_cgo && !im->crosscall)
		rc = find_crosscall(im);
	/* Go's own linker drops the call frame information of C: this is the thread's start then.
	 */
	if (!rc && im->crosscall && !im->eh_frame.data.n && vec_push(&im->bottoms, im->crosscall))
		rc = -ENOMEM;
	return rc == -ENOMEM ? rc : 0;
}

/* --- the table of functions ------------------------------------------------ */

#define RELA_MAX (64u << 20)

/* C's linker has put it among other data when it links a position-independent program. */
static int find_in_relro(struct image *im, struct buf *b)
{
	size_t at = 0;
	int rc = im->relro.n > UNWIND_MAX_SECTION ? 0
	                                          : image_read(im, im->relro.off, im->relro.n, b);

	while (!rc && at + GO_HEADER <= b->n && !go_table_is(b->p + at))
		at += 8;
	if (rc || at + GO_HEADER > b->n) {
		b->n = 0;
		return rc == -ENOMEM ? rc : 0;
	}
	memmove(b->p, b->p + at, b->n - at);
	b->n -= at;
	im->go.vaddr = im->relro_vaddr + at;
	return 0;
}

int golang_table(struct image *im)
{
	struct buf *b = &im->go.data;
	int rc;

	if (!im->pclntab.n)
		return find_in_relro(im, b);
	im->go.vaddr = im->pclntab_vaddr;
	if (im->pclntab.n > UNWIND_MAX_SECTION)
		return 0;
	rc = image_read(im, im->pclntab.off, im->pclntab.n, b);
	if (rc)
		b->n = 0;
	return rc == -ENOMEM ? rc : 0;
}

/* Calls fn for each address that the dynamic linker writes a base address and a number to. */
static void each_relocation(const struct image *im, bool (*fn)(void *ctx, const Elf64_Rela *r),
                            void *ctx)
{
	struct buf b = {0};

	if (im->rela.n > RELA_MAX || image_read(im, im->rela.off, im->rela.n, &b))
		b.n = 0;
	for (size_t at = 0; at + sizeof(Elf64_Rela) <= b.n; at += sizeof(Elf64_Rela)) {
		Elf64_Rela r;

		memcpy(&r, b.p + at, sizeof(r));
		if (ELF64_R_TYPE(r.r_info) == R_X86_64_RELATIVE && !fn(ctx, &r))
			break;
	}
	buf_release(&b);
}

struct wanted {
	uint64_t at, to; /* 0: to be found */
	bool by_target;
};

static bool match(void *ctx, const Elf64_Rela *r)
{
	struct wanted *w = ctx;

	if (w->by_target ? (uint64_t)r->r_addend != w->to : r->r_offset != w->at)
		return true;
	w->at = r->r_offset;
	w->to = (uint64_t)r->r_addend;
	return false;
}

uint64_t golang_word(const struct image *im, uint64_t vaddr)
{
	struct wanted w = {.at = vaddr};
	uint64_t off, left, v = 0;

	if (image_offset(im, vaddr, false, &off, &left) || left < sizeof(v) ||
	    pread_full(im->fd, &v, sizeof(v), off) != sizeof(v))
		return 0;
	if (!v)
		each_relocation(im, match, &w);
	return v ? v : w.to;
}

uint64_t golang_pointer_to(const struct image *im, uint64_t vaddr)
{
	struct wanted w = {.to = vaddr, .by_target = true};

	each_relocation(im, match, &w);
	return w.at;
}

int golang_read(const struct image *im, struct go_table *g)
{
	uint64_t off, left;
	int rc = go_table_open(g, &im->go.data);

	if (rc || g->form < 118)
		return rc;
	if (!g->text)
		g->text = golang_word(im, im->go.vaddr + 24);
	if (!g->text || image_offset(im, g->text, true, &off, &left))
		g->text = im->text_vaddr;
	return 0;
}

/* Only what its rows may span. */
#define CROSSCALL_MAX 64

int golang_list(struct image *im, fde_vec *out)
{
	const struct fde crosscall = {
	        .start = im->crosscall, .end = im->crosscall + CROSSCALL_MAX, .source = FDE_CODE};
	struct go_table g;

	if (im->crosscall && vec_push(out, crosscall))
		return -ENOMEM;
	if (golang_read(im, &g))
		return 0;
	for (uint64_t i = 0; i < g.n_funcs; i++) {
		struct go_func fn;
		struct fde f;

		if (!go_table_func(&g, i, &fn) || !fn.pcsp) /* C's have none */
			continue;
		f = (struct fde){.start = fn.start,
		                 .end = fn.end,
		                 .ins = (uint32_t)fn.pcsp,
		                 .source = FDE_GO};
		if (vec_push(out, f))
			return -ENOMEM;
		if (changes_stack(fn.name) && im->bottoms.n < 16 && vec_push(&im->bottoms, f.start))
			return -ENOMEM;
	}
	return 0;
}

/* Between functions there is less: they are aligned to 32 bytes. */
#define PADDING_MAX 32

static int table_rows(const struct image *im, const struct fde *f, cfa_row fn, void *ctx)
{
	struct go_table g;
	struct go_list l;
	uint64_t at = f->start;
	int rc = 0;

	if (go_table_open(&g, &im->go.data) || !go_list_open(&g, f->ins, &l))
		return 0;
	while (at < f->end && !rc && go_list_next(&l)) {
		rc = fn(ctx, at,
		        l.value < 0 || (l.value & 7) || l.value > 32000 * 8
		                ? MT_INFO(MT_UNW_UNSUPPORTED, 0, 0, 0)
		                : MT_INFO(MT_UNW_RSP, 0, l.value / 8 + 1, 0));
		at = l.bytes < f->end - at ? at + l.bytes : f->end;
	}
	if (!rc && f->end - at >= PADDING_MAX)
		rc = fn(ctx, at, MT_INFO(MT_UNW_UNSUPPORTED, 0, 0, 0));
	return rc;
}

/* The frame of crosscall_amd64. */
struct crosscall {
	int64_t depth; /* CFA = rsp + depth */
	int64_t bp8;   /* the caller's rbp is at CFA + 8 * bp8; 0 = in rbp */
};

/* false: an instruction that it does not have, or its end. */
static bool crosscall_step(struct crosscall *c, const struct code_step *s)
{
	switch (s->op) {
	case CODE_NOTHING:
	case CODE_CALL:
		return true;
	case CODE_ADJUST:
		c->depth -= s->val;
		return c->depth >= 8 && c->depth <= CROSSCALL_MAX * 8;
	case CODE_PUSH_BP:
		c->depth += 8;
		c->bp8 = -c->depth / 8;
		return true;
	case CODE_POP_BP:
		c->depth -= 8;
		c->bp8 = 0;
		return c->depth >= 8;
	default:
		return false;
	}
}

/*
 * cgo enters Go on a thread of C's by a piece of assembly without call frame information
 * (gcc_amd64.S): pushes, moves between registers, calls, pops, and a return. Its rows come
 * from these instructions; with any other one they end.
 */
static int crosscall_rows(const struct image *im, const struct fde *f, cfa_row fn, void *ctx)
{
	struct crosscall c = {.depth = 8};
	uint8_t code[CROSSCALL_MAX];
	code_step_vec steps = {0};
	uint64_t off, left;
	size_t n, i = 0;
	int rc = 0;

	if (image_offset(im, f->start, true, &off, &left))
		return 0;
	n = left < sizeof(code) ? left : sizeof(code);
	if (pread_full(im->fd, code, n, off) != (ssize_t)n)
		return 0;
	rc = code_steps(code, n, &steps);
	for (bool goes_on = true; !rc && goes_on && i < steps.n; i += goes_on) {
		rc = fn(ctx, f->start + steps.v[i].at, MT_INFO(MT_UNW_RSP, 0, c.depth / 8, c.bp8));
		goes_on = crosscall_step(&c, &steps.v[i]);
	}
	if (i < steps.n) /* a return has its row */
		n = steps.v[i].at + (steps.v[i].op == CODE_RET);
	vec_release(&steps);
	return rc ? rc : fn(ctx, f->start + n, MT_INFO(MT_UNW_NONE, 0, 0, 0));
}

int golang_rows(const struct image *im, const struct fde *f, cfa_row fn, void *ctx)
{
	return f->source == FDE_GO ? table_rows(im, f, fn, ctx) : crosscall_rows(im, f, fn, ctx);
}
