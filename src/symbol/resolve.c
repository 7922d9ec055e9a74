/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "elf_priv.h"
#include "resolve_priv.h"

#define DEFAULT_TOTAL_NS (20ull * 1000 * 1000 * 1000)
#define CLOCK_EVERY      256
#define MAX_FILE_NOTES   50

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void resolve_start(struct resolve *r, const struct symbolizer_limits *lim)
{
	uint64_t total = lim && lim->max_total_ns ? lim->max_total_ns : DEFAULT_TOTAL_NS;

	r->max_file_bytes = lim && lim->max_file_bytes ? lim->max_file_bytes : SYM_FILE_BYTES;
	if (__builtin_add_overflow(now_ns(), total, &r->deadline_ns))
		r->deadline_ns = UINT64_MAX;
}

bool resolve_out_of_time(struct resolve *r)
{
	if (!r->st->timed_out && r->ticks++ % CLOCK_EVERY == 0)
		r->st->timed_out = now_ns() >= r->deadline_ns;
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

/* One file's note; beyond MAX_FILE_NOTES they are only counted. */
static int file_note(struct resolve *r, const char *msg)
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
};

static bool name_at(const struct names *n, uint64_t at, struct sym *out)
{
	int err = n->k ? kallsyms_lookup(n->k, at, out) : elf_syms_lookup(n->e, at, out);

	return !err && out->name;
}

/*
 * A return address belongs to the call before it: after a call that never returns, the next
 * byte is already another function's. A signal handler's "return address" is the start of
 * the trampoline with nothing before it, hence the second try.
 */
static bool name_frame(const struct names *n, const struct sym_frame *f, struct sym *out)
{
	struct sym before;
	bool exact = name_at(n, f->offset, out);

	if (!(f->flags & FRAME_RETURN) || !f->offset)
		return exact;
	if ((f->flags & FRAME_EXACT) && exact && out->name_off)
		return true;
	if (name_at(n, f->offset - 1, &before)) {
		*out = before;
		out->name_off++;
		return true;
	}
	return exact;
}

/* Emits [from, to), all of one module; n NULL: without names. */
static int emit_all(struct resolve *r, const char *module, const struct names *n, size_t from,
                    size_t to, size_t *resolved)
{
	int err = 0;

	for (size_t i = from; i < to && !err && !resolve_out_of_time(r); i++) {
		struct symbol_out o = {.module = module, .offset = r->frames.v[i].offset};

		if (n && name_frame(n, &r->frames.v[i], &o.sym))
			(*resolved)++;
		else
			o.sym = (struct sym){0};
		err = r->emit(r->ctx, &o);
	}
	return err;
}

static int resolve_file(struct resolve *r, const struct sym_file *f, size_t from, size_t to)
{
	struct err why = {0};
	struct names n = {.e = sym_file_open(f, r->max_file_bytes, false, &why)};
	char safe[256];
	size_t resolved = 0;
	int err;

	r->st->files++;
	if (!n.e) {
		r->st->files_failed++;
		err = file_note(r, why.msg);
		return err ? err : emit_all(r, f->path, NULL, from, to, &resolved);
	}
	err = emit_all(r, f->path, &n, from, to, &resolved);
	r->st->resolved += resolved;
	if (!err && !elf_syms_count(n.e)) {
		snprintf(why.msg, sizeof(why.msg),
		         "%s: it names no functions (stripped); its debug symbols, once installed, "
		         "are used",
		         fmt_safe(safe, sizeof(safe), f->path));
		err = file_note(r, why.msg);
	}
	elf_syms_free(n.e);
	return err;
}

static int resolve_kernel(struct resolve *r, size_t from, size_t to)
{
	struct names n = {.k = r->k};
	size_t resolved = 0;
	int err;

	if (!r->k)
		return 0; /* whoever has no names to offer has said why */
	err = emit_all(r, "[kernel]", &n, from, to, &resolved);
	r->st->resolved += resolved;
	return err;
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

int resolve_run(struct resolve *r)
{
	size_t n, from, to, left;
	int err;

	if (r->frames.n)
		qsort(r->frames.v, r->frames.n, sizeof(r->frames.v[0]), cmp_frames);
	err = drop_repeats(r);
	r->st->frames = n = r->frames.n;
	for (from = 0; from < n && !err; from = to) {
		uint32_t file = r->frames.v[from].file;

		for (to = from; to < n && r->frames.v[to].file == file;)
			to++;
		r->ticks = 0; /* a file can take long: look at the clock before each */
		if (resolve_out_of_time(r))
			break;
		err = file ? resolve_file(r, &r->files[file - 1], from, to)
		           : resolve_kernel(r, from, to);
	}
	left = n - from;
	if (!err && r->file_notes > MAX_FILE_NOTES)
		err = resolve_note(r, "%zu more files gave no symbols",
		                   r->file_notes - MAX_FILE_NOTES);
	if (!err && r->st->timed_out)
		err = resolve_note(
		        r,
		        "symbols: the time for them ran out; about %zu of %zu frames have no names",
		        left, n);
	return err;
}
