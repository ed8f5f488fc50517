/* What preview 1 knows of sockets, on what a container gives: streams, files, nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void try(const char *call, const char *on, int result)
{
	printf("%s of %s: %s\n", call, on, result < 0 ? strerror(errno) : "works");
}

int main(void)
{
	const char *names[] = { "stdin", "stdout", "the root", "a file", "nothing" };
	int fds[] = { 0, 1, 3, open("/etc/group", O_RDONLY), 1000 };
	char byte = 'x';
	unsigned i;

	for (i = 0; i < sizeof fds / sizeof *fds; i++) {
		try("accept", names[i], accept4(fds[i], NULL, NULL, SOCK_NONBLOCK));
		try("recv", names[i], recv(fds[i], &byte, 1, 0));
		try("send", names[i], send(fds[i], &byte, 1, 0));
		try("shutdown", names[i], shutdown(fds[i], SHUT_RDWR));
	}
	return 0;
}
