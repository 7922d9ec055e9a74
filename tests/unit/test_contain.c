/* SPDX-License-Identifier: MIT */
/* The process that reads files dies, hangs or has no memory: names are missing, nothing else. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "elfimg.h"
#include "symbol.h"
#include "rnd.h"

enum { FILES = 3, FRAMES = 900 }; /* more than a pipe holds, so the child waits for us */

struct world {
	struct symbolizer *s;
	char dir[64], libs[FILES][128];
	unsigned seen[FILES][FRAMES], named[FILES][FRAMES];
	unsigned calls, act_at;
	int signal; /* sent to the child at call act_at, and again `again` times */
	unsigned again;
	unsigned progress;
	struct buf notes;
	struct symbolizer_stats st;
};

static pid_t child(void)
{
	char text[256] = "";
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "r");
	cr_assert(f);
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return (pid_t)atoi(text);
}

static int on_symbol(void *ctx, const struct symbol_out *o)
{
	struct world *w = ctx;
	size_t k = (o->offset - IMG_TEXT_OFF) / 8;

	w->calls++;
	if (w->signal && w->calls >= w->act_at && w->again) {
		pid_t pid = child();

		w->again--;
		cr_expect_gt(pid, 0);
		if (pid > 0)
			kill(pid, w->signal);
		w->act_at = w->calls + 1200;
	}
	for (size_t i = 0; i < FILES; i++) {
		if (strcmp(o->module, w->libs[i]))
			continue;
		cr_assert_lt(k, FRAMES);
		w->seen[i][k]++;
		w->named[i][k] += o->sym.name && !strncmp(o->sym.name, "name_that_is_long", 17);
	}
	return 0;
}

static void on_progress(void *ctx, size_t done, size_t files)
{
	struct world *w = ctx;

	w->progress++;
	cr_expect_leq(done, files);
	cr_expect_eq(files, FILES);
}

static void world_open(struct world *w)
{
	static char long_name[900] = "name_that_is_long";
	struct img_sym sym = {long_name, IMG_TEXT, 8 * FRAMES, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT};
	struct img img = {.syms = &sym, .n_syms = 1};
	struct buf b = {0};

	memset(long_name + 17, 'x', sizeof(long_name) - 18);
	*w = (struct world){.s = symbolizer_new(), .dir = "/tmp/mt-contain-XXXXXX"};
	cr_assert(w->s && mkdtemp(w->dir));
	img_make(&img, &b);
	for (uint64_t i = 0; i < FILES; i++) {
		struct sym_map m = {
		        (i + 1) << 20, (i + 2) << 20, IMG_TEXT_OFF, w->libs[i], NULL, 0, 1};
		int fd;

		snprintf(w->libs[i], sizeof(w->libs[i]), "%s/lib%u.so", w->dir, (unsigned)i);
		fd = open(w->libs[i], O_WRONLY | O_CREAT, 0600);
		cr_assert(fd >= 0 && !write_full(fd, b.p, b.n));
		close(fd);
		cr_assert(!symbolizer_map(w->s, 1, &m));
		for (uint64_t k = 0; k < FRAMES; k++) {
			uint64_t at = m.start + 8 * k;

			cr_assert(!symbolizer_stack(w->s, 1, 2, &at, 1));
		}
	}
	buf_release(&b);
}

static void resolve(struct world *w, struct symbolizer_limits lim)
{
	lim.progress = on_progress;
	lim.progress_ctx = w;
	cr_assert_eq(symbolizer_resolve(w->s, NULL, &lim, on_symbol, w, &w->st, &w->notes), 0);
	cr_assert(!buf_put(&w->notes, "", 1));
	cr_expect_lt(waitpid(-1, NULL, WNOHANG), 0, "a child is left behind");
}

/* Every frame once; returns how many have names. */
static size_t named(const struct world *w)
{
	size_t n = 0;

	for (size_t i = 0; i < FILES; i++) {
		for (size_t k = 0; k < FRAMES; k++) {
			cr_expect_eq(w->seen[i][k], 1, "file %zu frame %zu: %u times", i, k,
			             w->seen[i][k]);
			n += w->named[i][k];
		}
	}
	cr_expect_eq(n, w->st.resolved);
	return n;
}

static void world_close(struct world *w)
{
	symbolizer_free(w->s);
	for (size_t i = 0; i < FILES; i++)
		unlink(w->libs[i]);
	rmdir(w->dir);
	buf_release(&w->notes);
}

Test(contain, all_is_well)
{
	struct world w;

	world_open(&w);
	resolve(&w, (struct symbolizer_limits){0});
	cr_expect_eq(named(&w), FILES * FRAMES);
	cr_expect_eq(w.st.files, FILES);
	cr_expect_eq(w.st.files_failed, 0);
	cr_expect_str_eq((char *)w.notes.p, "");
	cr_expect_gt(w.progress, 0);
	world_close(&w);
}

Test(contain, dies_once)
{
	struct world w;

	world_open(&w);
	w.signal = SIGKILL;
	w.act_at = FRAMES + 50;
	w.again = 1;
	resolve(&w, (struct symbolizer_limits){0});
	cr_expect_eq(named(&w), FILES * FRAMES, "the second try is without lines only");
	cr_expect(strstr((char *)w.notes.p, "lines and inlined functions failed"), "%s", w.notes.p);
	world_close(&w);
}

Test(contain, hangs_once, .timeout = 30)
{
	struct world w;

	world_open(&w);
	w.signal = SIGSTOP;
	w.act_at = 50;
	w.again = 1;
	resolve(&w, (struct symbolizer_limits){.max_stall_ns = 1000000000});
	cr_expect_eq(named(&w), FILES * FRAMES);
	cr_expect(strstr((char *)w.notes.p, "no end to it"), "%s", w.notes.p);
	world_close(&w);
}

Test(contain, dies_again_and_again)
{
	struct world w;

	world_open(&w);
	w.signal = SIGKILL;
	w.act_at = 1;
	w.again = 100;
	resolve(&w, (struct symbolizer_limits){0});
	cr_expect_gt(named(&w), 0);
	world_close(&w);
}

Test(contain, hangs_until_the_time_is_up, .timeout = 30)
{
	struct world w;

	world_open(&w);
	w.signal = SIGSTOP;
	w.act_at = 1;
	w.again = 1;
	resolve(&w, (struct symbolizer_limits){.max_total_ns = 600000000});
	cr_expect(w.st.timed_out);
	cr_expect(strstr((char *)w.notes.p, "the time for them ran out"), "%s", w.notes.p);
	world_close(&w);
}

/* Damage in the second half of this program, where its debug information lies. */
Test(contain, damaged_debug_information, .timeout = 120)
{
	uint64_t seed = 88172645463325252ull;
	struct buf self = {0};
	char path[64];
	int fd;

	cr_assert(!read_file_at(AT_FDCWD, "/proc/self/exe", 256u << 20, &self));
	for (int round = 0; round < 20; round++) {
		struct symbolizer *s = symbolizer_new();
		struct sym_map m = {1ull << 32, (1ull << 32) + self.n, 0, path, NULL, 0, 1};
		struct symbolizer_limits lim = {.max_stall_ns = 3000000000};
		struct symbolizer_stats st;
		struct world w = {.act_at = 0};
		struct buf b = {0};

		cr_assert(!buf_put(&b, self.p, self.n));
		for (int i = 0; i < 2000; i++) {
			rnd_next(&seed);
			b.p[b.n / 2 + seed % (b.n / 2)] = (uint8_t)(seed >> 33);
		}
		fd = img_fd(b.p, b.n);
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
		cr_assert(!symbolizer_map(s, 1, &m));
		for (uint64_t at = m.start; at < m.end; at += self.n / 200)
			cr_assert(!symbolizer_stack(s, 1, 2, &at, 1));
		cr_assert_eq(symbolizer_resolve(s, NULL, &lim, on_symbol, &w, &st, &w.notes), 0);
		cr_expect_geq(w.calls, 200);
		cr_expect_not(st.timed_out);
		buf_release(&w.notes);
		buf_release(&b);
		symbolizer_free(s);
		close(fd);
	}
	buf_release(&self);
}

#ifndef __SANITIZE_ADDRESS__
Test(contain, no_memory)
{
	struct world w;

	world_open(&w);
	resolve(&w, (struct symbolizer_limits){.max_memory_bytes = 4096});
	for (size_t i = 0; i < FILES; i++)
		for (size_t k = 0; k < FRAMES; k++)
			cr_expect_leq(w.seen[i][k], 1);
	world_close(&w);
}
#endif
