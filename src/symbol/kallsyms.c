/* SPDX-License-Identifier: MIT */
/*
 * Lines of /proc/kallsyms: "ffffffff81000000 T name" and, of a module, "\t[module]". It has
 * no sizes, so a function reaches to the next symbol. The last one before a hole (the end of
 * the kernel's text, of a module) would reach far beyond itself: LONGEST bounds that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ranges_priv.h"
#include "symbol.h"

#define LONGEST   (128u << 10)
#define MAX_BYTES (256u << 20)
#define MAX_LINE  1024

struct kallsyms {
	struct ranges text;
};

struct parser {
	struct kallsyms *k;
	uint64_t lines, addresses; /* addresses: lines whose address is not 0 */
};

/* The hexadecimal number at *s, which moves past it; false when there is none. */
static bool parse_hex(const char **s, const char *end, uint64_t *out)
{
	const char *p = *s;
	uint64_t v = 0;

	for (; p < end && p - *s < 16; p++) {
		unsigned c = (unsigned char)*p, digit = c - '0';

		if (digit > 9) {
			digit = (c | 0x20) - 'a';
			if (digit > 5)
				break;
			digit += 10;
		}
		v = v << 4 | digit;
	}
	if (p == *s)
		return false;
	*s = p;
	*out = v;
	return true;
}

/* Rank of a type letter, -1 = not code. */
static int rank_of(char type)
{
	switch (type) {
	case 'T':
		return RANGE_RANK(0, 0);
	case 't':
		return RANGE_RANK(1, 0);
	case 'W':
	case 'w':
		return RANGE_RANK(2, 0);
	default:
		return -1;
	}
}

/* The marks of sections are no functions, though one may start where they stand. */
static bool is_mark(const char *name, size_t n)
{
	static const char *const marks[] = {"_text", "_stext", "_etext", "_sinittext",
	                                    "_einittext"};

	for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
		if (strlen(marks[i]) == n && !memcmp(marks[i], name, n))
			return true;
	}
	return false;
}

/* Stores "name" or "name [module]"; its offset or -1. */
static int64_t put_name(struct buf *b, const char *s, const char *end)
{
	int64_t at = (int64_t)b->n;
	const char *tab = memchr(s, '\t', (size_t)(end - s));

	if (buf_put(b, s, (size_t)((tab ? tab : end) - s)))
		return -1;
	if (tab && (buf_put(b, " ", 1) || buf_put(b, tab + 1, (size_t)(end - tab - 1))))
		return -1;
	return buf_put(b, "", 1) ? -1 : at;
}

static int parse_line(struct parser *p, const char *s, const char *end)
{
	struct ranges *t = &p->k->text;
	uint64_t addr, last;
	int64_t name;
	int rank;

	p->lines++;
	if (!parse_hex(&s, end, &addr) || end - s < 4 || s[0] != ' ' || s[2] != ' ')
		return 0;
	p->addresses += addr != 0;
	rank = rank_of(s[1]);
	s += 3;
	if (!addr || memchr(s, 0, (size_t)(end - s)))
		return 0;
	/* What is not code still ends the function before it: nameless, of one byte. */
	if (rank < 0 || is_mark(s, (size_t)(end - s)))
		return ranges_add(t, addr, addr + 1, UINT32_MAX, RANGE_UNSIZED | 0x7f);
	name = put_name(&t->names, s, end);
	if (name < 0)
		return -ENOMEM;
	last = addr > UINT64_MAX - LONGEST ? UINT64_MAX : addr + LONGEST;
	return ranges_add(t, addr, last, (uint32_t)name, (uint8_t)(RANGE_UNSIZED | rank));
}

/* Parses the whole lines of [s, s + n) and returns how many bytes they were; -errno. */
static ssize_t parse_lines(struct parser *p, const char *s, size_t n)
{
	const char *at = s, *end = s + n, *nl;

	while ((nl = memchr(at, '\n', (size_t)(end - at)))) {
		if (parse_line(p, at, nl))
			return -ENOMEM;
		at = nl + 1;
	}
	return at - s;
}

static int parse_fd(struct parser *p, int fd)
{
	char chunk[65536];
	size_t have = 0, total = 0;
	ssize_t n, used;

	while (total < MAX_BYTES) {
		n = read(fd, chunk + have, sizeof(chunk) - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return have ? parse_line(p, chunk, chunk + have) : 0;
		total += (size_t)n;
		have += (size_t)n;
		used = parse_lines(p, chunk, have);
		if (used < 0)
			return (int)used;
		have -= (size_t)used;
		memmove(chunk, chunk + used, have);
		if (have > MAX_LINE)
			return -EBADMSG;
	}
	return -EFBIG;
}

struct kallsyms *kallsyms_read(int fd, struct err *err)
{
	struct kallsyms *k = calloc(1, sizeof(*k));
	struct parser p = {.k = k};
	int ret;

	if (!k) {
		err_set(err, -ENOMEM, MT_EXIT_FAIL, "kernel symbols: out of memory");
		return NULL;
	}
	ret = parse_fd(&p, fd);
	if (!ret)
		ret = ranges_finish(&k->text);
	if (ret)
		err_set(err, ret, MT_EXIT_FAIL, "kernel symbols: /proc/kallsyms: %s",
		        strerror(-ret));
	else if (p.lines && !p.addresses)
		ret = err_set(err, -EPERM, MT_EXIT_PRIVILEGE,
		              "kernel symbols: /proc/kallsyms hides its addresses; see the sysctl "
		              "kernel.kptr_restrict (2 hides them from root too)");
	else if (!k->text.names.n)
		ret = err_set(err, -ENODATA, MT_EXIT_FAIL,
		              "kernel symbols: /proc/kallsyms names no functions");
	if (!ret)
		return k;
	kallsyms_free(k);
	return NULL;
}

void kallsyms_free(struct kallsyms *k)
{
	if (!k)
		return;
	ranges_release(&k->text);
	free(k);
}

int kallsyms_lookup(const struct kallsyms *k, uint64_t addr, struct sym *out)
{
	const struct range *r = ranges_find(&k->text, addr);
	const char *name = r ? ranges_name(&k->text, r->name) : NULL;

	*out = (struct sym){0};
	if (!name)
		return -ENOENT;
	out->name = name;
	out->name_off = addr - r->sym_start;
	return 0;
}
