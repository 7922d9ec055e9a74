/* SPDX-License-Identifier: MIT */
/* Descriptors become channels: pipes, sockets, eventfds … */
#include "locks_priv.h"

int channels_group(struct build *b)
{
	(void)b;
	return 0;
}
