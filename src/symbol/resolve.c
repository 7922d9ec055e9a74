/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "contain_priv.h"
#include "elf_priv.h"
#include "resolve_priv.h"

#define DEFAULT_TOTAL_NS (20ull * 1000 * 1000 * 1000)
#define CLOCK_EVERY      256
#define MAX_FILE_NOTES   50

uint64_t monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void resolve_start(struct resolve *r, const struct symbolizer_limits *lim)
{
	if (lim)
		r->lim = *lim;
	if (!r->lim.max_file_bytes)
		r->lim.max_file_bytes = SYM_FILE_BYTES;
	if (!r->lim.max_total_ns)
		r->lim.max_total_ns = DEFAULT_TOTAL_NS;
	if (__builtin_add_overflow(monotonic_ns(), r->lim.max_total_ns, &r->deadline_ns))
		r->deadline_ns = UINT64_MAX;
	r->put = resolve_emit;
}

bool resolve_out_of_time(struct resolve *r)
{
	if (!r->st->timed_out && r->ticks++ % CLOCK_EVERY == 0)
		r->st->timed_out = monotonic_ns() >= r->deadline_ns;
	return r->st->timed_out;
}

int resolve_note(struct resolve *r, const char *fmt, ...)
{
	char line[768];
	va_list ap;

	if (!r->notes)
		return 0;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	return buf_printf(r->notes, "%s\n", line);
}

int resolve_file_note(struct resolve *r, const char *msg)
{
	return r->file_notes++ < MAX_FILE_NOTES ? resolve_note(r, "%s", msg) : 0;
}

static int cmp_frames(const void *pa, const void *pb)
{
	const struct sym_frame *a = pa, *b = pb;

	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* Where names come from: the kernel, or a file. */
struct names {
	const struct kallsyms *k;
	struct elf_syms *e;
	bool lines;
};

static bool name_at(const struct names *n, uint64_t at, struct sym *out)
{
	int err = n->k ? kallsyms_lookup(n->k, at, out) : elf_syms_lookup(n->e, at, out);

	return !err && out->name;
}

/*
 * A return address belongs to the call before it: after a call that never returns, the next
 * byte is already another function's. A signal handler's "return address" is the start of
 * the trampoline with nothing before it, hence the second try. Returns how many bytes
 * before the frame's address to look.
 */
static unsigned choose(const struct names *n, const struct sym_frame *f, struct sym *out)
{
	struct sym before;
	bool exact = name_at(n, f->offset, out);

	if (!exact)
		out->name = NULL;
	if (!(f->flags & FRAME_RETURN) || !f->offset)
		return 0;
	if ((f->flags & FRAME_EXACT) && exact && out->name_off)
		return 0;
	if (name_at(n, f->offset - 1, &before)) {
		*out = before;
		out->name_off++;
		return 1;
	}
	/* Where the table has no name the debug information may. */
	return exact || (f->flags & FRAME_EXACT) ? 0 : 1;
}

static size_t name_frame(const struct names *n, const struct sym_frame *f, struct sym *chain)
{
	unsigned back = choose(n, f, &chain[0]);
	size_t many;

	if (!n->lines)
		return chain[0].name != NULL;
	many = elf_syms_chain(n->e, f->offset - back, chain, SYM_MAX_CHAIN);
	if (many)
		chain[0].name_off += back;
	return many;
}

int resolve_emit(struct resolve *r, size_t index, const struct sym *chain, size_t n)
{
	const struct sym_frame *f = &r->frames.v[index];
	struct symbol_out o = {.module = f->file ? r->files[f->file - 1].path : "[kernel]",
	                       .offset = f->offset};
	int err = 0;

	r->emitted++;
	r->st->resolved += n > 0;
	if (!n)
		return r->emit(r->ctx, &o);
	for (size_t i = 0; i < n && !err; i++) {
		o.sym = chain[i];
		o.inline_depth = (unsigned)i;
		if (o.sym.name && r->name)
			o.sym.name = demangle(r->name, o.sym.name);
		err = r->emit(r->ctx, &o);
	}
	return err;
}

/* n NULL: without names. */
static int put_all(struct resolve *r, const struct names *n, const struct unit *u)
{
	struct sym chain[SYM_MAX_CHAIN];
	int err = 0;

	for (size_t i = u->from; i < u->to && !err && !resolve_out_of_time(r); i++)
		err = r->put(r, i, chain, n ? name_frame(n, &r->frames.v[i], chain) : 0);
	return err;
}

static int resolve_file(struct resolve *r, const struct sym_file *f, const struct unit *u,
                        bool lines)
{
	struct err why = {0};
	struct names n = {.e = sym_file_open(f, r->lim.max_file_bytes, false, &why),
	                  .lines = lines};
	char safe[256];
	int err;

	if (!n.e) {
		r->st->files_failed++;
		err = resolve_file_note(r, why.msg);
		return err ? err : put_all(r, NULL, u);
	}
	err = put_all(r, &n, u);
	if (!err && !elf_syms_count(n.e)) {
		snprintf(why.msg, sizeof(why.msg),
		         "%s: it names no functions (stripped); its debug symbols, once installed, "
		         "are used",
		         fmt_safe(safe, sizeof(safe), f->path));
		err = resolve_file_note(r, why.msg);
	}
	elf_syms_free(n.e);
	return err;
}

int resolve_unit(struct resolve *r, const struct unit *u, enum detail detail)
{
	const struct sym_file *f = &r->files[r->frames.v[u->from].file - 1];

	if (detail == DETAIL_NONE)
		return put_all(r, NULL, u);
	return f->jit ? resolve_jit(r, f, u) : resolve_file(r, f, u, detail == DETAIL_LINES);
}

static int resolve_kernel(struct resolve *r, const struct unit *u)
{
	struct names n = {.k = r->k};

	/* Whoever has no names to offer has said why. */
	return r->k ? put_all(r, &n, u) : 0;
}

/* Paths that several builds were seen of: path -> how many. */
static int count_builds(const struct resolve *r, struct hmap *builds)
{
	for (size_t i = 0; i < r->n_files; i++) {
		uint64_t *slot = hmap_put(builds, (uintptr_t)r->files[i].path, 0, NULL);

		if (!slot)
			return -ENOMEM;
		++*slot;
	}
	return 0;
}

/* A key names the path only: where two builds of it were seen, the first one has the offset. */
static int drop_repeats(struct resolve *r)
{
	struct hmap builds = {0}, seen = {0};
	size_t kept = 0;
	int err = count_builds(r, &builds);

	for (size_t i = 0; i < r->frames.n && !err; i++) {
		const struct sym_frame *f = &r->frames.v[i];
		uint64_t path = f->file ? (uintptr_t)r->files[f->file - 1].path : 0;
		const uint64_t *n = f->file ? hmap_get(&builds, path, 0) : NULL;
		bool added = true;

		if (n && *n > 1 && !hmap_put(&seen, path, f->offset, &added))
			err = -ENOMEM;
		if (added)
			r->frames.v[kept++] = *f;
	}
	r->frames.n = kept;
	hmap_release(&builds);
	hmap_release(&seen);
	return err;
}

static size_t unit_end(const struct resolve *r, size_t from)
{
	size_t to = from;

	while (to < r->frames.n && r->frames.v[to].file == r->frames.v[from].file)
		to++;
	return to;
}

/* Files' frames in this process. */
static int run_here(struct resolve *r, const struct unit *units, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		r->ticks = 0; /* a file can take long: look at the clock before each */
		if (resolve_out_of_time(r))
			break;
		r->st->files++;
		err = resolve_unit(r, &units[i], DETAIL_LINES);
	}
	return err;
}

/* After all: what is missing. */
static int run_notes(struct resolve *r)
{
	int err = 0;

	if (r->file_notes > MAX_FILE_NOTES)
		err = resolve_note(r, "%zu more files gave no symbols",
		                   r->file_notes - MAX_FILE_NOTES);
	if (!err && r->st->timed_out)
		err = resolve_note(
		        r,
		        "symbols: the time for them ran out; about %zu of %zu frames have no names",
		        r->frames.n - r->emitted, r->frames.n);
	return err;
}

int resolve_run(struct resolve *r)
{
	struct unit kernel = {0, 0};
	VEC(struct unit) units = {0};
	size_t from, n;
	int err;

	if (r->frames.n)
		qsort(r->frames.v, r->frames.n, sizeof(r->frames.v[0]), cmp_frames);
	err = drop_repeats(r);
	r->st->frames = n = r->frames.n;
	r->ticks = 0;
	for (from = 0; from < n && !err; from = unit_end(r, from)) {
		struct unit u = {from, unit_end(r, from)};

		if (!r->frames.v[from].file)
			kernel = u;
		else
			err = vec_push(&units, u);
	}
	if (!err && !resolve_out_of_time(r))
		err = resolve_kernel(r, &kernel);
	if (!r->k)
		r->emitted = kernel.to - kernel.from;
	if (!err)
		err = r->lim.in_process ? run_here(r, units.v, units.n)
		                        : contain_run(r, units.v, units.n);
	vec_release(&units);
	return err ? err : run_notes(r);
}
