/* Work for benchmarks: the primes below a bound, counted with a sieve, as often as asked for.
 * usage: compute [ROUNDS] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUND 1000000

static unsigned char composite[BOUND];

static int primes(void)
{
	int count = 0;

	memset(composite, 0, sizeof composite);
	for (int i = 2; i < BOUND; i++) {
		if (composite[i])
			continue;
		count++;
		for (long j = (long)i + i; j < BOUND; j += i)
			composite[j] = 1;
	}
	return count;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1, count = 0;

	while (rounds-- > 0)
		count = primes();
	printf("%d\n", count);
	return 0;
}
