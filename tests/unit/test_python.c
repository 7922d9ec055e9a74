/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/elfimg.h"
#include "pytables.h"
#include "python.h"

/* --- lines ----------------------------------------------------------------------------------- */

static void expect_lines(uint32_t hex, const uint8_t *table, size_t n, const struct run *runs)
{
	for (; runs[1].line != -1 || runs[0].line != -1; runs++) {
		if (runs[0].line == -1)
			return;
		for (int at = runs[0].instr; at < runs[1].instr; at += 2)
			cr_expect_eq(py_line(hex, 1, table, n, (uint32_t)at),
			             (uint32_t)runs[0].line, "%x at %d: line %u, not %d", hex, at,
			             py_line(hex, 1, table, n, (uint32_t)at), runs[0].line);
		if (runs[1].line == -1)
			return;
	}
}

Test(python, lines_are_those_that_python_says)
{
	expect_lines(0x030812f0, table_38, sizeof(table_38), runs_38);
	expect_lines(0x030912f0, table_38, sizeof(table_38), runs_38);
	expect_lines(0x030a0df0, table_310, sizeof(table_310), runs_310);
	expect_lines(0x030b07f0, table_311, sizeof(table_311), runs_311);
	expect_lines(0x030c01f0, table_311, sizeof(table_311), runs_311);
	expect_lines(0x030d00f0, table_313, sizeof(table_313), runs_313);
	expect_lines(0x030e0af0, table_313, sizeof(table_313), runs_313);
}

Test(python, no_line_is_guessed)
{
	uint32_t hex = 0x030b07f0;

	cr_expect_eq(py_line(hex, 7, table_311, sizeof(table_311), MT_PY_INSTR_NONE), 0);
	cr_expect_eq(py_line(hex, 7, table_311, sizeof(table_311), MT_PY_INSTR_START), 7);
	cr_expect_eq(py_line(hex, 7, table_311, sizeof(table_311), 100000), 0, "beyond the table");
	cr_expect_eq(py_line(hex, 7, table_311, 10, 200), 0, "the table was cut before it");
	cr_expect_eq(py_line(hex, 7, NULL, 0, 2), 0);
	cr_expect_eq(py_line(0x02071200, 7, table_38, sizeof(table_38), 2), 0, "no such version");
	cr_expect_eq(py_line(0x030f0000, 7, table_311, sizeof(table_311), 2), 0);
}

/* Any bytes: no crash, no reading beyond (the sanitizers look), an end. */
Test(python, hostile_line_tables)
{
	unsigned seed = 1;

	for (int i = 0; i < 20000; i++) {
		size_t n = (size_t)(rand_r(&seed) % 70);
		uint8_t *t = malloc(n ? n : 1);

		for (size_t j = 0; j < n; j++)
			t[j] = (uint8_t)(rand_r(&seed) >> (i & 1 ? 3 : 7));
		for (uint32_t minor = 8; minor <= 14; minor++)
			py_line(3u << 24 | minor << 16, (uint32_t)rand_r(&seed) * (i & 2 ? 1 : 3),
			        t, n, (uint32_t)rand_r(&seed) % 400);
		free(t);
	}
}

/* --- strings --------------------------------------------------------------------------------- */

static const char *utf8(unsigned kind, bool ascii, const void *data, size_t n, size_t max)
{
	static char out[64];

	out[py_utf8(kind, ascii, data, n, out, max)] = 0;
	return out;
}

Test(python, strings_of_each_kind)
{
	static const uint16_t two[] = {0x65e5, 0x672c, 'x', 0x00df};
	static const uint32_t four[] = {0x1f40d, 'y', 0x65e5};
	static const uint16_t undecodable[] = {'a', 0xdcff, 0xd800, 'b'};

	cr_expect_str_eq(utf8(1, true, "plain", 5, 60), "plain");
	cr_expect_str_eq(utf8(1, false,
	                      "gr\xf6\xdf"
	                      "e",
	                      5, 60),
	                 "größe");
	cr_expect_str_eq(utf8(2, false, two, sizeof(two), 60), "日本xß");
	cr_expect_str_eq(utf8(4, false, four, sizeof(four), 60), "🐍y日");
	cr_expect_str_eq(utf8(2, false, undecodable, sizeof(undecodable), 60), "a\xff\xef\xbf\xbd"
	                                                                       "b");
	cr_expect_str_eq(utf8(2, false, two, sizeof(two), 5), "日", "whole characters only");
	cr_expect_str_eq(utf8(2, false, two, 3, 60), "日", "half a character is none");
	cr_expect_str_eq(utf8(0, false, "x", 1, 60), "x");
}

/* --- versions and layouts -------------------------------------------------------------------- */

Test(python, version_of_a_file_name)
{
	cr_expect_eq(py_version_of_name("/usr/bin/python3.8"), 0x03080000u);
	cr_expect_eq(py_version_of_name("libpython3.11.so.1.0"), 0x030b0000u);
	cr_expect_eq(py_version_of_name("/x/python3.13t"), 0x030d0000u);
	cr_expect_eq(py_version_of_name("/usr/bin/python3"), 0);
	cr_expect_eq(py_version_of_name("libpython3.so"), 0);
	cr_expect_eq(py_version_of_name("/usr/bin/python2.7"), 0);
	cr_expect_eq(py_version_of_name("/usr/bin/python3.999999999999"), 0);
	cr_expect_eq(py_version_of_name(""), 0);
}

/* The words of the table that versions have of themselves (x86-64): 3.13.0's, 3.14.10's and the
 * one of 3.14.10 without a GIL. */
enum { WORDS_313, WORDS_314, WORDS_314T };
static void fill_words(uint64_t w[128], int which)
{
	/* runtime_state, interpreter_state, thread_state, interpreter_frame, code_object, pyobject
	 * and type_object, others, bytes_object and unicode_object */
	static const uint64_t words[][79] = {
	        {283320, 608,  632, 194968, 7272, 7264, 7344, 7400, 7656, 7640, 7648, 16,  7752, 0,
	         7768,   7760, 304, 0,      8,    16,   72,   152,  160,  232,  32,   80,  8,    0,
	         56,     72,   70,  208,    112,  120,  128,  136,  68,   52,   96,   104, 200,  16,
	         8,      416,  24,  88,     168,  32,   24,   16,   40,   24,   16,   48,  32,   40,
	         24,     16,   32,  16,     24,   40,   16,   32,   64,   32,   16,   40},
	        {316616, 784, 808,  225864, 7280, 7272, 7344, 7360, 7408, 7688, 7672, 7680, 16,
	         7784,   0,   7800, 7792,   7992, 0,    832,  0,    8,    16,   72,   152,  160,
	         232,    32,  88,   8,      0,    56,   80,   74,   64,   0,    216,  112,  120,
	         128,    136, 68,   52,     96,   104,  208,  0,    16,   8,    416,  24,   88,
	         168,    40,  32,   16,     40,   24,   16,   200,  24,   40,   32,   48,   32,
	         40,     24,  16,   32,     16,   24,   40,   16,   32,   64,   32,   16,   40},
	        {365624, 784, 808,  249976, 7280, 7272,  7344, 7360, 7408, 7712, 7696, 7704, 16,
	         7808,   0,   7832, 7824,   8024, 17300, 832,  0,    8,    16,   72,   152,  160,
	         232,    32,  88,   8,      0,    56,    80,   78,   64,   72,   240,  128,  136,
	         144,    152, 84,   68,     112,  120,   232,  224,  32,   24,   432,  40,   104,
	         184,    56,  48,   32,     56,   40,    32,   216,  40,   56,   48,   64,   48,
	         56,     40,  32,   48,     32,   40,    56,   32,   48,   80,   48,   32,   56},
	};

	memset(w, 0, 128 * sizeof(*w));
	memcpy(w, "xdebugpy", 8);
	w[1] = which == WORDS_313 ? 0x030d00f0 : 0x030e0af0;
	w[2] = which == WORDS_314T;
	memcpy(w + 3, words[which], sizeof(words[which]));
}

static void fill_table(uint64_t w[128])
{
	fill_words(w, WORDS_313);
}

Test(python, layout_of_314)
{
	const struct mt_py_layout *f;
	struct py_build b;
	uint64_t w[128];

	fill_words(w, WORDS_314);
	cr_assert_eq(py_build_for(0, (uint8_t *)w, sizeof(w), &b), 0);
	f = &b.off.frames;
	cr_expect_eq(b.version, 0x030e0af0u);
	cr_expect(!b.free_threaded);
	cr_expect_eq(f->interp_head, 808);
	cr_expect_eq(f->interp_next, 7272);
	cr_expect_eq(f->interp_threads, 7344);
	cr_expect_eq(f->tstate_frame, 72);
	cr_expect_eq(f->tstate_thread_id, 152);
	cr_expect_eq(f->frame_owner, 74);
	cr_expect_eq(f->frame_size, 80);
	cr_expect_eq(f->frame_instr, 56);
	cr_expect_eq(f->code_mask, 3, "a reference has bits of its own");
	cr_expect_eq(f->code_qualname, 128);
	cr_expect_eq(f->code_table, 136);
	cr_expect_eq(f->code_first_line, 68);
	cr_expect_eq(f->code_start, 208);
	cr_expect_eq(f->frame_tlbc, MT_PY_NO);
	cr_expect_eq(f->str_length, 16);
	cr_expect_eq(f->str_state, 32);
	cr_expect_eq(f->str_ascii, 40);
	cr_expect_eq(f->str_wide, 56);
	cr_expect_eq(f->bytes_length, 16);
	cr_expect_eq(f->bytes_data, 32);
	cr_expect_eq(f->kind_shift, 2);
	cr_expect_eq(b.off.interp_gil, 16);
	cr_expect_eq(b.off.interp_own_gil, 7784);
	cr_expect_eq(b.off.gil_cond, 32);
}

Test(python, layout_without_a_gil)
{
	const struct mt_py_layout *f;
	struct py_build b;
	uint64_t w[128];

	fill_words(w, WORDS_314T);
	cr_assert_eq(py_build_for(0, (uint8_t *)w, sizeof(w), &b), 0);
	f = &b.off.frames;
	cr_expect(b.free_threaded);
	cr_expect_eq(f->frame_owner, 78);
	cr_expect_eq(f->frame_size, 80);
	cr_expect_eq(f->frame_tlbc, 72);
	cr_expect_eq(f->code_tlbc, 224);
	cr_expect_eq(f->code_start, 232);
	cr_expect_eq(f->object_type, 24);
	cr_expect_eq(f->type_name, 40);
	cr_expect_eq(f->str_length, 32);
	cr_expect_eq(f->str_state, 48);
	cr_expect_eq(f->str_ascii, 56);
	cr_expect_eq(f->str_wide, 72);
	cr_expect_eq(f->bytes_length, 32);
	cr_expect_eq(f->bytes_data, 48);
	cr_expect_eq(f->kind_shift, 8);
	cr_expect_eq(b.off.gil_locked, 24);
	cr_expect_eq(b.off.gil_cond, 40);
	w[38] = 1000; /* the index of the thread's copy, outside of the frame */
	cr_expect_eq(py_build_for(0, (uint8_t *)w, sizeof(w), &b), -EINVAL);
}

Test(python, layouts)
{
	struct py_build b;
	uint64_t w[128];

	for (uint32_t minor = 8; minor <= 12; minor++) {
		cr_assert_eq(py_build_for(3u << 24 | minor << 16, NULL, 0, &b), 0);
		cr_expect_eq(b.version >> 16 & 0xff, minor);
		cr_expect_leq(b.off.frames.frame_size, 112);
		cr_expect_eq(b.off.frames.frame_instr % 8, 0);
		cr_expect_lt(b.off.frames.frame_instr, b.off.frames.frame_size);
		cr_expect_eq((minor <= 11), b.off.runtime_gil != PY_NONE);
	}
	cr_expect_eq(py_build_for(0x03070000, NULL, 0, &b), -ENOTSUP);
	cr_expect_eq(py_build_for(0x030f0000, NULL, 0, &b), -ENOTSUP);
	cr_expect_eq(py_build_for(0, NULL, 0, &b), -ENOTSUP);
	cr_expect_eq(py_build_for(0x030d0000, NULL, 0, &b), -EINVAL, "it has to say it itself");
	fill_table(w);
	cr_assert_eq(py_build_for(0, (uint8_t *)w, sizeof(w), &b), 0);
	cr_expect_eq(b.version, 0x030d00f0u);
	cr_expect_eq(b.off.frames.interp_head, 632);
	cr_expect_eq(b.off.frames.tstate_thread_id, 152);
	cr_expect_eq(b.off.frames.frame_owner, 70);
	cr_expect_eq(b.off.frames.frame_size, 72);
	cr_expect_eq(b.off.frames.code_start, 200);
	cr_expect_eq(b.off.frames.type_name, 24);
	cr_expect_eq(b.off.interp_gil, 16);
	cr_expect_eq(b.off.interp_own_gil, 7752);
	cr_expect_eq(b.off.gil_holder, 8);
	w[2] = 1;
	cr_assert_eq(py_build_for(0, (uint8_t *)w, sizeof(w), &b), 0);
	cr_expect(b.free_threaded);
	cr_expect_eq(b.off.gil_holder, 16);
}

/* A table that lies is refused, or harmless: what BPF gets stays inside a frame's bytes. */
Test(python, hostile_offsets)
{
	struct py_build b;
	unsigned seed = 3;
	uint64_t w[128];

	for (int i = 0; i < 20000; i++) {
		size_t at = 1 + (size_t)rand_r(&seed) % 84;

		fill_words(w, i % 3);
		w[at] = i & 1 ? (uint64_t)rand_r(&seed) << (rand_r(&seed) % 40)
		              : (uint64_t)rand_r(&seed) % 256;
		if (i & 4)
			w[1] = 0x030e00f0;
		if (py_build_for(0, (uint8_t *)w, 8 + (size_t)rand_r(&seed) % sizeof(w), &b))
			continue;
		if (b.version >= 0x030d0000) {
			cr_assert_leq(b.off.frames.frame_size, 112);
			cr_assert_leq(b.off.frames.frame_code + 8, b.off.frames.frame_size);
			cr_assert_leq(b.off.frames.frame_prev + 8, b.off.frames.frame_size);
			cr_assert_leq(b.off.frames.frame_instr + 8, b.off.frames.frame_size);
			cr_assert_lt(b.off.frames.frame_owner, b.off.frames.frame_size);
			cr_assert(b.off.frames.frame_tlbc == MT_PY_NO ||
			          b.off.frames.frame_tlbc + 4 <= b.off.frames.frame_size);
		}
	}
}

/* --- files
 * ---------------------------------------------------------------------------------------- */

static const struct img_sym symbols[] = {
        {"other", IMG_DATA, 8, STB_GLOBAL, STT_OBJECT, IMG_SEC_DATA},
        {"_PyRuntime", IMG_DATA + 16, 0x90, STB_GLOBAL, STT_OBJECT, IMG_SEC_DATA},
        {"Py_Version", IMG_DATA + 8, 8, STB_GLOBAL, STT_OBJECT, IMG_SEC_DATA},
        {"PyCode_Type", IMG_DATA + 24, 8, STB_GLOBAL, STT_OBJECT, IMG_SEC_DATA},
};
static const struct img image = {.syms = symbols, .n_syms = ARRAY_LEN(symbols), .dynsym = true};

Test(python, an_interpreter_is_found_in_its_file)
{
	int fd = img_open(&image);
	struct py_elf e;
	uint64_t at;

	cr_assert_eq(py_elf_read(fd, &e), 0);
	close(fd);
	cr_expect_eq(e.runtime, IMG_DATA + 16);
	cr_expect_eq(e.runtime_size, 0x90);
	cr_expect_eq(e.code_type, IMG_DATA + 24);
	cr_expect_not(e.fixed);
	cr_expect_eq(e.n_start, IMG_DATA_SIZE - 16);
	cr_assert_eq(py_elf_address(&e, 0x7f0000401000, IMG_TEXT_OFF & ~0xfffull, 4096, &at), 0);
	cr_expect_eq(at, 0x7f0000401000 - IMG_TEXT + IMG_DATA + 16);
	cr_expect_eq(py_elf_address(&e, 0x7f0000401000, 1 << 20, 4096, &at), -ENOENT);
	cr_expect_eq(py_elf_address(&e, 0x7f0000401000, 0, 1000, &at), -EINVAL);
}

/* A program that has it linked in: nothing of it is in .dynsym, and after strip nowhere. */
Test(python, an_interpreter_is_found_by_its_section)
{
	struct img one = {.syms = symbols, .n_syms = ARRAY_LEN(symbols), .data_name = ".PyRuntime"};
	struct py_elf e;
	int fd = img_open(&one);

	cr_assert_eq(py_elf_read(fd, &e), 0);
	close(fd);
	cr_expect_eq(e.runtime, IMG_DATA + 16);
	cr_expect_eq(e.runtime_size, 0x90);
	one.no_symbols = true;
	fd = img_open(&one);
	cr_assert_eq(py_elf_read(fd, &e), 0);
	close(fd);
	cr_expect_eq(e.runtime, IMG_DATA);
	cr_expect_eq(e.runtime_size, IMG_DATA_SIZE);
	cr_expect_eq(e.code_type, 0);
	cr_expect_eq(e.version, 0);
	one.data_name = ".data";
	fd = img_open(&one);
	cr_expect_eq(py_elf_read(fd, &e), -ENOENT);
	close(fd);
}

Test(python, other_files_are_none)
{
	struct img none = {.syms = symbols, .n_syms = 1, .dynsym = true};
	struct py_elf e;
	int fd = img_open(&none);

	cr_expect_eq(py_elf_read(fd, &e), -ENOENT);
	close(fd);
	fd = img_fd("#!/bin/sh\n", 10);
	cr_expect_eq(py_elf_read(fd, &e), -EINVAL);
	close(fd);
	fd = img_fd("", 0);
	cr_expect_eq(py_elf_read(fd, &e), -EINVAL);
	close(fd);
}

Test(python, hostile_files)
{
	struct buf whole = {0};
	unsigned seed = 5;
	struct py_elf e;
	uint64_t at;

	img_make(&image, &whole);
	for (int i = 0; i < 2000; i++) {
		uint8_t *p = malloc(whole.n);
		size_t n = i & 8 ? (size_t)rand_r(&seed) % whole.n : whole.n;
		int fd;

		memcpy(p, whole.p, whole.n);
		for (int j = rand_r(&seed) % 6; j >= 0; j--) {
			/* Headers more often than the rest. */
			size_t where = (size_t)rand_r(&seed) % (j & 1 ? 120 : whole.n);

			p[where] = (uint8_t)(i & 16 ? 0xff : rand_r(&seed));
		}
		fd = img_fd(p, n);
		if (!py_elf_read(fd, &e)) {
			cr_assert_leq(e.n_loads, PY_ELF_LOADS);
			cr_assert_leq(e.n_start, sizeof(e.start));
			py_elf_address(&e, 0x7f0000000000, (uint64_t)rand_r(&seed), 4096, &at);
		}
		close(fd);
		free(p);
	}
	buf_release(&whole);
}
