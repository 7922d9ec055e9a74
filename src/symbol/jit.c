/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "jit_priv.h"

/* Large programs generate some 100,000 pieces of code. */
#define MAX_ENTRIES (10u << 20)
#define MAX_HITS    (50u << 20)
#define MAX_BYTES   (4ull << 30) /* of a dump: it holds the code itself */
#define MAX_CODES   (1u << 20)
#define CHUNK       65536

/* First wanted address at or past addr. */
static size_t first_at(const struct jit_names *j, uint64_t addr)
{
	size_t lo = 0, hi = j->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (j->v[mid].at < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The code [start, start + size) has this name from now on. */
static int name_code(struct jit_names *j, uint64_t start, uint64_t size, const char *name, size_t n)
{
	size_t i = first_at(j, start);
	uint32_t id;

	if (++j->entries > MAX_ENTRIES)
		return -E2BIG;
	if (!n || i >= j->n || j->v[i].at - start >= size)
		return 0;
	id = strtab_add(j->names, name, n < JIT_NAME_MAX ? n : JIT_NAME_MAX - 1, NULL);
	if (!id)
		return -ENOMEM;
	for (; i < j->n && j->v[i].at - start < size; i++) {
		if (++j->hits > MAX_HITS)
			return -E2BIG;
		j->v[i].start = start;
		j->v[i].size = size;
		j->v[i].name = id;
	}
	return 0;
}

/* --- perf maps ------------------------------------------------------------------------------- */

/* A hexadecimal number with a blank behind it. */
static bool take_hex(const char **s, const char *end, uint64_t *out)
{
	const char *p = *s;
	unsigned digits = 0;
	uint64_t v = 0;

	if (end - p > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
		p += 2;
	for (; p < end; p++, digits++) {
		unsigned char c = (unsigned char)*p, lower = c | 0x20;

		if (c >= '0' && c <= '9')
			v = v << 4 | (c - '0');
		else if (lower >= 'a' && lower <= 'f')
			v = v << 4 | (lower - 'a' + 10u);
		else
			break;
	}
	if (!digits || digits > 16 || p == end || (*p != ' ' && *p != '\t'))
		return false;
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	*s = p;
	*out = v;
	return true;
}

static int perf_map_line(struct jit_names *j, const char *line, const char *end)
{
	uint64_t start, size;

	if (end > line && end[-1] == '\r')
		end--;
	if (!take_hex(&line, end, &start) || !take_hex(&line, end, &size))
		return 0;
	return name_code(j, start, size, line, strnlen(line, (size_t)(end - line)));
}

int jit_read_perf_map(struct jit_names *j, int fd)
{
	char chunk[CHUNK];
	size_t have = 0, at;
	uint64_t off = 0;
	bool skip = false; /* the rest of a line that is too long */
	int err = 0;

	for (;;) {
		ssize_t got = pread_full(fd, chunk + have, sizeof(chunk) - have, off);
		char *nl;

		if (got < 0)
			return (int)got;
		off += (uint64_t)got;
		have += (size_t)got;
		for (at = 0; !err && (nl = memchr(chunk + at, '\n', have - at));
		     at = (size_t)(nl - chunk) + 1) {
			err = skip ? 0 : perf_map_line(j, chunk + at, nl);
			skip = false;
		}
		if (err || off > MAX_BYTES)
			return err ? err : -E2BIG;
		if (!got) /* a line without an end is being written */
			return 0;
		memmove(chunk, chunk + at, have - at);
		have -= at;
		if (have == sizeof(chunk)) {
			err = skip ? 0 : perf_map_line(j, chunk, chunk + have);
			skip = true;
			have = 0;
		}
	}
}

/* --- jitdump
 * ---------------------------------------------------------------------------------------- */

struct dump_header {
	uint32_t magic, version, bytes, machine, pad, pid;
	uint64_t ts, flags;
};
struct dump_record {
	uint32_t id, bytes;
	uint64_t ts;
};
struct dump_load {
	uint32_t pid, tid;
	uint64_t vma, addr, size, index;
}; /* name, code */
struct dump_move {
	uint32_t pid, tid;
	uint64_t vma, from, to, size, index;
};
enum { DUMP_MAGIC = 0x4a695444, DUMP_LOAD = 0, DUMP_MOVE = 1 };

struct dump {
	struct jit_names *j;
	int fd;
	struct hmap codes; /* code's number -> string id */
};

static int on_load(struct dump *d, uint64_t off, uint32_t bytes)
{
	struct dump_load l;
	char name[JIT_NAME_MAX];
	size_t want = bytes < sizeof(l) ? 0 : bytes - sizeof(l), len;
	uint64_t *slot;
	ssize_t got;

	if (bytes < sizeof(l) || pread_full(d->fd, &l, sizeof(l), off) != (ssize_t)sizeof(l))
		return 0;
	got = pread_full(d->fd, name, want < sizeof(name) ? want : sizeof(name), off + sizeof(l));
	if (got <= 0)
		return (int)got;
	len = strnlen(name, (size_t)got);
	if (d->codes.n < MAX_CODES && len) {
		slot = hmap_put(&d->codes, l.index, 0, NULL);
		if (!slot)
			return -ENOMEM;
		*slot = strtab_add(d->j->names, name, len, NULL);
	}
	return name_code(d->j, l.addr, l.size, name, len);
}

static int on_move(struct dump *d, uint64_t off, uint32_t bytes)
{
	struct dump_move m;
	uint64_t *id;
	const char *name;

	if (bytes < sizeof(m) || pread_full(d->fd, &m, sizeof(m), off) != (ssize_t)sizeof(m))
		return 0;
	id = hmap_get(&d->codes, m.index, 0);
	name = strtab_get(d->j->names, id ? (uint32_t)*id : 0);
	return name_code(d->j, m.to, m.size, name, strlen(name));
}

int jit_read_dump(struct jit_names *j, int fd)
{
	struct dump d = {.j = j, .fd = fd};
	struct dump_header h;
	struct dump_record r;
	uint64_t off;
	int err = 0;

	if (pread_full(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || h.magic != DUMP_MAGIC ||
	    h.bytes < sizeof(h))
		return -ENOEXEC;
	for (off = h.bytes; !err && pread_full(fd, &r, sizeof(r), off) == (ssize_t)sizeof(r);
	     off += r.bytes) {
		if (r.bytes < sizeof(r)) /* no way to find the next one */
			break;
		if (++j->entries > MAX_ENTRIES || off > MAX_BYTES)
			err = -E2BIG;
		else if (r.id == DUMP_LOAD)
			err = on_load(&d, off + sizeof(r), r.bytes - (uint32_t)sizeof(r));
		else if (r.id == DUMP_MOVE)
			err = on_move(&d, off + sizeof(r), r.bytes - (uint32_t)sizeof(r));
	}
	hmap_release(&d.codes);
	return err;
}
