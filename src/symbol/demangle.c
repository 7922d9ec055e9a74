/* SPDX-License-Identifier: MIT */
/*
 * Names come from the workload. A mangled name refers back to its own parts, so 200 bytes can
 * stand for gigabytes: libiberty hands its output over piece by piece, and what is too much is
 * left by a jump out of it (it holds nothing but its stack then).
 */
#include <setjmp.h>
#include <string.h>
#if __has_include(<libiberty/demangle.h>)
#include <libiberty/demangle.h>
#else /* Fedora */
#include <demangle.h>
#endif

#include "demangle_priv.h"

/* Longer ones are left alone. libiberty by itself refuses beyond 1 KiB, for its recursion: up to
 * this length that needs less than 4 MiB of stack. */
#define MANGLED_MAX       4096
#define MANGLED_UNLIMITED 1000
/* Pieces may be empty, so they are counted, too. */
#define PIECES_MAX 100000

struct output {
	struct demangler *d;
	unsigned pieces;
	jmp_buf full;
};

static void on_piece(const char *s, size_t n, void *ctx)
{
	struct output *o = ctx;
	struct demangler *d = o->d;
	size_t room = sizeof(d->text) - 1 - d->n, take = n < room ? n : room;

	memcpy(d->text + d->n, s, take);
	d->n += take;
	if (n > room || ++o->pieces > PIECES_MAX)
		longjmp(o->full, 1);
}

enum outcome { NOT_MANGLED, DONE, TOO_LONG };

static enum outcome attempt(struct demangler *d, const char *raw, const int options)
{
	struct output o = {.d = d};
	int ok;

	d->n = 0;
	if (setjmp(o.full)) {
		d->text[d->n] = '\0';
		return TOO_LONG;
	}
	ok = rust_demangle_callback(raw, options, on_piece, &o);
	if (!ok) {
		d->n = 0;
		ok = cplus_demangle_v3_callback(raw, options, on_piece, &o);
	}
	d->text[d->n] = '\0';
	return ok && d->n ? DONE : NOT_MANGLED;
}

/* Puts "…" where a name was cut, not inside of a character. */
static void mark_cut(struct demangler *d)
{
	static const char dots[] = "…";
	size_t at = sizeof(d->text) - sizeof(dots);

	while (at && (d->text[at] & 0xc0) == 0x80)
		at--;
	memcpy(d->text + at, dots, sizeof(dots));
	d->n = at + sizeof(dots) - 1;
}

static enum outcome demangle_plain(struct demangler *d, const char *raw, size_t len)
{
	int options =
	        DMGL_ANSI | DMGL_RET_DROP | (len > MANGLED_UNLIMITED ? DMGL_NO_RECURSE_LIMIT : 0);
	enum outcome got = attempt(d, raw, options | DMGL_PARAMS);

	if (got == TOO_LONG)
		got = attempt(d, raw, options);
	if (got == TOO_LONG)
		mark_cut(d);
	return got;
}

const char *demangle(struct demangler *d, const char *raw)
{
	static const char plt[] = "@plt";
	size_t len = strnlen(raw, MANGLED_MAX + 1), base;
	char name[MANGLED_MAX + 1];

	if (raw[0] != '_' || (raw[1] != 'Z' && raw[1] != 'R') || len > MANGLED_MAX)
		return raw;
	base = len >= sizeof(plt) && !strcmp(raw + len - sizeof(plt) + 1, plt)
	               ? len - sizeof(plt) + 1
	               : len;
	if (base == len)
		return demangle_plain(d, raw, len) == NOT_MANGLED ? raw : d->text;
	memcpy(name, raw, base);
	name[base] = '\0';
	if (demangle_plain(d, name, base) == NOT_MANGLED || d->n + sizeof(plt) > sizeof(d->text))
		return raw;
	memcpy(d->text + d->n, plt, sizeof(plt));
	d->n += sizeof(plt) - 1;
	return d->text;
}
