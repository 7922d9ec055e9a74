# mpvtrace: `make` builds build/mpvtrace; `make demo` and `make test` set up everything they need.
VERSION := 0.1.0
B       ?= build
CC      ?= cc
CLANG   ?= clang
BPFTOOL ?= $(shell tools/find-bpftool.sh)
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Werror -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes
CPPFLAGS += -D_GNU_SOURCE -DMT_VERSION='"$(VERSION)"' -Iinclude -Isrc -I$(B)
LIBS    := -lbpf -ldw -lelf -lz -llzma -liberty -ljansson -lcap -lm -pthread
ARCH    := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')

BPF_SRC := $(wildcard bpf/*.bpf.c)
BPF_OBJ := $(BPF_SRC:bpf/%.bpf.c=$(B)/bpf/%.bpf.o)
SRC     := $(filter-out src/cli/main.c,$(wildcard src/*/*.c))
OBJ     := $(SRC:%.c=$(B)/%.o)
UNIT    := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c))
LIVE    := $(patsubst %.c,$(B)/%,$(wildcard tests/live/test_*.c))
WORK    := $(patsubst %.c,$(B)/%,$(wildcard tests/workloads/*.c))
TOOLS   := $(patsubst %.c,$(B)/%,$(wildcard tools/*.c))
SUPPORT := $(patsubst %.c,$(B)/%.o,$(wildcard tests/support/*.c))

all: $(B)/mpvtrace $(B)/mpvtrace.1 $(B)/mpvtrace.bash
	@:

$(B)/tests/%.o $(B)/tools/%.o: CPPFLAGS += -Itests/support

# What tests are compiled with besides: they need no optimizer where it takes long (tools/check.sh).
$(B)/tests/%.o: MORE = $(TEST_CFLAGS)

# A plain `make` installs nothing: it says what is missing before a compiler does, at length.
READY = $(B)/.ready
$(B)/.ready: tools/setup.sh
	@mkdir -p $(@D)
	@lacking=$$(tools/setup.sh -n build) || { echo "make: missing:" $$lacking >&2; \
		echo "make: tools/setup.sh build installs it; make READY= goes on without" >&2; exit 1; }
	@touch $@

# Ours win over the environment's flags, as a caller's CFLAGS may lack -g or -O.
$(B)/%.o: %.c | $(READY)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(MORE) $(WARN) -std=gnu11 -MMD -MP -c -o $@ $<

$(B)/bpf/%.bpf.o: bpf/%.bpf.c | $(READY)
	@mkdir -p $(@D)
	$(CLANG) -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(ARCH) -Iinclude -Ibpf -Wall -Wextra -Werror \
		-Wno-unused-parameter -Wno-missing-declarations -MMD -MP -c -o $@ $<

$(B)/mpvtrace.bpf.o: $(BPF_OBJ)
	$(BPFTOOL) gen object $@.tmp $^ && mv $@.tmp $@

$(B)/mpvtrace.skel.h: $(B)/mpvtrace.bpf.o
	$(BPFTOOL) gen skeleton $< name mpvtrace_bpf > $@.tmp && mv $@.tmp $@

$(patsubst %.c,$(B)/%.o,$(wildcard src/collect/*.c)): | $(B)/mpvtrace.skel.h

# Style and script of the flame graphs, as strings.
$(B)/svg_assets.h: src/report/flame.css src/report/flame.js
	@mkdir -p $(@D)
	@{ for f in style:src/report/flame.css script:src/report/flame.js; do \
		echo "static const char svg_$${f%%:*}[] ="; \
		sed -e '/^\/\/ SPDX/d; s/\\/&&/g; s/"/\\"/g; s/.*/"&\\n"/' "$${f#*:}"; echo ";"; \
	done; } > $@.tmp && mv $@.tmp $@
$(B)/src/report/svg.o: | $(B)/svg_assets.h

$(B)/libmpvtrace.a: $(OBJ)
	rm -f $@ && ar qcs $@ $^

$(B)/mpvtrace: $(B)/src/cli/main.o $(B)/libmpvtrace.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# The program prints both from its own tables.
$(B)/mpvtrace.1: $(B)/mpvtrace
	$< man > $@.tmp && mv $@.tmp $@
$(B)/mpvtrace.bash: $(B)/mpvtrace
	$< completion > $@.tmp && mv $@.tmp $@

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(SUPPORT) $(B)/libmpvtrace.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcriterion $(LIBS)
$(B)/tests/live/%: $(B)/tests/live/%.o $(B)/tests/live/live.o $(B)/tests/live/facts.o $(B)/tests/live/pyframes.o $(B)/tests/live/uframes.o $(SUPPORT) $(B)/libmpvtrace.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcriterion $(LIBS)
$(B)/tests/workloads/openmp: WORKFLAGS := -fopenmp
$(B)/tests/workloads/oldpython: WORKFLAGS := -rdynamic
$(B)/tests/workloads/%: tests/workloads/%.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -O1 -g -fno-omit-frame-pointer $(WARN) -std=gnu11 -MMD -MP $(WORKFLAGS) -o $@ $< -lpthread -lm
$(B)/tools/%: $(B)/tools/%.o $(SUPPORT) $(B)/libmpvtrace.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

unit-bins: $(UNIT)
	@:
workloads: $(WORK)
	@:
live-bins: $(LIVE) $(WORK)
	@:
tools-bins: $(TOOLS)
	@:

# All C but BPF's through the compiler's checks (CC=clang: clang's), without an object.
warnings: $(B)/mpvtrace.skel.h $(B)/svg_assets.h
	@printf '%s\0' $(SRC) $(wildcard src/cli/main.c tests/*/*.c tools/*.c) | xargs -0 -n 24 -P $(shell nproc) \
		$(CC) -fsyntax-only $(CPPFLAGS) -Itests/support $(WARN) -Wno-unknown-pragmas -std=gnu11

clean:
	rm -rf $(B)

# --- installing: make, then make install as root; DESTDIR is put in front for packages ---
BINDIR  = $(DESTDIR)$(PREFIX)/bin
MANDIR  = $(DESTDIR)$(PREFIX)/share/man/man1
COMPDIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
DOCDIR  = $(DESTDIR)$(PREFIX)/share/doc/mpvtrace

install: all
	install -D -m 755 $(B)/mpvtrace $(BINDIR)/mpvtrace
	install -D -m 644 $(B)/mpvtrace.1 $(MANDIR)/mpvtrace.1
	install -D -m 644 $(B)/mpvtrace.bash $(COMPDIR)/mpvtrace
	install -D -m 644 README.md $(DOCDIR)/README.md
	install -D -m 644 LICENSE $(DOCDIR)/LICENSE
uninstall:
	rm -f $(BINDIR)/mpvtrace $(MANDIR)/mpvtrace.1 $(COMPDIR)/mpvtrace
	rm -rf $(DOCDIR)

# --- targets that set everything up by themselves, on a machine with only git and make ---
# They build by another make, as what set-up installs must be there when it reads this file.
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))
MAKE_IT = $(MAKE) --no-print-directory $(JOBS)

setup:
	@tools/setup.sh test
demo:
	@tools/setup.sh demo
	@$(MAKE_IT) all
	@tools/demo.sh $(B)
test:
	@tools/setup.sh test
	@$(MAKE_IT) all unit-bins live-bins
	@tools/run-tests.sh $(UNIT) $(LIVE:%=-l %)
test-unit:
	@tools/setup.sh test
	@$(MAKE_IT) unit-bins
	@tools/run-tests.sh $(UNIT)
test-live:
	@tools/setup.sh test
	@$(MAKE_IT) all live-bins
	@tools/run-tests.sh $(LIVE:%=-l %)
check:
	@tools/setup.sh check
	@tools/check.sh $(B)
bench:
	@tools/setup.sh bench
	@$(MAKE_IT) all workloads tools-bins
	@python3 tools/bench.py --build $(B) $(if $(QUICK),--quick)
tutorials:
	@tools/setup.sh tutorials
	@$(MAKE_IT) all
	@python3 tools/tutorials.py --build $(B)
whatif-table:
	@tools/setup.sh demo
	@$(MAKE_IT) all
	@python3 tools/whatif.py $(B)/mpvtrace
test-kernels:
	@tools/test-kernels.sh $(B)

.PHONY: all clean install uninstall warnings unit-bins workloads live-bins tools-bins
.PHONY: setup demo test test-unit test-live check bench tutorials whatif-table test-kernels
.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
