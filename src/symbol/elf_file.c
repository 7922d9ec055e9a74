/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf_priv.h"

#define SECNAMES_MAX (1u << 20)

int regular_open(const char *path)
{
	struct stat st;
	int fd, err;

	/* Opening alone can have an effect (a tape rewinds), so look first; and look again
	 * afterwards, because the path may have changed meanwhile. */
	if (stat(path, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENXIO;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : S_ISREG(st.st_mode) ? 0 : -ENXIO;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int elf_read(const struct elf_file *f, void *p, size_t n, uint64_t off)
{
	ssize_t got = pread_full(f->fd, p, n, off);

	if (got < 0)
		return (int)got;
	return (size_t)got == n ? 0 : -EIO;
}

/* What libelf would allocate for is checked before it sees the file. Reports *shnum. */
static int check_header(struct elf_file *f)
{
	union {
		Elf32_Ehdr e32;
		Elf64_Ehdr e64;
		uint8_t b[EI_NIDENT];
	} h = {0};
	bool swapped;
	uint16_t shnum, phnum;
	uint64_t shoff;

	if (elf_read(f, &h, sizeof(h.e32), 0) || memcmp(h.b, ELFMAG, SELFMAG))
		return -ENOEXEC;
	f->is64 = h.b[EI_CLASS] == ELFCLASS64;
	if (f->is64 && elf_read(f, &h, sizeof(h.e64), 0))
		return -ENOEXEC;
	swapped = h.b[EI_DATA] !=
	          (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB);
	shnum = f->is64 ? h.e64.e_shnum : h.e32.e_shnum;
	phnum = f->is64 ? h.e64.e_phnum : h.e32.e_phnum;
	shoff = f->is64 ? h.e64.e_shoff : h.e32.e_shoff;
	if (swapped) {
		shnum = __builtin_bswap16(shnum);
		phnum = __builtin_bswap16(phnum);
	}
	/* 0 sections with a table means that section 0 tells a count beyond 16 bits. */
	if ((!shnum && shoff) || phnum > ELF_MAX_SEGMENTS)
		return -E2BIG;
	return 0;
}

static int read_segments(struct elf_file *f)
{
	size_t n = 0, i;
	GElf_Phdr ph;

	if (elf_getphdrnum(f->elf, &n) || n > ELF_MAX_SEGMENTS)
		return -ENOEXEC;
	for (i = 0; i < n; i++) {
		struct elf_segment s;

		if (!gelf_getphdr(f->elf, (int)i, &ph))
			return -ENOEXEC;
		if (ph.p_type != PT_LOAD)
			continue;
		s = (struct elf_segment){ph.p_offset, ph.p_filesz, ph.p_vaddr, ph.p_memsz,
		                         ph.p_flags & PF_X};
		if (vec_push(&f->segments, s))
			return -ENOMEM;
	}
	return 0;
}

static int read_secnames(struct elf_file *f)
{
	size_t shstrndx = 0;
	const struct elf_section *s;

	if (elf_getshdrstrndx(f->elf, &shstrndx) || shstrndx >= f->sections.n)
		return 0; /* sections without names still have types */
	s = &f->sections.v[shstrndx];
	if (s->type != SHT_STRTAB || !s->size || s->size > SECNAMES_MAX)
		return 0;
	if (vec_grow_((void **)&f->secnames.p, &f->secnames.cap, 0, s->size + 1, 1))
		return -ENOMEM;
	if (elf_read(f, f->secnames.p, s->size, s->off))
		return 0;
	f->secnames.p[s->size] = '\0';
	f->secnames.n = s->size + 1;
	return 0;
}

static int read_sections(struct elf_file *f)
{
	size_t n = 0, i;
	GElf_Shdr sh;

	if (elf_getshdrnum(f->elf, &n) || n > ELF_MAX_SECTIONS)
		return -ENOEXEC;
	if (n && vec_reserve(&f->sections, n))
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		struct elf_section s;

		/* A stripped or cut table leaves what the segments tell: the build id. */
		if (!gelf_getshdr(elf_getscn(f->elf, i), &sh))
			break;
		s = (struct elf_section){.flags = sh.sh_flags,
		                         .addr = sh.sh_addr,
		                         .off = sh.sh_offset,
		                         .size = sh.sh_size,
		                         .entsize = sh.sh_entsize,
		                         .name = sh.sh_name,
		                         .type = sh.sh_type,
		                         .link = sh.sh_link};
		f->sections.v[f->sections.n++] = s;
	}
	return read_secnames(f);
}

/* Looks for the GNU build id among the notes at [off, off + size). */
static bool notes_build_id(struct elf_file *f, uint64_t off, uint64_t size, uint64_t align)
{
	Elf_Data *d;
	GElf_Nhdr nh;
	size_t pos = 0, next, name, desc;

	if (!size || size > ELF_MAX_NOTES || off > f->size || size > f->size - off)
		return false;
	d = elf_getdata_rawchunk(f->elf, (int64_t)off, size, align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR);
	if (!d)
		return false;
	while ((next = gelf_getnote(d, pos, &nh, &name, &desc)) > pos) {
		if (nh.n_type == NT_GNU_BUILD_ID && nh.n_namesz == 4 &&
		    !memcmp((char *)d->d_buf + name, "GNU", 4) && nh.n_descsz &&
		    nh.n_descsz <= ELF_MAX_BUILD_ID) {
			f->build_id_n = nh.n_descsz;
			memcpy(f->build_id, (char *)d->d_buf + desc, nh.n_descsz);
			return true;
		}
		pos = next;
	}
	return false;
}

static void read_build_id(struct elf_file *f)
{
	size_t n = 0, i;
	GElf_Phdr ph;

	/* Segments first: the kernel's own notion of a build id. Debug files have sections only. */
	if (!elf_getphdrnum(f->elf, &n)) {
		for (i = 0; i < n; i++) {
			if (gelf_getphdr(f->elf, (int)i, &ph) && ph.p_type == PT_NOTE &&
			    notes_build_id(f, ph.p_offset, ph.p_filesz, ph.p_align))
				return;
		}
	}
	for (i = 0; i < f->sections.n; i++) {
		const struct elf_section *s = &f->sections.v[i];

		if (s->type == SHT_NOTE && notes_build_id(f, s->off, s->size, 4))
			return;
	}
}

static int parse(struct elf_file *f)
{
	GElf_Ehdr eh;
	int err = check_header(f);

	if (err)
		return err;
	if (elf_version(EV_CURRENT) == EV_NONE)
		return -ENOSYS;
	f->elf = elf_begin(f->fd, ELF_C_READ, NULL);
	if (!f->elf || elf_kind(f->elf) != ELF_K_ELF || !gelf_getehdr(f->elf, &eh))
		return -ENOEXEC;
	if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN)
		return -ENOEXEC;
	f->machine = eh.e_machine;
	err = read_segments(f);
	if (!err)
		err = read_sections(f);
	if (!err)
		read_build_id(f);
	return err;
}

static const char *reason(int err)
{
	switch (-err) {
	case ENOEXEC:
		return "not an executable or library (ELF), or damaged";
	case E2BIG:
		return "it has too many sections or segments";
	case EFBIG:
		return "the file is too large";
	case ENXIO:
		return "not a regular file";
	default:
		return strerror(-err);
	}
}

int elf_file_open(struct elf_file *f, int fd, const char *path, struct err *err)
{
	char safe[256];
	struct stat st;
	int ret;

	*f = (struct elf_file){.fd = fd};
	ret = fstat(fd, &st) ? -errno : S_ISREG(st.st_mode) ? 0 : -ENXIO;
	if (!ret && (uint64_t)st.st_size > ELF_MAX_FILE)
		ret = -EFBIG;
	if (!ret) {
		f->size = (uint64_t)st.st_size;
		f->dev = st.st_dev;
		f->ino = st.st_ino;
		ret = parse(f);
	}
	if (ret) {
		if (!f->elf)
			close(fd);
		err_set(err, ret, MT_EXIT_FAIL, "%s: no symbols: %s",
		        fmt_safe(safe, sizeof(safe), path), reason(ret));
		elf_file_close(f);
	}
	return ret;
}

void elf_file_close(struct elf_file *f)
{
	if (f->elf) {
		elf_end(f->elf);
		close(f->fd);
	}
	vec_release(&f->sections);
	vec_release(&f->segments);
	buf_release(&f->secnames);
	*f = (struct elf_file){0};
}

static bool has_bytes(const struct elf_file *f, const struct elf_section *s)
{
	return s->type != SHT_NOBITS && s->size && s->off <= f->size && s->size <= f->size - s->off;
}

const struct elf_section *elf_section_typed(const struct elf_file *f, uint32_t type)
{
	for (size_t i = 0; i < f->sections.n; i++) {
		if (f->sections.v[i].type == type && has_bytes(f, &f->sections.v[i]))
			return &f->sections.v[i];
	}
	return NULL;
}

const struct elf_section *elf_section_named(const struct elf_file *f, const char *name)
{
	for (size_t i = 0; i < f->sections.n; i++) {
		const struct elf_section *s = &f->sections.v[i];

		if (s->name < f->secnames.n && has_bytes(f, s) &&
		    !strcmp((char *)f->secnames.p + s->name, name))
			return s;
	}
	return NULL;
}
