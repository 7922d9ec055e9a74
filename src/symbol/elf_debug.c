/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "elf_priv.h"

#define DEBUG_DIR "/usr/lib/debug"
#define LINK_MAX  (NAME_MAX + 8)

/* Length of "/proc/PID/root" in front of path, 0 without. */
static size_t root_prefix(const char *path)
{
	int n = 0;

	if (sscanf(path, "/proc/%*[0-9]/root%n", &n) != 0 || n <= 0 || path[n] != '/')
		return 0;
	return (size_t)n;
}

static int file_crc(const struct elf_file *f, uint32_t *out)
{
	uint8_t chunk[65536];
	uint64_t off = 0;
	ssize_t got;
	uLong crc = crc32(0, NULL, 0);

	while (off < f->size) {
		got = pread_full(f->fd, chunk, sizeof(chunk), off);
		if (got <= 0)
			return got < 0 ? (int)got : -EIO;
		crc = crc32(crc, chunk, (uInt)got);
		off += (uint64_t)got;
	}
	*out = (uint32_t)crc;
	return 0;
}

/* Opens a candidate; keeps it only when it is main's and has what main lacks. */
static bool try_file(const struct elf_file *main, const char *path, const uint32_t *crc,
                     struct elf_file *dbg)
{
	uint32_t have;
	bool ok;
	int fd = regular_open(path);

	if (fd < 0 || elf_file_open(dbg, fd, path, NULL))
		return false;
	if (dbg->dev == main->dev && dbg->ino == main->ino)
		ok = false;
	else if (main->build_id_n)
		ok = dbg->build_id_n == main->build_id_n &&
		     !memcmp(dbg->build_id, main->build_id, main->build_id_n);
	else
		ok = crc && !file_crc(dbg, &have) && have == *crc;
	if (ok && elf_section_typed(dbg, SHT_SYMTAB))
		return true;
	elf_file_close(dbg);
	return false;
}

static bool try_build_id(const struct elf_file *main, const char *path, size_t root,
                         struct elf_file *dbg)
{
	char name[PATH_MAX], hex[2 * ELF_MAX_BUILD_ID + 1];

	if (main->build_id_n < 2 || root > PATH_MAX / 2)
		return false;
	for (size_t i = 0; i < main->build_id_n; i++)
		snprintf(hex + 2 * i, 3, "%02x", main->build_id[i]);
	snprintf(name, sizeof(name), "%.*s" DEBUG_DIR "/.build-id/%.2s/%s.debug", (int)root, path,
	         hex, hex + 2);
	return try_file(main, name, NULL, dbg);
}

/* The file name and CRC of .gnu_debuglink. */
static bool read_debuglink(const struct elf_file *f, char name[LINK_MAX], uint32_t *crc)
{
	const struct elf_section *s = elf_section_named(f, ".gnu_debuglink");
	size_t n, pos;
	int encode;

	if (!s || s->size > LINK_MAX || elf_read(f, name, s->size, s->off))
		return false;
	n = strnlen(name, s->size);
	pos = (n + 4) & ~(size_t)3;
	if (!n || n > NAME_MAX || memchr(name, '/', n) || pos + 4 > s->size)
		return false; /* a name, not a path: a path could lead anywhere */
	memcpy(crc, name + pos, 4);
	encode = (unsigned char)elf_getident(f->elf, NULL)[EI_DATA];
	if (encode != (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB))
		*crc = __builtin_bswap32(*crc);
	return true;
}

static bool try_debuglink(const struct elf_file *main, const char *path, size_t root,
                          struct elf_file *dbg)
{
	static const struct {
		bool debug_dir;
		const char *sub;
	} places[] = {{false, "/"}, {false, "/.debug/"}, {true, "/"}};
	const char *slash = strrchr(path + root, '/');
	char link[LINK_MAX], name[PATH_MAX];
	uint32_t crc;
	int dir, n;

	if (!slash || slash - path > PATH_MAX || !read_debuglink(main, link, &crc))
		return false;
	dir = (int)(slash - (path + root));
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		n = snprintf(name, sizeof(name), "%.*s%s%.*s%s%s", (int)root, path,
		             places[i].debug_dir ? DEBUG_DIR : "", dir, path + root, places[i].sub,
		             link);
		if (n < (int)sizeof(name) && try_file(main, name, &crc, dbg))
			return true;
	}
	return false;
}

int elf_debug_find(const struct elf_file *main, const char *path, struct elf_file *dbg)
{
	size_t root = root_prefix(path);

	*dbg = (struct elf_file){0};
	if (try_build_id(main, path, root, dbg) || (root && try_build_id(main, path, 0, dbg)) ||
	    try_debuglink(main, path, root, dbg))
		return 0;
	return -ENOENT;
}
