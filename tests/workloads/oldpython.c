/* SPDX-License-Identifier: MIT */
/* What is seen of a CPython to 3.6 from outside: the type of code objects, but no _PyRuntime. */
#include <unistd.h>

int PyCode_Type = 1;

int main(void)
{
	usleep(5000);
	return PyCode_Type - 1;
}
