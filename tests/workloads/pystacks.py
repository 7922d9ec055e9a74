# SPDX-License-Identifier: MIT
"""Threads that block at known places; prints, as truth, each one's stack as Python sees it.

Output: one line a thread: NAME<TAB>frames, innermost first, "function@file:line" joined by " < ".
A thread is blocked while its stack is written down, so what it is recorded with at that
wait is the same. usage: pystacks.py [DEPTH]
"""
import asyncio
import importlib.machinery
import importlib.util
import os
import select
import sys
import threading
import time


class Worker:
    def __init__(self, depth):
        self.depth = depth

    def method(self, n):
        if n:
            return self.method(n - 1)
        return self.block()

    def block(self):
        def inner():
            rd, wr = os.pipe()
            return select.select(
                [rd], [], [],
                1.2)
        return inner()


def generator():
    try:
        yield 1
        time.sleep(1.2)
        yield 2
    finally:
        pass


def through_generator():
    return [x for x in generator()]


def delegating():
    yield from generator()


def through_delegation():
    for x in delegating():
        pass


async def awaited():
    time.sleep(1.2)


async def coroutine():
    await awaited()


def through_coroutine():
    try:
        coroutine().send(None)
    except StopIteration:
        pass


class Sleeper:
    def __init__(self):
        time.sleep(1.2)


def through_init():
    return Sleeper()


def key(x):
    if x == 2:
        time.sleep(1.2)
    return x


def through_c():
    return sorted([3, 2, 1], key=lambda x: key(x))


def on_lock(lock):
    with lock:
        pass


def größe_日本():
    time.sleep(1.2)


def through_compiled():
    exec(compile("def from_string():\n\n    import time; time.sleep(1.2)\nfrom_string()\n", "<made up>", "exec"), {})


def decorated(f):
    def wrapper(*args, **kwargs):
        return f(
            *args,
            **kwargs)
    return wrapper


@decorated
@decorated
def through_decorators(n=0):
    return (lambda: [
        time.sleep(1.2)
        for _ in range(1)
    ])()


def through_dict():
    return {k: v for k, v in {
        1: time.sleep(1.2)}.items()}


def through_class_body():
    class Body:
        attribute = 1
        nap = time.sleep(1.2)
    return Body


def through_exception():
    try:
        raise ValueError(1)
    except ValueError:
        try:
            raise KeyError(2)
        finally:
            time.sleep(1.2)


def quietly():
    try:
        through_exception()
    except KeyError:
        pass


class Manager:
    def __enter__(self):
        return self

    def __exit__(self, *exc):
        time.sleep(1.2)
        return True

    def __getattr__(self, name):
        with self:
            raise AttributeError(name)

    @property
    def value(self):
        return self.missing


def through_manager():
    return Manager().value


def through_eval():
    return eval("(lambda x:\n x or\n time.sleep(1.2))(0)")


def through_loop():
    async def leaf():
        await asyncio.sleep(0)
        time.sleep(1.2)

    async def middle():
        await leaf()

    async def both():
        await asyncio.gather(middle(), asyncio.sleep(0))

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(both())
    finally:
        loop.close()


async def items():
    yield 1
    time.sleep(1.2)
    yield 2


def through_async_generator():
    async def consume():
        async for _ in items():
            pass
    try:
        consume().send(None)
    except StopIteration:
        pass


def multi_line(a,
               b=None,
               c=None):
    if (a
            and b
            or c):
        pass
    else:
        select.select(
            [],
            [],
            [], min(
                1.2,
                2))


def through_many_lines():
    multi_line(
        0,
        multi_line if 0 else
        None,
        c=None,
    )


def through_finalizer():
    class Dies:
        def __del__(self):
            time.sleep(1.2)
    d = Dies()
    del d


def through_import():
    class Loader:
        def create_module(self, spec):
            return None

        def exec_module(self, module):
            time.sleep(1.2)

    spec = importlib.machinery.ModuleSpec("made_up", Loader())
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def through_far_code():
    far = "def far():\n" + "    x = 1\n" * 400 + "    time.sleep(1.2)\n"
    scope = {"time": time}
    exec(compile("\n" * 70000 + far, "<far>", "exec"), scope)
    scope["far"]()


def frames_of(ident):
    f = sys._current_frames().get(ident)
    out = []
    while f:
        name = getattr(f.f_code, "co_qualname", f.f_code.co_name)
        out.append("%s@%s:%d" % (name, f.f_code.co_filename, f.f_lineno))
        f = f.f_back
    return out


def main():
    depth = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    sys.setrecursionlimit(10000)
    threading.stack_size(64 << 20)
    lock = threading.Lock()
    lock.acquire()
    jobs = {
        "method": lambda: Worker(1).method(depth),
        "generator": through_generator,
        "delegation": through_delegation,
        "coroutine": through_coroutine,
        "init": through_init,
        "c": through_c,
        "lock": lambda: on_lock(lock),
        "unicode": größe_日本,
        "compiled": through_compiled,
        "decorators": through_decorators,
        "dict": through_dict,
        "class": through_class_body,
        "exception": quietly,
        "manager": through_manager,
        "eval": through_eval,
        "loop": through_loop,
        "asyncgen": through_async_generator,
        "lines": through_many_lines,
        "finalizer": through_finalizer,
        "import": through_import,
        "far": through_far_code,
    }
    threads = {}
    for name, job in jobs.items():
        t = threads[name] = threading.Thread(target=job, name=name)
        t.start()
    time.sleep(0.6)
    truth = {name: frames_of(t.ident) for name, t in threads.items()}
    tids = {name: getattr(t, "native_id", 0) for name, t in threads.items()}
    lock.release()
    for t in threads.values():
        t.join()
    out = sys.stdout.buffer
    for name, frames in truth.items():
        out.write(("%s\t%d\t%s\n" % (name, tids[name], " < ".join(frames))).encode("utf-8", "surrogateescape"))
    out.flush()


main()
