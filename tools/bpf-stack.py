#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bpf-stack.py OBJECT [-v] - does each BPF program's stack fit, as the oldest kernels count it?

A program and the functions that it calls share 512 bytes and 8 frames. Up to 6.x the kernel rounds
each function's part up to 32 bytes before it adds them along the chain of calls, whatever the
JIT compiler makes of it; a newer one may accept what an older one refuses, so this is found out
here and not there. Only the depth that a function may reach by its own code is known, not what
the verifier leaves out as never reached: this may be more than the kernel counts, never less.

  functions   static and global ones alike
  callbacks   of bpf_loop() and the like: called where they are handed over; of timers: a chain of
              their own
-v: every program's chain, the deepest first. Exit status 1: one does not fit."""
import struct
import sys

LIMIT, FRAMES, ROUND = 512, 8, 32
R10 = 10
LD_IMM64, CALL_HELPER, CALL_FUNCTION = 0x18, 0, 1
TIMER_SET_CALLBACK = 170
RELOC_64, RELOC_CALL = 1, 10


class Insn:
    def __init__(self, raw):
        self.code, regs, self.off, self.imm = struct.unpack("<BBhi", raw)
        self.dst, self.src = regs & 15, regs >> 4
        self.cls = self.code & 7

    def is_call(self):
        return self.code == 0x85


class Section:
    def __init__(self, raw, names):
        (name, self.type, self.flags, _, self.at, self.size, self.link, self.info, _,
         self.entry) = struct.unpack("<IIQQQQIIQQ", raw)
        self.name = names(name)


class Elf:
    """What of an ELF file is needed: sections, symbols, relocations of code."""

    def __init__(self, path):
        self.data = open(path, "rb").read()
        if self.data[:6] != b"\x7fELF\x02\x01":
            sys.exit("%s: not a little-endian ELF file of 64 bits" % path)
        at, = struct.unpack_from("<Q", self.data, 40)
        size, n, strings = struct.unpack_from("<HHH", self.data, 58)
        heads = [self.data[at + i * size:at + (i + 1) * size] for i in range(n)]
        names_at, = struct.unpack_from("<Q", heads[strings], 24)
        self.sections = [Section(h, lambda i: self.string(names_at + i)) for h in heads]
        self.symbols = []
        for s in self.sections:
            if s.type == 2:
                self.read_symbols(s)

    def string(self, at):
        return self.data[at:self.data.index(b"\0", at)].decode()

    def read_symbols(self, s):
        for at in range(s.at, s.at + s.size, 24):
            name, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", self.data, at)
            self.symbols.append((self.string(self.sections[s.link].at + name), info & 15, section,
                                 value))

    def relocations(self, section):
        """{offset: (type, symbol)} of the section with this number."""
        out = {}
        for s in self.sections:
            if s.type == 9 and s.info == section:
                for at in range(s.at, s.at + s.size, 16):
                    off, info = struct.unpack_from("<QQ", self.data, at)
                    out[off] = (info & 0xffffffff, self.symbols[info >> 32])
        return out


class Function:
    def __init__(self, name, section, start):
        self.name, self.section, self.start, self.end = name, section, start, start
        self.program = False
        self.depth = 0
        self.calls = set()
        self.timers = set()

    def rounded(self):
        return (max(self.depth, 1) + ROUND - 1) // ROUND * ROUND


def code_of(elf, section):
    s = elf.sections[section]
    return [Insn(elf.data[at:at + 8]) for at in range(s.at, s.at + s.size, 8)]


def find_functions(elf):
    """{(section, first instruction): Function}, with their ends."""
    found = {}
    for name, kind, section, value in elf.symbols:
        if kind == 2 and 0 < section < len(elf.sections):
            found[section, value // 8] = Function(name, section, value // 8)
    for f in found.values():
        s = elf.sections[f.section]
        f.program = s.name != ".text"
        f.end = min([g.start for g in found.values()
                     if g.section == f.section and g.start > f.start] + [s.size // 8])
    return found


def find_calls(elf, functions):
    for section in {f.section for f in functions.values()}:
        code, relocs = code_of(elf, section), elf.relocations(section)
        for f in functions.values():
            if f.section == section:
                calls_of(f, code, relocs, functions)


def calls_of(f, code, relocs, functions):
    handed = None  # a callback that the next helper gets
    i = f.start
    while i < f.end:
        insn = code[i]
        kind, symbol = relocs.get(i * 8, (0, None))
        if insn.is_call() and insn.src == CALL_FUNCTION:
            if kind == RELOC_CALL and not symbol[2]:
                i += 1  # one of the kernel's own
                continue
            if kind == RELOC_CALL:
                target = symbol[2], symbol[3] // 8 + insn.imm + 1
            else:
                target = f.section, i + insn.imm + 1
            f.calls.add(functions[target])
        elif insn.is_call() and handed:
            (f.timers if insn.imm == TIMER_SET_CALLBACK else f.calls).add(handed)
            handed = None
        elif insn.code == LD_IMM64:
            if kind == RELOC_64:
                handed = functions.get((symbol[2], (symbol[3] + insn.imm) // 8), handed)
            i += 1
        i += 1


def reached(known, reg, off):
    """How deep an access at off from this register reaches; 0: not the stack."""
    at = known[reg]
    return max(0, -(at + off)) if at is not None else 0


def step(insn, known):
    """What one instruction does: the depth that it reaches; `known` is changed: for each register
    the lowest place that it may hold, from the frame's end, None = not the stack."""
    depth = 0
    if insn.cls == 1:
        depth = reached(known, insn.src, insn.off)
        known[insn.dst] = None
    elif insn.cls in (2, 3):
        depth = reached(known, insn.dst, insn.off)
    elif insn.is_call():
        depth = max(reached(known, r, 0) for r in range(1, 6))
        known[0:6] = [None] * 6
    elif insn.code == 0xbf and not insn.off:
        known[insn.dst] = known[insn.src]
    elif insn.code == 0x07 and known[insn.dst] is not None:
        known[insn.dst] += insn.imm
    elif insn.code == 0x0f:
        if known[insn.dst] is None:
            known[insn.dst] = known[insn.src]
    elif insn.cls in (0, 4, 7):
        known[insn.dst] = None
    return depth


def successors(insn, i):
    if insn.cls not in (5, 6) or insn.is_call():
        return [i + (2 if insn.code == LD_IMM64 else 1)]
    if insn.code == 0x95:
        return []
    if insn.code == 0x05:
        return [i + 1 + insn.off]
    if insn.code == 0x06:
        return [i + 1 + insn.imm]
    return [i + 1, i + 1 + insn.off]


def lowest(a, b):
    if a is None or b is None:
        return b if a is None else a
    return max(min(a, b), -4 * LIMIT)


def find_depth(f, code):
    before = {f.start: [None] * R10 + [0]}
    todo = [f.start]
    while todo:
        i = todo.pop()
        known = list(before[i])
        f.depth = max(f.depth, step(code[i], known))
        for j in successors(code[i], i):
            if not f.start <= j < f.end:
                continue
            new = [lowest(a, b) for a, b in zip(before[j], known)] if j in before else known
            if before.get(j) != new:
                before[j] = list(new)
                todo.append(j)


def longest(f, cost, cache):
    """The chain of calls from f on that costs most: [f, ...]."""
    if f not in cache:
        cache[f] = None
        tails = []
        for g in f.calls:
            tails.append(longest(g, cost, cache))
            if tails[-1] is None:
                sys.exit("%s and %s call each other" % (f.name, g.name))
        cache[f] = [f] + max(tails, key=lambda t: sum(map(cost, t)), default=[])
    return cache[f]


def read(path):
    """All functions of the object file."""
    elf = Elf(path)
    functions = find_functions(elf)
    find_calls(elf, functions)
    for f in functions.values():
        find_depth(f, code_of(elf, f.section))
    return functions.values()


def main():
    args = [a for a in sys.argv[1:] if a != "-v"]
    if len(args) != 1:
        sys.exit(__doc__)
    functions = read(args[0])
    starts = {f for f in functions if f.program} | {t for f in functions for t in f.timers}
    deep, long, chains = {}, {}, set()
    for f in starts:
        chains |= {tuple(longest(f, Function.rounded, deep)), tuple(longest(f, lambda g: 1, long))}
    chains = sorted(chains, key=lambda c: (-sum(g.rounded() for g in c), c[0].name))
    bad = [c for c in chains if len(c) > FRAMES or sum(g.rounded() for g in c) > LIMIT]
    for c in chains if "-v" in sys.argv else bad:
        print("%s%d bytes of %d, %d frames of %d: %s" % (
            "TOO DEEP: " if c in bad else "", sum(g.rounded() for g in c), LIMIT, len(c), FRAMES,
            " > ".join("%s %d" % (g.name, g.depth) for g in c)))
    if not bad:
        print("%d programs and timers, the deepest (%s) %d bytes of %d" % (
            len(starts), chains[0][0].name, sum(g.rounded() for g in chains[0]), LIMIT))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
