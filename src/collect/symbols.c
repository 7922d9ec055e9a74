/* SPDX-License-Identifier: MIT */
/* symbols.c: names at the end of a recording. Runs after all privilege is gone: the files
 * that it opens are the workload's. */
#include <string.h>
#include <sys/resource.h>

#include "collect_priv.h"

struct emit_ctx {
	struct drain *d;
	struct trace_writer *w;
};

static int emit(void *p, const struct symbol_out *o)
{
	struct emit_ctx *c = p;
	struct rec_symbol r = {.module = drain_string(c->d, o->module),
	                       .offset = o->offset,
	                       .name = o->sym.name ? drain_string(c->d, o->sym.name) : 0,
	                       .name_off = o->sym.name_off,
	                       .src = o->sym.src ? drain_string(c->d, o->sym.src) : 0,
	                       .line = o->sym.line,
	                       .inline_depth = o->inline_depth};

	return trace_write(c->w, REC_K_SYMBOL, 0, &r);
}

#define QUIET_NS 1000000000ull /* nobody needs to be told of less */

struct progress {
	uint64_t begin_ns;
	bool told;
};

static void tell(void *ctx, size_t done, size_t files)
{
	struct progress *p = ctx;

	if (now_ns() - p->begin_ns < QUIET_NS)
		return;
	p->told = true;
	fprintf(stderr, "\r\033[Kmpvtrace: names from %zu of %zu files", done, files);
}

/* Of this process and of those that read the files. */
static uint64_t cpu_ns(void)
{
	static const int who[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
	uint64_t us = 0;

	for (size_t i = 0; i < ARRAY_LEN(who); i++) {
		struct rusage ru;

		getrusage(who[i], &ru);
		us += (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000 +
		      (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
	}
	return us * 1000;
}

int symbols_write(struct symbolizer *sym, int kallsyms_fd, struct drain *d, struct trace_writer *w,
                  bool progress)
{
	struct progress p = {.begin_ns = now_ns()};
	struct symbolizer_limits lim = {.progress = progress ? tell : NULL, .progress_ctx = &p};
	struct symbolizer_stats st = {0};
	struct emit_ctx ctx = {d, w};
	struct kallsyms *k = NULL;
	struct buf notes = {0};
	struct err err = {0};
	char *line, *save = NULL;
	uint64_t cpu = cpu_ns();
	int rc;

	if (kallsyms_fd >= 0)
		k = kallsyms_read(kallsyms_fd, &err);
	if (!k)
		note_write(d, w,
		           err.msg[0] ? err.msg
		                      : "no kernel symbols: /proc/kallsyms cannot be opened");
	rc = symbolizer_resolve(sym, k, &lim, emit, &ctx, &st, &notes);
	if (p.told)
		fputs("\r\033[K", stderr);
	if (notes.n && !buf_put(&notes, "", 1))
		for (line = strtok_r((char *)notes.p, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save))
			note_write(d, w, line);
	log_debug("symbols: %llu frames, %llu resolved, %llu files, %llu failed, %llu ms, CPU %llu "
	          "ms",
	          (unsigned long long)st.frames, (unsigned long long)st.resolved,
	          (unsigned long long)st.files, (unsigned long long)st.files_failed,
	          (unsigned long long)((now_ns() - p.begin_ns) / 1000000),
	          (unsigned long long)((cpu_ns() - cpu) / 1000000));
	buf_release(&notes);
	kallsyms_free(k);
	return rc;
}
