/* SPDX-License-Identifier: MIT */
/*
 * fuzz_symbols [-n COUNT] [-s SEED] FILE…: COUNT mutations of these ELF files, perf maps and
 * jitdumps are given to all that reads such files. For runs under sanitizers:
 *
 *   in this process   symbol tables, .gnu_debugdata, variables, names, perf maps, jitdumps: a
 *                     crash, hang, leak or wrong access ends the run
 *   in a child        the same and DWARF, as a recording does it: libdw may fall over (that is
 *                     counted), the rest must go on
 *
 * Ends with a line of counts, status 0. No answer to one file within 30 s: status 1.
 */
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elfimg.h"
#include "symbol.h"
#include "rnd.h"

#define PATIENCE_S 30
#define MAX_SEED   (64u << 20)

static void on_alarm(int sig)
{
	static const char msg[] = "fuzz_symbols: a hang\n";

	(void)sig;
	_exit(write(STDERR_FILENO, msg, sizeof(msg) - 1) < 0 ? 2 : 1);
}

/* --- what to change ------------------------------------------------------------------------------
 */

/* Bytes [*at, *at + *n) of the file where a change is likely to matter. */
static void pick_area(const struct buf *b, uint64_t *seed, uint64_t *at, uint64_t *n)
{
	Elf64_Ehdr eh;
	Elf64_Shdr sh;
	uint64_t off;

	*at = 0;
	*n = b->n;
	if (b->n < sizeof(eh) || memcmp(b->p, ELFMAG, SELFMAG))
		return;
	memcpy(&eh, b->p, sizeof(eh));
	switch (rnd_star(seed) % 8) {
	case 0:
		*n = sizeof(eh);
		return;
	case 1:
		*at = eh.e_phoff;
		*n = (uint64_t)eh.e_phnum * sizeof(Elf64_Phdr);
		break;
	case 2:
		*at = eh.e_shoff;
		*n = (uint64_t)eh.e_shnum * sizeof(sh);
		break;
	default:
		off = eh.e_shoff + (eh.e_shnum ? rnd_star(seed) % eh.e_shnum : 0) * sizeof(sh);
		if (off > b->n || sizeof(sh) > b->n - off)
			return;
		memcpy(&sh, b->p + off, sizeof(sh));
		/* Code and plain data are not read. */
		if (sh.sh_type == SHT_NOBITS || (sh.sh_flags & SHF_EXECINSTR))
			return;
		*at = sh.sh_offset;
		*n = sh.sh_size;
	}
	if (*at >= b->n || *n > b->n - *at || !*n) {
		*at = 0;
		*n = b->n;
	}
}

static void mutate(struct buf *b, uint64_t *seed)
{
	static const uint64_t values[] = {0,
	                                  1,
	                                  0x7f,
	                                  0x80,
	                                  0xff,
	                                  0xffff,
	                                  0x10000,
	                                  INT32_MAX,
	                                  UINT32_MAX,
	                                  1ull << 32,
	                                  UINT64_MAX,
	                                  INT64_MAX,
	                                  0x8080808080808080ull};
	size_t changes = 1 + rnd_star(seed) % 8;

	if (rnd_star(seed) % 50 == 0)
		b->n = rnd_star(seed) % b->n + 1;
	while (changes--) {
		uint64_t at, n,
		        v = rnd_star(seed) % 2 ? values[rnd_star(seed) % ARRAY_LEN(values)]
		                               : rnd_star(seed);
		size_t len = 1ull << rnd_star(seed) % 4;

		pick_area(b, seed, &at, &n);
		at += rnd_star(seed) % n;
		if (len > b->n - at)
			len = b->n - at;
		memcpy(b->p + at, &v, len);
	}
}

/* --- what reads it
 * -------------------------------------------------------------------------------- */

struct tally {
	uint64_t opened, named, objects, emitted, notes, deaths;
};

static void read_here(int fd, uint64_t size, uint64_t *seed, struct tally *t)
{
	struct elf_syms *e = elf_syms_open(fd, "/nonexistent/fuzz", NULL, 0, NULL);
	uint8_t id[64];
	struct sym s;

	elf_build_id(fd, id);
	t->opened += e != NULL;
	for (int i = 0; e && i < 300; i++) {
		if (!elf_syms_lookup(e, rnd_star(seed) % (size + 64), &s))
			t->named += strlen(s.name) > 0;
		if (!elf_syms_data(e, rnd_star(seed) % (8 * size), &s))
			t->objects += strlen(s.name) > 0;
	}
	elf_syms_free(e);
}

static int on_symbol(void *ctx, const struct symbol_out *o)
{
	struct tally *t = ctx;

	t->emitted += !o->sym.name || strlen(o->sym.name) < 1u << 20;
	t->emitted += o->sym.src && !*o->sym.src;
	return 0;
}

static void count_notes(const struct buf *notes, struct tally *t)
{
	const char *p = (const char *)notes->p;

	for (size_t i = 0; i < notes->n; i++) {
		t->notes += p[i] == '\n';
		t->deaths += !strncmp(p + i, " failed (", notes->n - i < 9 ? notes->n - i : 9);
	}
}

/* The whole way of a recording, with the file mapped as a program and as generated code. */
static void resolve(const char *path, int fd, uint64_t size, uint64_t *seed, struct tally *t)
{
	struct symbolizer *s = symbolizer_new();
	struct sym_map m = {0x100000000, 0x100000000 + size + 4096, 0, path, NULL, 0, 1};
	struct sym_map jit = {0x500000000000, 0x600000000000, 0, "//anon", NULL, 0, 1};
	struct symbolizer_limits lim = {.max_stall_ns = 3000000000};
	struct symbol_object o;
	struct buf notes = {0};
	uint64_t at[64];

	symbolizer_pid(s, 1, 1);
	symbolizer_map(s, 1, &m);
	symbolizer_map(s, 1, &jit);
	symbolizer_jit(s, 1, fcntl(fd, F_DUPFD_CLOEXEC, 0), false);
	symbolizer_jit(s, 1, fcntl(fd, F_DUPFD_CLOEXEC, 0), true);
	for (size_t i = 0; i < ARRAY_LEN(at); i++)
		at[i] = i % 4 ? m.start + rnd_star(seed) % size
		              : jit.start + rnd_star(seed) % 0x2000;
	symbolizer_stack(s, 1, 2, at, ARRAY_LEN(at));
	for (size_t i = 0; i < 16; i++)
		t->objects += !symbolizer_object(s, 1, m.start + rnd_star(seed) % (4 * size), &o);
	if (symbolizer_resolve(s, NULL, &lim, on_symbol, t, NULL, &notes))
		abort();
	count_notes(&notes, t);
	buf_release(&notes);
	symbolizer_free(s);
}

static void one(const struct buf *seed_file, uint64_t *seed, struct tally *t)
{
	struct buf b = {0};
	char path[64];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (buf_put(&b, seed_file->p, seed_file->n) || fd < 0)
		abort();
	mutate(&b, seed);
	if (write_full(fd, b.p, b.n))
		abort();
	alarm(PATIENCE_S);
	read_here(fd, b.n, seed, t);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	resolve(path, fd, b.n, seed, t);
	alarm(0);
	close(fd);
	buf_release(&b);
}

int main(int argc, char **argv)
{
	uint64_t seed = 0x9e3779b97f4a7c15ull, count = 1000;
	struct tally t = {0};
	struct buf *files;
	int opt;

	while ((opt = getopt(argc, argv, "n:s:")) > 0) {
		if (opt == 'n')
			count = strtoull(optarg, NULL, 0);
		else if (opt == 's')
			seed ^= strtoull(optarg, NULL, 0) * 0x9e3779b97f4a7c15ull + 1;
		else
			return 2;
	}
	argv += optind;
	argc -= optind;
	files = calloc((size_t)argc + 1, sizeof(*files));
	if (argc < 1 || !files) {
		fprintf(stderr, "usage: fuzz_symbols [-n COUNT] [-s SEED] FILE...\n");
		return 2;
	}
	for (int i = 0; i < argc; i++) {
		if (read_file_at(AT_FDCWD, argv[i], MAX_SEED, &files[i]) || !files[i].n) {
			fprintf(stderr, "%s: cannot be read\n", argv[i]);
			return 2;
		}
	}
	signal(SIGALRM, on_alarm);
	for (uint64_t i = 0; i < count; i++)
		one(&files[i % (uint64_t)argc], &seed, &t);
	printf("%lu files: %lu opened, %lu functions and %lu variables named, %lu symbols emitted, "
	       "%lu notes, %lu times the reading child failed\n",
	       (unsigned long)count, (unsigned long)t.opened, (unsigned long)t.named,
	       (unsigned long)t.objects, (unsigned long)t.emitted, (unsigned long)t.notes,
	       (unsigned long)t.deaths);
	for (int i = 0; i < argc; i++)
		buf_release(&files[i]);
	free(files);
	return 0;
}
