# SPDX-License-Identifier: MIT
"""Python threads that are harder to follow. usage: pyodd.py WHAT

deep     blocks below 150 calls
sub      blocks in a sub-interpreter's code (prints "none" when this Python has none)
reuse    makes, calls and drops functions of many names, so that addresses are used again
children forks; each child blocks in a function that the parent never called, and exits at once
"""
import os
import sys
import time

NAP = 0.02


def deep(n):
    if n:
        return deep(n - 1)
    for _ in range(6):  # the first may come before the recorder knows the interpreter
        time.sleep(0.05)


SUB = """
import time
def in_sub_interpreter():
    for _ in range(6): time.sleep(0.05)
def outer():
    in_sub_interpreter()
outer()
"""


def sub():
    try:
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
    except ImportError:
        print("none")
        return

    def calls_interpreter(i):
        interpreters.run_string(i, SUB)

    calls_interpreter(interpreters.create())
    print("done")


def reuse():
    for i in range(60):
        text = "def made_%02d():\n%s    time.sleep(%r)\n" % (i, "\n" * i, NAP)
        space = {"time": time}
        exec(compile(text, "<made>", "exec"), space)
        space["made_%02d" % i]()
        del space


def children():
    def in_child(n):
        time.sleep(0.005)

    time.sleep(0.1)
    for n in range(20):
        if os.fork() == 0:
            in_child(n)
            os._exit(0)
        os.wait()


{"deep": lambda: deep(150), "sub": sub, "reuse": reuse, "children": children}[sys.argv[1]]()
