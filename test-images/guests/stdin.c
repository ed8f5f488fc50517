/* Counts what comes on stdin and prints the counts at its end. */
#include <stdio.h>

int main(void)
{
	long bytes = 0, lines = 0;
	int byte;

	while ((byte = getchar()) != EOF) {
		bytes++;
		lines += byte == '\n';
	}
	printf("%ld bytes, %ld lines\n", bytes, lines);
	return 0;
}
