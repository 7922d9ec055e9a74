/* SPDX-License-Identifier: MIT */
/*
 * symcheck FILE…          compares our names with those of nm(1), and says what reading costs
 * symcheck FILE 0xOFFSET… names the functions at these file offsets, inlined ones and lines too
 * symcheck --kallsyms     reads /proc/kallsyms and says what it costs
 *
 * Every sized function that nm lists must be found at its first, middle and last byte; where
 * another name comes out, that must be a symbol nm lists too, covering the same byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "elfimg.h"
#include "symbol.h"

struct nm_sym {
	uint64_t addr, size;
	char *name;
};
struct listing {
	VEC(struct nm_sym) v;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Bytes that malloc has handed out and the peak of the whole process. */
static uint64_t rss_bytes(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f && fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void print_cost(const char *what, uint64_t ns, uint64_t before, const char *names)
{
	char t[32], b[32], peak[32];
	uint64_t after = rss_bytes();
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	printf("%s: read in %s, holds %s (peak of this process %s); %s\n", what,
	       fmt_ns(t, sizeof(t), ns),
	       fmt_bytes(b, sizeof(b), after > before ? after - before : 0),
	       fmt_bytes(peak, sizeof(peak), (uint64_t)ru.ru_maxrss * 1024), names);
}

static int cmp_syms(const void *pa, const void *pb)
{
	const struct nm_sym *a = pa, *b = pb;

	return a->addr < b->addr ? -1 : a->addr > b->addr;
}

/* Functions by `nm option -S path`; the shell sees the path as an argument. */
static int read_nm(const char *path, const char *option, struct listing *l)
{
	char cmd[512], type, name[65536];
	unsigned long addr, size;
	FILE *f;

	setenv("SYMCHECK_FILE", path, 1);
	snprintf(cmd, sizeof(cmd), "nm %s -S --defined-only -- \"$SYMCHECK_FILE\" 2>/dev/null",
	         option);
	f = popen(cmd, "r");
	if (!f)
		return -errno;
	while (fscanf(f, "%lx", &addr) == 1) {
		struct nm_sym s = {.addr = addr};

		if (fscanf(f, " %lx %c %65535s", &size, &type, name) == 3 &&
		    strchr("tTwWiu", type)) {
			s.size = size;
			name[strcspn(name, "@")] = '\0';
			s.name = strdup(name);
			if (!s.name || vec_push(&l->v, s))
				break;
		} else {
			fscanf(f, "%*[^\n]"); /* without a size: not for comparing */
		}
	}
	pclose(f);
	if (l->v.n)
		qsort(l->v.v, l->v.n, sizeof(l->v.v[0]), cmp_syms);
	return 0;
}

/* From where elf_syms_open() also takes its names: the file, its debug file, dynamic symbols. */
static void read_best_nm(const char *path, int fd, struct listing *l)
{
	uint8_t id[64];
	char debug[256];
	int n = elf_build_id(fd, id), at;

	read_nm(path, "", l);
	if (!l->v.n && n > 1) {
		at = snprintf(debug, sizeof(debug), "/usr/lib/debug/.build-id/%02x/", id[0]);
		for (int i = 1; i < n; i++)
			at += snprintf(debug + at, sizeof(debug) - (size_t)at, "%02x", id[i]);
		snprintf(debug + at, sizeof(debug) - (size_t)at, ".debug");
		read_nm(debug, "", l);
	}
	if (!l->v.n)
		read_nm(path, "-D", l);
}

/* Does nm list a symbol of that name that covers the byte? */
static bool listed(const struct listing *l, const char *name, uint64_t addr, uint64_t start)
{
	for (size_t i = 0; i < l->v.n && l->v.v[i].addr <= addr; i++) {
		const struct nm_sym *s = &l->v.v[i];

		if (s->addr == start && addr - s->addr < s->size && !strcmp(s->name, name))
			return true;
	}
	return false;
}

static bool to_offset(int fd, uint64_t vaddr, uint64_t *off)
{
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	size_t n = 0;
	GElf_Phdr ph;
	bool found = false;

	elf_getphdrnum(elf, &n);
	for (size_t i = 0; i < n && !found; i++) {
		found = gelf_getphdr(elf, (int)i, &ph) && ph.p_type == PT_LOAD &&
		        (ph.p_flags & PF_X) && vaddr - ph.p_vaddr < ph.p_filesz;
		if (found)
			*off = vaddr - ph.p_vaddr + ph.p_offset;
	}
	elf_end(elf);
	return found;
}

struct tally {
	uint64_t asked, same, alias, missing, wrong, elsewhere;
};

static void compare_one(struct elf_syms *e, int fd, const struct listing *l, const struct nm_sym *s,
                        uint64_t at, struct tally *t)
{
	struct sym got;
	uint64_t off;

	if (!to_offset(fd, at, &off)) {
		t->elsewhere++;
		return;
	}
	t->asked++;
	if (elf_syms_lookup(e, off, &got)) {
		t->missing++;
		printf("  %#lx: nothing instead of %s\n", (unsigned long)at, s->name);
	} else if (!strcmp(got.name, s->name) && got.name_off == at - s->addr) {
		t->same++;
	} else if (listed(l, got.name, at, at - got.name_off)) {
		t->alias++;
	} else {
		t->wrong++;
		printf("  %#lx: %s+%#lx instead of %s\n", (unsigned long)at, got.name,
		       (unsigned long)got.name_off, s->name);
	}
}

static bool compare(struct elf_syms *e, int fd, const struct listing *l)
{
	struct tally t = {0};

	for (size_t i = 0; i < l->v.n; i++) {
		const struct nm_sym *s = &l->v.v[i];

		if (!s->size)
			continue;
		compare_one(e, fd, l, s, s->addr, &t);
		compare_one(e, fd, l, s, s->addr + s->size / 2, &t);
		compare_one(e, fd, l, s, s->addr + s->size - 1, &t);
	}
	printf("  %lu bytes asked: %lu as nm names them, %lu by another name of the same code, %lu "
	       "missing, "
	       "%lu wrong (%lu outside of the code)\n",
	       (unsigned long)t.asked, (unsigned long)t.same, (unsigned long)t.alias,
	       (unsigned long)t.missing, (unsigned long)t.wrong, (unsigned long)t.elsewhere);
	return !t.missing && !t.wrong;
}

static int lookup_offsets(struct elf_syms *e, char **argv)
{
	struct sym s[32];

	for (; *argv; argv++) {
		uint64_t off = strtoull(*argv, NULL, 0), start = now_ns();
		size_t n = elf_syms_chain(e, off, s, ARRAY_LEN(s));

		printf("%#lx%s", (unsigned long)off, n ? "" : " ?\n");
		for (size_t i = 0; i < n; i++)
			printf(" %s%s+%#lx %s:%u\n", i ? "  inlined: " : "",
			       s[i].name ? s[i].name : "?", (unsigned long)s[i].name_off,
			       s[i].src ? s[i].src : "?", s[i].line);
		fprintf(stderr, "  (%.3f ms)\n", (double)(now_ns() - start) / 1e6);
	}
	return 0;
}

static int check_file(const char *path, char **offsets)
{
	uint64_t before = rss_bytes(), start = now_ns();
	struct listing l = {0};
	struct err err = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct elf_syms *e = elf_syms_open(fd, path, NULL, 0, &err);
	bool ok;

	if (!e) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	if (*offsets) {
		lookup_offsets(e, offsets);
		ok = true;
	} else {
		print_cost(path, now_ns() - start, before, "against nm:");
		read_best_nm(path, fd, &l);
		ok = compare(e, fd, &l);
	}
	for (size_t i = 0; i < l.v.n; i++)
		free(l.v.v[i].name);
	vec_release(&l.v);
	elf_syms_free(e);
	close(fd);
	return !ok;
}

static int check_kallsyms(void)
{
	uint64_t before = rss_bytes(), start = now_ns();
	int fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	struct err err = {0};
	struct kallsyms *k = kallsyms_read(fd, &err);

	if (!k) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	print_cost("/proc/kallsyms", now_ns() - start, before, "");
	kallsyms_free(k);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	int bad = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: symcheck FILE… | FILE 0xOFFSET… | --kallsyms\n");
		return 2;
	}
	elf_version(EV_CURRENT);
	if (!strcmp(argv[1], "--kallsyms"))
		return check_kallsyms();
	if (argc > 2 && !strncmp(argv[2], "0x", 2))
		return check_file(argv[1], argv + 2);
	for (int i = 1; i < argc; i++)
		bad |= check_file(argv[i], (char *[]){NULL});
	return bad;
}
