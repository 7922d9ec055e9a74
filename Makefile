# mpvtrace: `make` builds build/mpvtrace; `make demo` and `make test` set up everything they need.
VERSION := 0.1.0
B       ?= build
CC      ?= cc
CLANG   ?= clang
BPFTOOL ?= $(firstword $(shell command -v bpftool 2>/dev/null) /usr/sbin/bpftool)
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Werror -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes
CPPFLAGS += -D_GNU_SOURCE -DMT_VERSION='"$(VERSION)"' -Iinclude -Isrc -I$(B)
LIBS    := -lbpf -ldw -lelf -lz -ljansson -lcap -lm
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

all: $(B)/mpvtrace

# Ours win over the environment's flags, as a caller's CFLAGS may lack -g or -O.
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) -std=gnu11 -MMD -MP -c -o $@ $<

$(B)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(ARCH) -Iinclude -Ibpf -Wall -Wextra -Werror \
		-Wno-unused-parameter -Wno-missing-declarations -MMD -MP -c -o $@ $<

$(B)/mpvtrace.bpf.o: $(BPF_OBJ)
	$(BPFTOOL) gen object $@ $^

$(B)/mpvtrace.skel.h: $(B)/mpvtrace.bpf.o
	$(BPFTOOL) gen skeleton $< name mpvtrace_bpf > $@.tmp && mv $@.tmp $@

$(patsubst %.c,$(B)/%.o,$(wildcard src/collect/*.c)): | $(B)/mpvtrace.skel.h

$(B)/libmpvtrace.a: $(OBJ)
	rm -f $@ && ar rcs $@ $^

$(B)/mpvtrace: $(B)/src/cli/main.o $(B)/libmpvtrace.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(SUPPORT) $(B)/libmpvtrace.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcriterion $(LIBS)
$(B)/tests/live/%: $(B)/tests/live/%.o $(SUPPORT) $(B)/libmpvtrace.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcriterion $(LIBS)
$(B)/tests/workloads/%: tests/workloads/%.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -O1 -g -fno-omit-frame-pointer $(WARN) -std=gnu11 -o $@ $< -lpthread -lm
$(B)/tools/%: $(B)/tools/%.o $(SUPPORT) $(B)/libmpvtrace.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

unit-bins: $(UNIT)
workloads: $(WORK)
live-bins: $(LIVE) $(WORK)
tools-bins: $(TOOLS)

clean:
	rm -rf $(B)

.PHONY: all clean unit-bins workloads live-bins tools-bins
.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
