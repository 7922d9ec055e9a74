/* SPDX-License-Identifier: MIT */
/*
 * elfimg.h: small ELF files made to order, whole or broken, without a compiler.
 *
 * Sections: 1 .text, 2 .fini (right behind .text), 3 .data, then the symbol table, its
 * strings and what the options ask for. One segment of code loads the file from offset
 * IMG_TEXT_OFF to IMG_TEXT, one of data IMG_DATA_OFF to IMG_DATA.
 */
#ifndef MT_ELFIMG_H
#define MT_ELFIMG_H

#include <elf.h>

#include "base.h"

enum {
	IMG_TEXT = 0x401000,
	IMG_TEXT_OFF = 0x200,
	IMG_TEXT_SIZE = 0x2000,
	IMG_FINI = IMG_TEXT + IMG_TEXT_SIZE,
	IMG_FINI_SIZE = 0x100,
	IMG_DATA = 0x601000,
	IMG_DATA_OFF = 0x2400,
	IMG_DATA_SIZE = 0x100
};
enum { IMG_SEC_TEXT = 1, IMG_SEC_FINI, IMG_SEC_DATA };

struct img_sym {
	const char *name;
	uint64_t value, size;
	uint8_t bind, type;
	uint16_t section;
};
/* Of .text, for tables of symbols. */
#define TEXT(off) (IMG_TEXT + (off))
#define FUNC(name, at, size)                                             \
	{                                                                \
		name, TEXT(at), size, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT \
	}

struct img {
	int class, data, type; /* 0 = 64 bit, little-endian, ET_DYN */
	const struct img_sym *syms;
	size_t n_syms;
	bool dynsym;          /* the symbols are in .dynsym */
	bool no_symbols;      /* stripped */
	bool debug_only;      /* code and data have no bytes, as in a separate debug file */
	const char *build_id; /* its bytes are those of the string; NULL = none */
	const char *debuglink;
	uint32_t crc;
	const char *data_name;       /* of the section; NULL = .data */
	const struct img *debugdata; /* packed into .gnu_debugdata; NULL = none */
};

/* Adds the file's bytes to out. Aborts when it cannot: such a test is no test. */
void img_make(const struct img *o, struct buf *out);
/* Adds p, packed by xz, to out. */
void img_pack(const void *p, size_t n, struct buf *out);
/* A file of these bytes that is nowhere on disk. The caller closes it. */
int img_fd(const void *p, size_t n);
/* img_make and img_fd. */
int img_open(const struct img *o);

/* Build id of an ELF file as our reader sees it: bytes in out (≤ 64), returns how many, 0 = none,
 * -errno. */
int elf_build_id(int fd, uint8_t out[64]);

#endif
