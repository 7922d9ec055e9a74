/* SPDX-License-Identifier: MIT */
/*
 * fuzz_unwind [-n COUNT] [-s SEED] FILE…: COUNT mutations of these ELF files (headers, call frame
 * information, dynamic section, lengths) are made into unwinding tables, which are then searched
 * and walked over a stack of noise. For runs under sanitizers: a crash, hang, leak or wrong
 * access ends the run; a table that is not what mt_unwind.h says does, too. Ends with a line
 * of counts, status 0. No answer to one file within 30 s: status 1.
 */
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mt_flags.h"
#include "unwind.h"
#include "rnd.h"

#define PATIENCE_S 30

static void on_alarm(int sig)
{
	static const char msg[] = "fuzz_unwind: a hang\n";

	(void)sig;
	_exit(write(STDERR_FILENO, msg, sizeof(msg) - 1) < 0 ? 2 : 1);
}

/* --- mutation -------------------------------------------------------------------------- */

struct area {
	uint64_t at, n;
};

/* A section of call frame information, or of names of libraries. */
static struct area pick_section(const struct buf *b, const Elf64_Ehdr *eh, uint64_t *seed)
{
	struct area all = {0, b->n};

	for (int tries = 0; tries < 200; tries++) {
		uint64_t off =
		        eh->e_shoff + (rnd_star(seed) % (eh->e_shnum + 1ull)) * sizeof(Elf64_Shdr);
		Elf64_Shdr s;

		if (off > b->n || b->n - off < sizeof(s))
			continue;
		memcpy(&s, b->p + off, sizeof(s));
		/* .eh_frame and .eh_frame_hdr have no type of their own: read-only data. */
		if (s.sh_type != SHT_DYNAMIC && s.sh_type != SHT_X86_64_UNWIND &&
		    !(s.sh_type == SHT_PROGBITS && !(s.sh_flags & (SHF_WRITE | SHF_EXECINSTR))))
			continue;
		if (s.sh_size && s.sh_offset < b->n && s.sh_size <= b->n - s.sh_offset)
			return (struct area){s.sh_offset, s.sh_size};
	}
	return all;
}

static struct area pick_area(const struct buf *b, uint64_t *seed)
{
	struct area all = {0, b->n};
	Elf64_Ehdr eh;

	if (b->n < sizeof(eh))
		return all;
	memcpy(&eh, b->p, sizeof(eh));
	switch (rnd_star(seed) % 8) {
	case 0:
		return (struct area){0, sizeof(eh)};
	case 1:
		if (eh.e_phoff < b->n && eh.e_phnum * sizeof(Elf64_Phdr) <= b->n - eh.e_phoff)
			return (struct area){eh.e_phoff, eh.e_phnum * sizeof(Elf64_Phdr) + 1};
		return all;
	case 2:
		if (eh.e_shoff < b->n && eh.e_shnum * sizeof(Elf64_Shdr) <= b->n - eh.e_shoff)
			return (struct area){eh.e_shoff, eh.e_shnum * sizeof(Elf64_Shdr) + 1};
		return all;
	default:
		return pick_section(b, &eh, seed);
	}
}

static void mutate(struct buf *b, uint64_t *seed)
{
	static const uint64_t odd[] = {0,
	                               1,
	                               0x7f,
	                               0x80,
	                               0xff,
	                               0x7fffffff,
	                               0x80000000,
	                               0xffffffff,
	                               0x7fffffffffffffff,
	                               0xffffffffffffffff};
	unsigned n = 1 + rnd_star(seed) % 24;
	struct area a = pick_area(b, seed);

	for (unsigned i = 0; i < n && a.n; i++) {
		uint64_t at = a.at + rnd_star(seed) % a.n;
		uint64_t v = odd[rnd_star(seed) % ARRAY_LEN(odd)];
		size_t size = (size_t)1 << rnd_star(seed) % 4;

		if (at >= b->n)
			continue;
		if (rnd_star(seed) % 3)
			v = rnd_star(seed);
		memcpy(b->p + at, &v, size < b->n - at ? size : b->n - at);
	}
	if (rnd_star(seed) % 16 == 0)
		b->n = rnd_star(seed) % b->n + 1;
}

/* --- what is done with each --------------------------------------------------------------- */

struct noise {
	uint64_t seed;
	struct unwind_view view;
};

static int noise_read(void *ctx, uint64_t addr, void *out, size_t n)
{
	struct noise *z = ctx;
	uint8_t *p = out;

	(void)addr;
	if (rnd_star(&z->seed) % 64 == 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(rnd_star(&z->seed) & (i % 8 > 2 ? 0 : 0xff));
	return 0;
}

static int noise_place(void *ctx, uint64_t addr, struct unwind_place *out)
{
	struct noise *z = ctx;

	out->table = rnd_star(&z->seed) % 16 ? &z->view : NULL;
	out->file_offset = addr;
	return rnd_star(&z->seed) % 64 ? 0 : -1;
}

static void walk(const struct unwind_view *v, uint64_t seed)
{
	struct noise z = {seed, *v};
	const struct unwind_ops ops = {noise_read, noise_place, &z};
	uint64_t frames[64];

	for (int i = 0; i < 32; i++) {
		struct unwind_regs r = {.ip = rnd_star(&z.seed) & 0xffffff,
		                        .sp = rnd_star(&z.seed) & 0xffffff,
		                        .bp = rnd_star(&z.seed) & 0xffffff,
		                        .bp_unknown = rnd_star(&z.seed) & 1};
		unsigned end = 99, flags = 0;
		size_t n = unwind_remote(&ops, &r, frames, ARRAY_LEN(frames), &end, &flags);

		if (!n || n > ARRAY_LEN(frames) || end > STACK_END_BAD_ROW)
			abort();
	}
}

/* Rows in order, the index pointing into them. */
static void check(const struct unwind_table *t)
{
	const uint64_t *rows = t->words.v + t->n_blocks + 1;

	if (t->words.n != (size_t)t->n_blocks + 1 + t->n_rows || !t->n_rows ||
	    t->words.n > UNWIND_MAX_WORDS)
		abort();
	for (uint32_t i = 0; i <= t->n_blocks; i++)
		if (t->words.v[i] >= t->n_rows || (i && t->words.v[i] < t->words.v[i - 1]))
			abort();
	for (uint32_t i = 1; i < t->n_rows; i++)
		if (MT_ROW_OFF(rows[i]) < MT_ROW_OFF(rows[i - 1]))
			abort();
}

struct tally {
	unsigned long tables, refused, rows;
};

static void one(const struct buf *file, uint64_t *seed, struct tally *t)
{
	struct buf b = {0}, names = {0};
	struct unwind_table table;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || buf_put(&b, file->p, file->n))
		abort();
	mutate(&b, seed);
	if (write_full(fd, b.p, b.n))
		abort();
	alarm(PATIENCE_S);
	if (!unwind_table_build(&table, fd)) {
		struct unwind_view v = {table.words.v, (uint32_t)table.words.n, table.base_block,
		                        table.n_blocks};

		check(&table);
		walk(&v, *seed | 1);
		t->tables++;
		t->rows += table.n_rows;
	} else {
		t->refused++;
	}
	unwind_table_release(&table);
	unwind_needed(fd, &names);
	alarm(0);
	buf_release(&names);
	buf_release(&b);
	close(fd);
}

int main(int argc, char **argv)
{
	uint64_t count = 1000, seed = 88172645463325252ull;
	struct buf files[16] = {0};
	struct tally t = {0};
	size_t n_files = 0;
	int opt;

	while ((opt = getopt(argc, argv, "n:s:")) != -1) {
		if (opt == 'n' && !parse_u64(optarg, 1, 100000000, &count))
			continue;
		if (opt == 's' && !parse_u64(optarg, 1, UINT64_MAX, &seed))
			continue;
		fprintf(stderr, "usage: fuzz_unwind [-n COUNT] [-s SEED] FILE...\n");
		return 2;
	}
	for (int i = optind; i < argc && n_files < ARRAY_LEN(files); i++) {
		if (read_file_at(AT_FDCWD, argv[i], 64u << 20, &files[n_files])) {
			fprintf(stderr, "fuzz_unwind: cannot read %s\n", argv[i]);
			return 2;
		}
		n_files++;
	}
	if (!n_files)
		return 2;
	signal(SIGALRM, on_alarm);
	for (uint64_t i = 0; i < count; i++)
		one(&files[i % n_files], &seed, &t);
	printf("%lu files: %lu tables of %lu rows, %lu refused\n", (unsigned long)count, t.tables,
	       t.rows, t.refused);
	for (size_t i = 0; i < n_files; i++)
		buf_release(&files[i]);
	return 0;
}
