/* SPDX-License-Identifier: MIT */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "unwind_priv.h"

int image_read(const struct image *im, uint64_t off, uint64_t n, struct buf *b)
{
	uint8_t chunk[16384];

	if (off > im->size || n > im->size - off)
		return -ENOEXEC;
	while (n) {
		size_t want = n < sizeof(chunk) ? n : sizeof(chunk);
		ssize_t got = pread_full(im->fd, chunk, want, off);

		if (got < 0)
			return (int)got;
		if ((size_t)got != want)
			return -EIO; /* it shrank */
		if (buf_put(b, chunk, want))
			return -ENOMEM;
		off += want;
		n -= want;
	}
	return 0;
}

/* Does musl's dynamic linker load it? */
static bool is_musl(const struct image *im, const Elf64_Phdr *p)
{
	static const char musl[] = "/ld-musl-";
	char path[256] = "";

	return p->p_filesz < sizeof(path) &&
	       pread_full(im->fd, path, p->p_filesz, p->p_offset) == (ssize_t)p->p_filesz &&
	       strstr(path, musl);
}

static int read_segments(struct image *im, const Elf64_Ehdr *h)
{
	for (unsigned i = 0; i < h->e_phnum && i < IMAGE_MAX_SEGMENTS; i++) {
		struct image_segment s;
		Elf64_Phdr p;

		if (h->e_phoff > im->size ||
		    pread_full(im->fd, &p, sizeof(p), h->e_phoff + i * sizeof(p)) != sizeof(p))
			return -ENOEXEC;
		s = (struct image_segment){.off = p.p_offset,
		                           .filesz = p.p_filesz,
		                           .vaddr = p.p_vaddr,
		                           .type = p.p_type,
		                           .exec = p.p_flags & PF_X};
		if (p.p_type == PT_GNU_EH_FRAME)
			im->eh_hdr = p.p_vaddr;
		if (p.p_type == PT_INTERP)
			im->is_musl = is_musl(im, &p);
		if (s.off > im->size)
			continue;
		if (s.filesz > im->size - s.off)
			s.filesz = im->size - s.off;
		if (s.vaddr + s.filesz < s.vaddr)
			continue;
		if (vec_push(&im->segments, s))
			return -ENOMEM;
	}
	return 0;
}

int image_open(struct image *im, int fd)
{
	struct stat st;
	Elf64_Ehdr h;

	memset(im, 0, sizeof(*im));
	im->fd = fd;
	if (fstat(fd, &st))
		return -errno;
	im->size = st.st_size > 0 ? (uint64_t)st.st_size : 0;
	if (pread_full(fd, &h, sizeof(h), 0) != sizeof(h) ||
	    memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
	    h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_machine != EM_X86_64 ||
	    h.e_phentsize != sizeof(Elf64_Phdr))
		return -ENOEXEC;
	im->entry = h.e_entry;
	return read_segments(im, &h);
}

int image_offset(const struct image *im, uint64_t vaddr, bool exec, uint64_t *off, uint64_t *left)
{
	for (size_t i = 0; i < im->segments.n; i++) {
		const struct image_segment *s = &im->segments.v[i];

		if (s->type != PT_LOAD || (exec && !s->exec) || vaddr < s->vaddr ||
		    vaddr - s->vaddr >= s->filesz)
			continue;
		*off = s->off + (vaddr - s->vaddr);
		*left = s->filesz - (vaddr - s->vaddr);
		return 0;
	}
	return -ENOENT;
}

/* A compressed section (Go's linker makes them): header, then a zlib stream. */
static int inflate_section(struct buf *b)
{
	struct buf raw = *b, out = {0};
	uLongf n;
	Elf64_Chdr h;
	int rc = -ENOEXEC;

	if (raw.n < sizeof(h))
		return -ENOEXEC;
	memcpy(&h, raw.p, sizeof(h));
	if (h.ch_type != ELFCOMPRESS_ZLIB || h.ch_size > UNWIND_MAX_SECTION ||
	    h.ch_size / 1100 > raw.n)
		return -ENOEXEC; /* zlib cannot make more than 1032 out of one */
	if (vec_grow_((void **)&out.p, &out.cap, 0, h.ch_size + 1, 1))
		return -ENOMEM;
	n = h.ch_size;
	if (uncompress(out.p, &n, raw.p + sizeof(h), raw.n - sizeof(h)) == Z_OK) {
		out.n = n;
		*b = out;
		buf_release(&raw);
		rc = 0;
	} else {
		buf_release(&out);
	}
	return rc;
}

static int read_section(struct image *im, const Elf64_Shdr *s, struct image_bytes *out)
{
	int rc;

	if (out->data.n || s->sh_type == SHT_NOBITS || s->sh_size > UNWIND_MAX_SECTION)
		return 0;
	out->vaddr = s->sh_addr;
	rc = image_read(im, s->sh_offset, s->sh_size, &out->data);
	if (!rc && (s->sh_flags & SHF_COMPRESSED))
		rc = inflate_section(&out->data);
	if (rc && rc != -ENOMEM) {
		out->data.n = 0; /* as if it were not there */
		rc = 0;
	}
	return rc;
}

static void note_place(struct image *im, const Elf64_Shdr *s, const char *name)
{
	const struct {
		const char *name;
		struct image_place *place;
		uint64_t *vaddr;
	} known[] = {
	        {".symtab", &im->symtab, NULL},
	        {".strtab", &im->strtab, NULL},
	        {".dynsym", &im->dynsym, NULL},
	        {".dynstr", &im->dynstr, NULL},
	        {".rela.dyn", &im->rela, NULL},
	        {".text", &im->text, &im->text_vaddr},
	        {".init", &im->init, &im->init_vaddr},
	        {".fini", &im->fini, &im->fini_vaddr},
	        {".gopclntab", &im->pclntab, &im->pclntab_vaddr},
	        {".data.rel.ro.gopclntab", &im->pclntab, &im->pclntab_vaddr},
	        {".data.rel.ro", &im->relro, &im->relro_vaddr},
	};

	if (!strcmp(name, ".go.buildinfo") || !strcmp(name, ".note.go.buildid"))
		im->is_go = true;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(name, known[i].name) != 0)
			continue;
		if (known[i].place)
			*known[i].place = (struct image_place){s->sh_offset, s->sh_size};
		if (known[i].vaddr)
			*known[i].vaddr = s->sh_addr;
	}
}

static int walk_sections(struct image *im, const struct buf *heads, const struct buf *names)
{
	int rc = 0;

	for (size_t at = 0; at + sizeof(Elf64_Shdr) <= heads->n && !rc; at += sizeof(Elf64_Shdr)) {
		const char *name;
		Elf64_Shdr s;

		memcpy(&s, heads->p + at, sizeof(s));
		if (s.sh_name >= names->n || !memchr(names->p + s.sh_name, 0, names->n - s.sh_name))
			continue;
		name = (const char *)names->p + s.sh_name;
		if (!strcmp(name, ".eh_frame"))
			rc = read_section(im, &s, &im->eh_frame);
		else if (!strcmp(name, ".debug_frame"))
			rc = read_section(im, &s, &im->debug_frame);
		else if (s.sh_type != SHT_NOBITS)
			note_place(im, &s, name);
	}
	im->is_go |= im->pclntab.n > 0;
	return rc;
}

static int read_sections(struct image *im)
{
	struct buf heads = {0}, names = {0};
	Elf64_Shdr s;
	Elf64_Ehdr h;
	int rc;

	if (pread_full(im->fd, &h, sizeof(h), 0) != sizeof(h))
		return -EIO;
	if (h.e_shentsize != sizeof(s) || !h.e_shnum || h.e_shstrndx >= h.e_shnum)
		return 0;
	rc = image_read(im, h.e_shoff, (uint64_t)h.e_shnum * sizeof(s), &heads);
	if (!rc) {
		memcpy(&s, heads.p + (size_t)h.e_shstrndx * sizeof(s), sizeof(s));
		rc = s.sh_size > (16u << 20) ? -E2BIG
		                             : image_read(im, s.sh_offset, s.sh_size, &names);
	}
	if (!rc)
		rc = walk_sections(im, &heads, &names);
	buf_release(&heads);
	buf_release(&names);
	return rc == -ENOMEM ? rc : 0; /* a file without sections may still have the other way */
}

/* Without section headers: .eh_frame_hdr begins with a pointer to .eh_frame, which ends
 * where its segment does, or before by a terminator. */
static int read_by_header(struct image *im)
{
	uint64_t off, left, at;
	uint8_t h[12];
	int64_t rel;

	if (!im->eh_hdr || image_offset(im, im->eh_hdr, false, &off, &left) || left < sizeof(h) ||
	    pread_full(im->fd, h, sizeof(h), off) != sizeof(h) || h[0] != 1 || h[1] != 0x1b)
		return 0; /* 0x1b: a signed word, relative to its own place; nobody writes another
		           */
	rel = (int32_t)((uint32_t)h[4] | (uint32_t)h[5] << 8 | (uint32_t)h[6] << 16 |
	                (uint32_t)h[7] << 24);
	at = im->eh_hdr + 4 + (uint64_t)rel;
	if (image_offset(im, at, false, &off, &left))
		return 0;
	im->eh_frame.vaddr = at;
	return image_read(im, off, left < UNWIND_MAX_SECTION ? left : UNWIND_MAX_SECTION,
	                  &im->eh_frame.data);
}

int image_frames(struct image *im)
{
	int rc = read_sections(im);

	if (!rc && !im->eh_frame.data.n)
		rc = read_by_header(im);
	if (!rc && im->is_go)
		rc = golang_symbols(im);
	if (!rc && im->is_go && !im->debug_frame.data.n)
		rc = golang_table(im);
	return rc;
}

int image_go(struct image *im)
{
	int rc = read_sections(im);

	buf_release(&im->eh_frame.data);
	buf_release(&im->debug_frame.data);
	return !rc && im->is_go ? golang_table(im) : rc;
}

void image_release(struct image *im)
{
	vec_release(&im->segments);
	vec_release(&im->bottoms);
	vec_release(&im->code_rows);
	buf_release(&im->eh_frame.data);
	buf_release(&im->debug_frame.data);
	buf_release(&im->go.data);
}
