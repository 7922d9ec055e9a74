/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "graph.h"
#include "report.h"
#include "tb.h"

#define EVIL "</title><script>document.documentElement.dataset.evil=1</script>"

/* Two workers of 4 and 2 ms in lock_wait below a function with a hostile name; main in a join. */
static struct model *model(void)
{
	static const uint64_t frames[] = {0x400300, 0x400200, 0x400100, 0x400400};
	struct tb *tb = tb_new();
	struct model *m;
	uint32_t stack;

	tb_task(tb, 1, "app");
	tb_map(tb, 1, 0x400000, 0x500000, 0, "/usr/bin/app");
	tb_symbol(tb, "/usr/bin/app", 0x100, "main", 0, 0);
	tb_symbol(tb, "/usr/bin/app", 0x200, EVIL, 0, 0);
	tb_symbol(tb, "/usr/bin/app", 0x300, "lock_wait", 0, 0);
	tb_symbol(tb, "/usr/bin/app", 0x400, "start_thread", 0, 0);
	stack = tb_stack(tb, STACK_USER, 1, frames, 4);
	tb_run(tb, 1, 0, 1 * MS);
	for (uint32_t id = 2; id <= 3; id++) {
		tb_thread(tb, id, 1, id == 2 ? "worker-a" : "worker-b", 1 * MS);
		tb_on(tb, id, id);
		tb_run(tb, id, 1 * MS, 2 * MS);
		tb_stacks(tb, id, stack, 0);
		tb_futex_wait(tb, id, 0x601000, (id == 2 ? 6 : 4) * MS, 0);
		tb_run(tb, id, (id == 2 ? 6 : 4) * MS, 7 * MS);
		tb_exit(tb, id, 0);
	}
	tb_futex_wait(tb, 1, 0x700000, 7 * MS, 2);
	tb_run(tb, 1, 7 * MS, 8 * MS);
	tb_exit(tb, 1, 0);
	m = tb_load(tb, NULL);
	if (!m)
		abort();
	tb_free(tb);
	return m;
}

void graph_write(const char *path, const char *script)
{
	const struct export_opts o = {.view = "off-cpu"};
	struct model *m = model();
	struct report r = {0};
	struct err err = {0};
	char *text = NULL, *end;
	size_t n = 0;
	FILE *mem = open_memstream(&text, &n), *out = fopen(path, "w");

	if (!mem || !out || report_build(&r, m, &err) ||
	    exporter_find("svg")->run(&r, &o, mem, &err)) {
		fprintf(stderr, "%s: no flame graph: %s\n", path, err.msg);
		abort();
	}
	fclose(mem);
	end = strstr(text, "</svg>");
	if (!end)
		abort();
	fprintf(out, "%.*s<script><![CDATA[\n%s\n]]></script>\n</svg>\n", (int)(end - text), text,
	        script);
	fclose(out);
	free(text);
	report_release(&r);
	model_free(m);
}
