/* SPDX-License-Identifier: MIT */
/* Written by hand and not with libelf, which is what reads it in the tests. */
#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elfimg.h"
#include "symbol/elf_priv.h"

#define CHECK(x)                                                     \
	do {                                                         \
		if (!(x)) {                                          \
			fprintf(stderr, "elfimg: failed: %s\n", #x); \
			abort();                                     \
		}                                                    \
	} while (0)

struct section {
	uint32_t name, type, link;
	uint64_t flags, addr, off, size, entsize;
};

struct work {
	const struct img *o;
	struct buf *out;
	size_t base; /* where the file starts in out */
	struct buf names, strings, symbols;
	struct section sections[12];
	size_t n;
};

/* Appends the low `bytes` bytes of v in the file's order. */
static void num(const struct work *w, struct buf *b, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++) {
		int shift = 8 * (w->o->data == ELFDATA2MSB ? bytes - 1 - i : i);
		uint8_t byte = (uint8_t)(v >> shift);

		CHECK(!buf_put(b, &byte, 1));
	}
}

static bool is32(const struct work *w)
{
	return w->o->class == ELFCLASS32;
}

/* A field that has the size of an address. */
static void word(const struct work *w, struct buf *b, uint64_t v)
{
	num(w, b, v, is32(w) ? 4 : 8);
}

static void pad_to(struct work *w, size_t off)
{
	while (w->out->n < w->base + off)
		CHECK(!buf_put(w->out, "", 1));
}

static uint32_t add_string(struct buf *b, const char *s)
{
	uint32_t at = (uint32_t)b->n;

	CHECK(!buf_put(b, s, strlen(s) + 1));
	return at;
}

static struct section *add_section(struct work *w, const char *name, uint32_t type)
{
	struct section *s = &w->sections[w->n++];

	CHECK(w->n <= ARRAY_LEN(w->sections));
	*s = (struct section){.name = add_string(&w->names, name), .type = type};
	return s;
}

/* Puts the section's bytes at the end of the file. */
static void contents(struct work *w, struct section *s, const struct buf *b)
{
	pad_to(w, (w->out->n - w->base + 7) & ~(size_t)7);
	s->off = w->out->n - w->base;
	s->size = b->n;
	CHECK(!buf_put(w->out, b->p, b->n));
}

static void add_loaded(struct work *w, const char *name, uint64_t flags, uint64_t addr,
                       uint64_t off, uint64_t size)
{
	struct section *s = add_section(w, name, w->o->debug_only ? SHT_NOBITS : SHT_PROGBITS);

	s->flags = SHF_ALLOC | flags;
	s->addr = addr;
	s->off = off;
	s->size = size;
}

static void put_symbol(struct work *w, const struct img_sym *s)
{
	struct buf *b = &w->symbols;
	uint8_t info = (uint8_t)(s->bind << 4 | s->type);

	num(w, b, *s->name ? add_string(&w->strings, s->name) : 0, 4);
	if (is32(w)) {
		num(w, b, s->value, 4);
		num(w, b, s->size, 4);
	}
	num(w, b, info, 1);
	num(w, b, 0, 1);
	num(w, b, s->section, 2);
	if (!is32(w)) {
		num(w, b, s->value, 8);
		num(w, b, s->size, 8);
	}
}

static void add_symbols(struct work *w)
{
	static const struct img_sym none = {.name = ""};
	struct section *tab = add_section(w, w->o->dynsym ? ".dynsym" : ".symtab",
	                                  w->o->dynsym ? SHT_DYNSYM : SHT_SYMTAB);
	struct section *str = add_section(w, w->o->dynsym ? ".dynstr" : ".strtab", SHT_STRTAB);

	add_string(&w->strings, "");
	put_symbol(w, &none);
	for (size_t i = 0; i < w->o->n_syms; i++)
		put_symbol(w, &w->o->syms[i]);
	tab->entsize = is32(w) ? sizeof(Elf32_Sym) : sizeof(Elf64_Sym);
	tab->link = (uint32_t)(str - w->sections);
	contents(w, tab, &w->symbols);
	contents(w, str, &w->strings);
}

static void add_build_id(struct work *w)
{
	struct section *s = add_section(w, ".note.gnu.build-id", SHT_NOTE);
	size_t n = strlen(w->o->build_id);
	struct buf b = {0};

	num(w, &b, 4, 4);
	num(w, &b, n, 4);
	num(w, &b, NT_GNU_BUILD_ID, 4);
	CHECK(!buf_put(&b, "GNU", 4));
	CHECK(!buf_put(&b, w->o->build_id, n));
	CHECK(!buf_put(&b, "\0\0\0", (4 - n % 4) % 4));
	contents(w, s, &b);
	buf_release(&b);
}

static void add_debuglink(struct work *w)
{
	struct section *s = add_section(w, ".gnu_debuglink", SHT_PROGBITS);
	struct buf b = {0};

	add_string(&b, w->o->debuglink);
	CHECK(!buf_put(&b, "\0\0\0", (4 - b.n % 4) % 4));
	num(w, &b, w->o->crc, 4);
	contents(w, s, &b);
	buf_release(&b);
}

void img_pack(const void *p, size_t n, struct buf *out)
{
	size_t max = lzma_stream_buffer_bound(n), at = 0;
	uint8_t *packed = malloc(max);

	CHECK(packed && lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, p, n, packed, &at,
	                                        max) == LZMA_OK);
	CHECK(!buf_put(out, packed, at));
	free(packed);
}

static void add_debugdata(struct work *w)
{
	struct section *s = add_section(w, ".gnu_debugdata", SHT_PROGBITS);
	struct buf plain = {0}, packed = {0};

	img_make(w->o->debugdata, &plain);
	img_pack(plain.p, plain.n, &packed);
	contents(w, s, &packed);
	buf_release(&plain);
	buf_release(&packed);
}

static void put_segment(struct work *w, struct buf *b, uint32_t flags, uint64_t off, uint64_t addr,
                        uint64_t size)
{
	num(w, b, PT_LOAD, 4);
	if (!is32(w))
		num(w, b, flags, 4);
	word(w, b, off);
	word(w, b, addr);
	word(w, b, addr);
	word(w, b, w->o->debug_only ? 0 : size);
	word(w, b, size);
	if (is32(w))
		num(w, b, flags, 4);
	word(w, b, 1);
}

static void put_sections(struct work *w)
{
	struct buf b = {0};

	for (size_t i = 0; i < w->n; i++) {
		const struct section *s = &w->sections[i];

		num(w, &b, s->name, 4);
		num(w, &b, s->type, 4);
		word(w, &b, s->flags);
		word(w, &b, s->addr);
		word(w, &b, s->off);
		word(w, &b, s->size);
		num(w, &b, s->link, 4);
		num(w, &b, 0, 4);
		word(w, &b, 1);
		word(w, &b, s->entsize);
	}
	CHECK(!buf_put(w->out, b.p, b.n));
	buf_release(&b);
}

/* The ELF header and the segments right behind it, over the room that was left for them. */
static void put_header(struct work *w, uint64_t shoff)
{
	uint8_t ident[EI_NIDENT] = {0x7f,
	                            'E',
	                            'L',
	                            'F',
	                            is32(w) ? ELFCLASS32 : ELFCLASS64,
	                            w->o->data == ELFDATA2MSB ? ELFDATA2MSB : ELFDATA2LSB,
	                            1};
	uint64_t ehsize = is32(w) ? sizeof(Elf32_Ehdr) : sizeof(Elf64_Ehdr);
	struct buf b = {0};

	CHECK(!buf_put(&b, ident, sizeof(ident)));
	num(w, &b, (uint64_t)(w->o->type ? w->o->type : ET_DYN), 2);
	num(w, &b, is32(w) ? EM_386 : EM_X86_64, 2);
	num(w, &b, 1, 4);
	word(w, &b, IMG_TEXT);
	word(w, &b, ehsize);
	word(w, &b, shoff);
	num(w, &b, 0, 4);
	num(w, &b, ehsize, 2);
	num(w, &b, is32(w) ? sizeof(Elf32_Phdr) : sizeof(Elf64_Phdr), 2);
	num(w, &b, 2, 2);
	num(w, &b, is32(w) ? sizeof(Elf32_Shdr) : sizeof(Elf64_Shdr), 2);
	num(w, &b, w->n, 2);
	num(w, &b, w->n - 1, 2);
	put_segment(w, &b, PF_R | PF_X, IMG_TEXT_OFF, IMG_TEXT, IMG_TEXT_SIZE + IMG_FINI_SIZE);
	put_segment(w, &b, PF_R | PF_W, IMG_DATA_OFF, IMG_DATA, IMG_DATA_SIZE);
	CHECK(b.n <= IMG_TEXT_OFF);
	memcpy(w->out->p + w->base, b.p, b.n);
	buf_release(&b);
}

void img_make(const struct img *o, struct buf *out)
{
	struct work w = {.o = o, .out = out, .base = out->n};
	struct section *names;
	size_t shoff;

	add_section(&w, "", SHT_NULL);
	add_loaded(&w, ".text", SHF_EXECINSTR, IMG_TEXT, IMG_TEXT_OFF, IMG_TEXT_SIZE);
	add_loaded(&w, ".fini", SHF_EXECINSTR, IMG_FINI, IMG_TEXT_OFF + IMG_TEXT_SIZE,
	           IMG_FINI_SIZE);
	add_loaded(&w, o->data_name ? o->data_name : ".data", SHF_WRITE, IMG_DATA, IMG_DATA_OFF,
	           IMG_DATA_SIZE);
	pad_to(&w, o->debug_only ? IMG_TEXT_OFF : IMG_DATA_OFF + IMG_DATA_SIZE);
	if (!o->no_symbols)
		add_symbols(&w);
	if (o->build_id)
		add_build_id(&w);
	if (o->debuglink)
		add_debuglink(&w);
	if (o->debugdata)
		add_debugdata(&w);
	names = add_section(&w, ".shstrtab", SHT_STRTAB);
	contents(&w, names, &w.names);
	shoff = (out->n - w.base + 7) & ~(size_t)7;
	pad_to(&w, shoff);
	put_sections(&w);
	put_header(&w, shoff);
	buf_release(&w.names);
	buf_release(&w.strings);
	buf_release(&w.symbols);
}

int img_fd(const void *p, size_t n)
{
	int fd = memfd_create("elfimg", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(!write_full(fd, p, n));
	return fd;
}

int img_open(const struct img *o)
{
	struct buf b = {0};
	int fd;

	img_make(o, &b);
	fd = img_fd(b.p, b.n);
	buf_release(&b);
	return fd;
}

int elf_build_id(int fd, uint8_t out[64])
{
	struct elf_file f;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0), n;

	if (own < 0)
		return -errno;
	n = elf_file_open(&f, own, "", NULL);
	if (n)
		return n;
	memcpy(out, f.build_id, f.build_id_n);
	n = (int)f.build_id_n;
	elf_file_close(&f);
	return n;
}
