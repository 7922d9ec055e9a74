/* SPDX-License-Identifier: MIT */
/*
 * python.h: CPython from outside, 3.8 to 3.14: where its structures have what, which line
 * of a function an instruction belongs to, what its strings say. Pure functions of bytes:
 * nothing here reads a process. The bytes belong to the workload and are hostile.
 *
 * Layouts: read off the debugging information of builds of each version (they are part of
 * no promise, but change only with the minor version: 3.11.2 = 3.11.7), from 3.13 on from the
 * table that the interpreter itself carries for this purpose (_Py_DebugOffsets, at the start
 * of _PyRuntime). Line tables: CPython's Objects/lnotab_notes.txt (to 3.10: Objects/
 * lnotab_notes.txt of that version; from 3.11: Objects/locations.md).
 */
#ifndef MT_PYTHON_H
#define MT_PYTHON_H

#include "base.h"
#include "mt_abi.h"

#define PY_CODE_TYPE_SYMBOL "PyCode_Type"	/* .dynsym, object: the type of code objects */
#define PY_RUNTIME_SYMBOL "_PyRuntime"	/* .dynsym, object; also section .PyRuntime from 3.10 */
#define PY_VERSION_SYMBOL "Py_Version"	/* .dynsym, u64: PY_VERSION_HEX; from 3.11 */
#define PY_DEBUG_OFFSETS_MAX 1024	/* bytes of _PyRuntime that py_build_for() may look at */

/* What else than frames is read of an interpreter, by whom follows GILs. Offsets in bytes;
 * PY_NONE = this version has no such field. */
struct py_offsets {
	struct mt_py_layout frames;	/* for the frame walker in BPF */
	uint32_t runtime_gil;		/* in _PyRuntime: the GIL (to 3.11); else PY_NONE */
	uint32_t interp_gil;		/* in PyInterpreterState: pointer to its GIL (3.12 on); else PY_NONE */
	uint32_t interp_own_gil;	/* … the GIL itself, when it has its own (3.12 on); else PY_NONE */
	uint32_t interp_collecting;	/* … int: a garbage collection runs; PY_NONE before 3.9 */
	uint32_t tstate_interp;		/* in PyThreadState: its interpreter */
	uint32_t tstate_native_id;	/* … the kernel's thread id; PY_NONE before 3.11 */
	uint32_t gil_size;		/* of struct _gil_runtime_state */
	uint32_t gil_interval, gil_holder, gil_locked, gil_switches, gil_cond, gil_mutex, gil_switch_cond, gil_switch_mutex;
};
#define PY_NONE UINT32_MAX

/* One interpreter as a process has it mapped. */
struct py_build {
	uint32_t version;		/* PY_VERSION_HEX; low 16 bits 0 when only the minor version is known */
	uint64_t runtime;		/* address of _PyRuntime in the process */
	uint64_t runtime_size;		/* its st_size; 0 = unknown */
	bool free_threaded;
	struct py_offsets off;
};

/* Is it a version whose layout is known? (hex: PY_VERSION_HEX.) */
bool py_version_known(uint32_t hex);
/* Fills version, free_threaded and off of *out. hex: from Py_Version or the file's name, 0 =
 * unknown (3.13+ say it themselves). start: first n bytes of _PyRuntime (file or process), may
 * be NULL below 3.13. 0; -ENOTSUP: no such layout known; -EINVAL: the table is missing or
 * contradicts itself, so it is not believed. */
int py_build_for(uint32_t hex, const uint8_t *start, size_t n, struct py_build *out);
/* "libpython3.11.so.1.0", "/usr/bin/python3.8", "python3.14t" -> PY_VERSION_HEX with zero low
 * bits; 0 = not the name of a CPython file. */
uint32_t py_version_of_name(const char *file);

/* What an ELF file has of a CPython. */
#define PY_ELF_LOADS 16
struct py_elf_load { uint64_t offset, vaddr, size; };
struct py_elf {
	uint64_t runtime, runtime_size;	/* _PyRuntime: address in the file's image, st_size */
	uint64_t code_type;		/* PyCode_Type, likewise; 0 = not among the symbols */
	uint32_t version;		/* what Py_Version says; 0 = there is none (before 3.11) */
	bool fixed;			/* not relocated: image addresses are the process's */
	unsigned n_loads;
	struct py_elf_load loads[PY_ELF_LOADS];
	size_t n_start;			/* first bytes of _PyRuntime: for py_build_for() */
	uint8_t start[PY_DEBUG_OFFSETS_MAX];
};
/* Reads fd's .dynsym, or where that has none of it section .PyRuntime and .symtab. 0; -ENOENT:
 * an ELF file without _PyRuntime; -EINVAL: no ELF file that we
 * understand; -ENOMEM. The file is hostile: nothing in *out need be true. */
int py_elf_read(int fd, struct py_elf *out);
/* Address of _PyRuntime in a process that has the file's `offset` mapped at `start` (any
 * mapping of code). 0 or -ENOENT: not a place that the file's headers know. */
int py_elf_address(const struct py_elf *e, uint64_t start, uint64_t offset, uint64_t page, uint64_t *runtime);

/* Line of the instruction at byte offset `instr` into the bytecode (a MT_PY_INSTR_* value is
 * understood). hex: version. 0 = it has none, or the table is damaged or cut before it. */
uint32_t py_line(uint32_t hex, uint32_t first_line, const uint8_t *table, size_t n, uint32_t instr);

/* A str's characters as UTF-8. data: n bytes of its characters, of `kind` (1, 2 or 4 bytes
 * each; 0 or 1 with ascii: as they are). Surrogates that stand for undecodable bytes of a file
 * name become these bytes again. Returns bytes written, at most max (whole characters only). */
size_t py_utf8(unsigned kind, bool ascii, const uint8_t *data, size_t n, char *out, size_t max);

#endif
