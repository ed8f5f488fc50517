/* Prints whether each of its standard streams is a terminal. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	static const char *const names[] = { "stdin", "stdout", "stderr" };

	for (int fd = 0; fd < 3; fd++)
		printf("%s %s\n", names[fd], isatty(fd) ? "terminal" : "none");
	return 0;
}
