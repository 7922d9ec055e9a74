// SPDX-License-Identifier: MIT
// A program in C++: a function of a template, with one inlined into it, uses a CPU for 300 ms.
#include <ctime>
#include <map>
#include <string>

namespace shop
{
template <class T> struct Till {
	T sum{};
	std::map<std::string, T> goods;
	__attribute__((noinline)) void count(long ms);
};

inline __attribute__((always_inline)) double add_up(double x, int n)
{
	for (int i = 0; i < n; i++)
		x = x * 0.99 + i;
	return x;
}

static long cpu_ms()
{
	timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

template <class T> __attribute__((noinline)) void Till<T>::count(long ms)
{
	for (long end = cpu_ms() + ms; cpu_ms() < end;)
		sum += add_up(sum, 100000);
	goods["sum"] = sum;
}
} // namespace shop

int main()
{
	shop::Till<double> till;

	till.count(300);
	return till.sum == 1;
}
