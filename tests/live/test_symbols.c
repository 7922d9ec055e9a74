/* SPDX-License-Identifier: MIT */
/* Names of code in live programs: deleted, hidden in a mount namespace, generated, C++, Rust. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"
#include "pyframes.h"
#include "uframes.h"

LIVE_SUITE(symbols);

static const char *file(const char *name)
{
	return fmt("%s/%s", live_dir, name);
}

/* The on-CPU samples of a recording, as folded stacks. */
static char *on_cpu(const char *trace)
{
	struct proc p =
	        run(ARGS(mpvtrace(), "export", trace, "--format", "folded", "--view", "on-cpu"));

	cr_assert_eq(p.status, 0, "%s", p.err);
	return p.out;
}

/* Samples in stacks that hold the text, and all. */
static void count(const char *folded, const char *text, unsigned *with, unsigned *all)
{
	*with = *all = 0;
	for (const char *line = folded, *end; (end = strchr(line, '\n')); line = end + 1) {
		size_t n = (size_t)(end - line);
		const char *at = memmem(line, n, text, strlen(text)), *num = memrchr(line, ' ', n);
		unsigned samples = num ? (unsigned)strtoul(num, NULL, 10) : 0;

		*all += samples;
		*with += at ? samples : 0;
	}
}

static void expect_mostly(const char *folded, const char *text)
{
	unsigned with, all;

	count(folded, text, &with, &all);
	cr_expect_gt(all, 20, "%u samples", all);
	cr_expect_gt(with, all / 2, "%s: %u of %u samples:\n%s", text, with, all, folded);
}

static const char *const opts[] = {"-F", "499", NULL};

/* A copy of the workload that may be deleted. */
static const char *own_copy(void)
{
	const char *path = file("copy");
	struct proc p = run(ARGS("cp", workload("jit"), path));

	cr_assert_eq(p.status, 0);
	return path;
}

Test(symbols, a_program_that_deletes_itself)
{
	struct recording r = record(opts, ARGS(own_copy(), "--unlink", "--spin-ms", "300"));

	cr_expect_eq(r.p.status, 0);
	cr_expect(access(file("copy"), F_OK) < 0);
	expect_mostly(on_cpu(r.trace), ";spin_in_file");
}

/* Runs the workload from a file system in a mount namespace of its own; status 0 when that could
 * be unmounted afterwards. */
static struct recording hidden(void)
{
	return record(ARGS("-F", "499", "--user", "root"),
	              ARGS("unshare", "-m", "sh", "-c",
	                   fmt("mount -t tmpfs none %s && cp %s %s/hidden && %s/hidden --spin-ms "
	                       "300 && rm %s/hidden && umount %s && true",
	                       live_dir, workload("jit"), live_dir, live_dir, live_dir, live_dir),
	                   "TRUTH"));
}

Test(symbols, a_file_system_that_only_the_program_sees)
{
	struct recording r;

	if (!have_command("unshare"))
		cr_skip_test("no unshare here");
	r = hidden();
	expect_mostly(on_cpu(r.trace), ";spin_in_file");
}

/* What is kept for names keeps nobody from unmounting. */
Test(symbols, a_file_system_that_is_unmounted)
{
	struct recording r;

	if (!have_command("unshare"))
		cr_skip_test("no unshare here");
	r = hidden();
	cr_expect_eq(r.p.status, 0, "%s", r.p.err);
}

#if defined(__x86_64__) || defined(__aarch64__)
Test(symbols, generated_code)
{
	struct recording r = record(opts, ARGS(workload("jit"), "--generated", "300"));
	char *folded = on_cpu(r.trace);

	expect_mostly(folded, ";generated_spin");
	cr_expect_null(strstr(folded, ";before"));
	cr_expect_null(strstr(folded, ";behind"));
}

Test(symbols, generated_code_of_a_process_that_is_gone)
{
	struct recording r = record(opts, ARGS(workload("jit"), "--generated", "300", "--fork"));

	expect_mostly(on_cpu(r.trace), ";generated_spin");
}

/* Another user's file, or one from before, is no perf map of this process. */
Test(symbols, generated_code_without_names)
{
	struct recording r = record(opts, ARGS(workload("jit"), "--nameless", "300"));
	char *folded = on_cpu(r.trace);

	expect_mostly(folded, ";[jit_");
	cr_expect(strstr(slurp(r.json_path), "generated code without names"));
}
#endif

Test(symbols, templates_and_inlined_functions)
{
	struct recording r;
	struct proc p;
	char *folded;

	if (!have_command("g++"))
		cr_skip_test("no g++ here");
	p = run(ARGS("g++", "-O2", "-g", "-fno-omit-frame-pointer", "-o", file("templates"),
	             workload("templates.cc")));
	cr_assert_eq(p.status, 0, "%s", p.err);
	r = record(opts, ARGS(file("templates"), "TRUTH"));
	folded = on_cpu(r.trace);
	expect_mostly(folded, ";shop::Till<double>::count(long);shop::add_up");
}

Test(symbols, rust)
{
	struct recording r;
	struct proc p;
	FILE *f;

	if (!have_command("rustc"))
		cr_skip_test("no rustc here");
	f = fopen(file("r.rs"), "w");
	cr_assert(f);
	fputs("mod inner { #[inline(never)] pub fn busy<T: Copy + Into<u64>>(x: T) -> u64 {\n"
	      "let mut s = 0u64; for i in 0..100000000u64 { s = s.wrapping_mul(31) ^ i ^ x.into(); "
	      "} s } }\n"
	      "fn main() { println!(\"{}\", inner::busy(1u32) ^ inner::busy(2u32) ^ "
	      "inner::busy(3u32)); }\n",
	      f);
	fclose(f);
	p = run(ARGS("rustc", "-O", "-C", "symbol-mangling-version=v0", "-o", file("r"),
	             file("r.rs")));
	cr_assert_eq(p.status, 0, "%s", p.err);
	r = record(opts, ARGS(file("r"), "TRUTH"));
	expect_mostly(on_cpu(r.trace), "r::inner::busy::<u32>");
}

/* Off-CPU stacks of a Go program, without the marks of its assembly's calling convention. */
static char *go_stacks(const char *program)
{
	struct recording r = record(NONE, ARGS(program));
	struct proc p =
	        run(ARGS(mpvtrace(), "export", r.trace, "--format", "folded", "--view", "off-cpu"));
	struct model *m;
	char *at;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	cr_assert_eq(p.status, 0, "%s", p.err);
	while ((at = strstr(p.out, ".abi0")))
		memmove(at, at + 5, strlen(at + 5) + 1);
	m = pyframes_load(r.trace);
	cr_assert(m);
	cr_expect(uframes_has_line(m, "main.readPipe", "waits.go", 18), "no line of %s", program);
	cr_expect(uframes_has_line(m, "main.worker", "waits.go", 33), "no line of %s", program);
	pyframes_free(m);
	return p.out;
}

/* Stripped, it has the names, inlined functions and lines that it has with symbols: by its own
 * table of functions. With threads of C's, whose functions have names there, too. */
Test(symbols, go_without_symbols)
{
	static const char *const parts[] = {
	        ";main.main.func1;main.worker;main.readPipe;syscall.Read_[i];syscall.read;",
	        ";crosscall_amd64;runtime.mstart;", "runtime.findRunnable;runtime.stopm;runtime."};
	const char *env[] = {"CGO_ENABLED=1", go_cache(), fmt("GOPATH=%s/go", live_dir),
	                     "GO111MODULE=off", NULL};
	struct proc_opts o = {.env = env, .timeout_s = 200};
	struct proc p;

	if (!have_command("go"))
		cr_skip_test("no Go here");
	for (unsigned pie = 0; pie < 2; pie++) {
		const char *with = file("waits"), *without = file("stripped");
		char *stacks;

		p = run_with(ARGS("go", "build", pie ? "-buildmode=pie" : "-buildmode=exe", "-o",
		                  with, workload("waits.go")),
		             &o);
		cr_assert_eq(p.status, 0, "%s", p.err);
		cr_assert_eq(run(ARGS("strip", "-o", without, with)).status, 0);
		for (unsigned i = 0; i < 2; i++) {
			stacks = go_stacks(i ? without : with);
			for (unsigned k = 0; k < 3; k++)
				cr_expect(strstr(stacks, parts[k]), "%s: no %s in\n%s",
				          i ? "stripped" : "symbols", parts[k], stacks);
			cr_expect_null(strstr(stacks, "[waits+0x"));
			cr_expect_null(strstr(stacks, "[stripped+0x"), "%s", stacks);
			cr_expect_null(strstr(stacks, "(.text)"));
		}
	}
}

/* Most of what short-lived processes were seen in has a name: they are gone when names are looked
 * up. Addresses that lie in no file at all are for unwinding to explain. */
Test(symbols, short_lived_processes)
{
	struct recording r =
	        record(ARGS("-F", "999"), ARGS(workload("short_procs"), "--procs", scaled(2000),
	                                       "--exec", workload("jit")));
	char *folded = on_cpu(r.trace);
	unsigned frames = 0, unnamed = 0;

	for (char *s = strtok(folded, ";\n"); s; s = strtok(NULL, ";\n")) {
		if (strstr(s, "_[k]") || !strncmp(s, "[unknown]", 9) || !strncmp(s, "[no_", 4))
			continue;
		frames++;
		unnamed += *s == '[' && strstr(s, "+0x");
	}
	cr_expect_gt(frames, 100);
	cr_expect_leq(unnamed * 20, frames, "%u of %u frames have no name", unnamed, frames);
}
