/* Prints whether the clocks move, whether random bytes differ and what time it is. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now(clockid_t clock)
{
	struct timespec time;

	if (clock_gettime(clock, &time))
		return -1;
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(void)
{
	unsigned char first[32], second[32];
	struct timespec pause = { 0, 20000000 };
	long long monotonic = now(CLOCK_MONOTONIC), real = now(CLOCK_REALTIME);

	if (nanosleep(&pause, NULL) || getentropy(first, sizeof first) ||
	    getentropy(second, sizeof second))
		return 1;
	printf("monotonic %s\n", now(CLOCK_MONOTONIC) - monotonic >= 10000000 ? "moves" : "stands");
	printf("real %s\n", now(CLOCK_REALTIME) > real ? "moves" : "stands");
	printf("random %s\n", memcmp(first, second, sizeof first) ? "differs" : "repeats");
	printf("seconds %lld\n", real / 1000000000LL);
	return 0;
}
