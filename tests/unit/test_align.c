/* SPDX-License-Identifier: MIT */
/* Where stacks of threads and processes meet in a difference. */
#include <criterion/criterion.h>
#include <string.h>

#include "report/flame_priv.h"

#define LIB "/usr/lib/python3.11"
#define PY(f, nm)                                                                  \
	{                                                                          \
		.kind = FRAME_PYTHON, .src = f, .module = f, .name = nm, .line = 7 \
	}
#define C(nm)                                                                     \
	{                                                                         \
		.kind = FRAME_NATIVE, .module = "/usr/bin/python3.11", .name = nm \
	}

#define EXPECT(n_, worker_, ...)                                              \
	do {                                                                  \
		const struct frame v_[] = {__VA_ARGS__};                      \
		bool w_ = !(worker_);                                         \
		size_t k_ = flame_align(v_, sizeof(v_) / sizeof(v_[0]), &w_); \
                                                                              \
		cr_expect_eq(k_, (size_t)(n_), "%zu frames are left", k_);    \
		cr_expect_eq(w_, worker_);                                    \
	} while (0)

/* Innermost first. */
Test(align, thread)
{
	EXPECT(2, true, C("PyNumber_Add"), PY("/app/job.py", "work"), C("_PyFunction_Vectorcall"),
	       PY(LIB "/threading.py", "Thread.run"),
	       PY(LIB "/threading.py", "Thread._bootstrap_inner"),
	       PY(LIB "/threading.py", "Thread._bootstrap"), C("start_thread"));
	/* 3.10 and before have no qualified names */
	EXPECT(1, true, PY("/app/job.py", "work"), PY(LIB "/threading.py", "run"),
	       PY(LIB "/threading.py", "_bootstrap_inner"), PY(LIB "/threading.py", "_bootstrap"));
}

Test(align, pools)
{
	EXPECT(1, true, PY("/app/job.py", "work"),
	       PY(LIB "/concurrent/futures/thread.py", "_WorkItem.run"),
	       PY(LIB "/concurrent/futures/thread.py", "_worker"),
	       PY(LIB "/threading.py", "Thread.run"),
	       PY(LIB "/threading.py", "Thread._bootstrap_inner"));
	EXPECT(1, true, PY("/app/job.py", "work"), C("list_next"),
	       PY(LIB "/concurrent/futures/process.py", "_process_chunk"),
	       PY(LIB "/concurrent/futures/process.py", "_process_worker"),
	       PY(LIB "/multiprocessing/process.py", "BaseProcess.run"),
	       PY(LIB "/multiprocessing/process.py", "BaseProcess._bootstrap"),
	       PY(LIB "/multiprocessing/popen_fork.py", "Popen._launch"), PY("/app/job.py", "main"),
	       C("_start"));
}

/* A thread's child: its own bootstrap counts, not that of the thread that forked it. */
Test(align, process_forked_by_a_thread)
{
	EXPECT(1, true, PY("/app/job.py", "work"),
	       PY(LIB "/multiprocessing/process.py", "BaseProcess._bootstrap"),
	       PY("/app/job.py", "starter"), PY(LIB "/threading.py", "Thread._bootstrap_inner"));
}

/* Who waits for something to do has only what the library does. */
Test(align, idle_worker)
{
	EXPECT(2, true, C("read"), PY(LIB "/concurrent/futures/process.py", "_process_worker"),
	       PY(LIB "/multiprocessing/process.py", "BaseProcess._bootstrap"),
	       PY("/app/job.py", "main"));
	EXPECT(0, true, PY(LIB "/threading.py", "Thread._bootstrap"));
}

Test(align, no_worker)
{
	EXPECT(3, false, C("write"), PY("/app/job.py", "main"), C("_start"));
	/* a name alone says nothing, nor does a file */
	EXPECT(2, false, PY("/app/job.py", "work"), PY("/app/my.py", "_bootstrap"));
	EXPECT(2, false, PY(LIB "/threading.py", "Event.wait"), PY("/app/job.py", "main"));
	EXPECT(1, false, {.kind = FRAME_PYTHON});
	cr_expect_eq(flame_align(NULL, 0, &(bool){false}), 0);
}
