/* SPDX-License-Identifier: MIT */
/* coldlibs: deep below main(), loads each library that is named and calls its function touch().
 * Lives on for a while, so that its stacks can be finished. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH 20

static int load(char **names)
{
	for (; *names; names++) {
		void *lib = dlopen(*names, RTLD_NOW);
		void (*touch)(void) = lib ? (void (*)(void))dlsym(lib, "touch") : NULL;

		if (!touch) {
			fprintf(stderr, "%s\n", dlerror());
			return 1;
		}
		touch();
	}
	usleep(300000);
	return 0;
}

static __attribute__((noinline)) int below(int depth, char **names)
{
	volatile char room[800];

	memset((char *)room, depth, sizeof(room));
	return (depth ? below(depth - 1, names) : load(names)) + (room[depth] - depth);
}

int main(int argc, char **argv)
{
	return argc > 1 ? below(DEPTH, argv + 1) : 2;
}
