/*
 * What a guest can do to the machine below it, named by the first argument: it takes something without
 * end, or asks for far too much of it at once. What comes to an end says how far it got.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

/* Where it may write. */
#define SCRATCH "/scratch"

static void tell(long count, const char *what)
{
	printf("%ld %s\n", count, what);
	fflush(stdout);
}

static void tell_errno(long count)
{
	tell(count, strerror(errno));
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

static void *allocate(size_t size)
{
	void *memory = malloc(size);

	if (!memory)
		fail("malloc");
	return memory;
}

/* Opens until that fails, and shows that one less is enough. */
static void open_all(const char *path, int flags)
{
	long count = 0;
	int fd, last = -1;

	while ((fd = open(path, flags)) >= 0) {
		last = fd;
		count++;
	}
	tell_errno(count);
	if (close(last) || open(path, flags) < 0)
		fail("open after close");
}

static void ask_clocks(void)
{
	struct timespec now;

	ready();
	for (;;)
		clock_gettime(CLOCK_MONOTONIC, &now);
}

static void ask_random(void)
{
	char bytes[256];

	ready();
	for (;;)
		getentropy(bytes, sizeof bytes);
}

static void ask_much_random(size_t size)
{
	void *memory = allocate(size);

	tell(__wasi_random_get(memory, size), "is the answer");
}

/* Many pieces of one byte, and as many that are empty. */
static void write_pieces(size_t count)
{
	__wasi_ciovec_t *pieces = allocate(count * sizeof *pieces);
	__wasi_size_t written = 0;
	__wasi_errno_t error;
	size_t i;

	for (i = 0; i < count; i++) {
		pieces[i].buf = (const uint8_t *)"x";
		pieces[i].buf_len = 0;
	}
	error = __wasi_fd_write(2, pieces, count, &written);
	if (error || written)
		fail("empty pieces");
	for (i = 0; i < count; i++)
		pieces[i].buf_len = 1;
	error = __wasi_fd_write(2, pieces, count, &written);
	if (error || !written)
		fail("pieces");
	tell(count, "pieces");
}

/* Waits for very many moments of which the first comes soon. */
static void wait_for_all(size_t count)
{
	__wasi_subscription_t *subscriptions = allocate(count * sizeof *subscriptions);
	__wasi_event_t *events = allocate(count * sizeof *events);
	__wasi_size_t happened = 0;
	__wasi_errno_t error;
	size_t i;

	memset(subscriptions, 0, count * sizeof *subscriptions);
	for (i = 0; i < count; i++) {
		subscriptions[i].userdata = i;
		subscriptions[i].u.tag = __WASI_EVENTTYPE_CLOCK;
		subscriptions[i].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
		subscriptions[i].u.u.clock.timeout = i ? 600000000000 : 1000000;
	}
	ready();
	error = __wasi_poll_oneoff(subscriptions, events, count, &happened);
	tell(error, error ? "is the error" : "subscriptions are fine");
}

static void flood(void)
{
	static char line[65536];

	memset(line, 'x', sizeof line - 1);
	line[sizeof line - 1] = '\n';
	ready();
	for (;;)
		write(1, line, sizeof line);
}

/* A directory in a directory in a directory. */
static void dig(long most)
{
	int above, below = open(SCRATCH, O_RDONLY | O_DIRECTORY);
	long depth = 0;

	errno = 0;
	while (below >= 0 && depth < most) {
		above = below;
		if (mkdirat(above, "d", 0755))
			break;
		below = openat(above, "d", O_RDONLY | O_DIRECTORY);
		close(above);
		depth++;
	}
	tell_errno(depth);
}

/* Paths that lead nowhere, and one that is too long. */
static void wander(void)
{
	static char path[1 << 20];
	char name[32], target[32];
	int i;

	symlink("b", SCRATCH "/a");
	symlink("a", SCRATCH "/b");
	if (open(SCRATCH "/a", O_RDONLY) >= 0)
		fail("loop");
	tell_errno(2);
	for (i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, SCRATCH "/c%d", i);
		snprintf(target, sizeof target, "c%d", i + 1);
		symlink(target, name);
	}
	if (open(SCRATCH "/c0", O_RDONLY) >= 0)
		fail("chain");
	tell_errno(1000);
	strcpy(path, SCRATCH);
	for (i = strlen(path); i < (int)sizeof path - 1; i += 2)
		memcpy(path + i, "/.", 2);
	path[sizeof path - 1] = 0;
	if (open(path, O_RDONLY) >= 0)
		fail("path");
	tell_errno(sizeof path - 1);
}

/* A directory with many files, read from end to end. */
static void crowd(long count)
{
	char name[64];
	struct dirent *entry;
	long i, seen = 0;
	DIR *dir;
	int fd;

	for (i = 0; i < count; i++) {
		snprintf(name, sizeof name, SCRATCH "/file-with-a-name-of-some-length-%ld", i);
		fd = open(name, O_WRONLY | O_CREAT, 0644);
		if (fd < 0)
			fail(name);
		close(fd);
	}
	ready();
	dir = opendir(SCRATCH);
	if (!dir)
		fail("opendir");
	while ((entry = readdir(dir)))
		seen++;
	tell(seen, "entries");
}

/* Names without end for one file. */
static void link_all(void)
{
	char name[64];
	long count = 0;
	int fd = open(SCRATCH "/file", O_WRONLY | O_CREAT, 0644);

	if (fd < 0)
		fail("open");
	do
		snprintf(name, sizeof name, SCRATCH "/name-%ld", count++);
	while (!link(SCRATCH "/file", name));
	tell_errno(count);
}

/* Bytes without end in one file. */
static void fill(void)
{
	static char bytes[65536];
	long count = 0;
	int fd = open(SCRATCH "/file", O_WRONLY | O_CREAT, 0644);

	if (fd < 0)
		fail("open");
	memset(bytes, 'x', sizeof bytes);
	ready();
	while (write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes)
		count++;
	tell_errno(count);
}

static void rename_for_ever(void)
{
	int fd = open(SCRATCH "/one", O_WRONLY | O_CREAT, 0644);

	if (fd < 0)
		fail("open");
	ready();
	for (;;) {
		rename(SCRATCH "/one", SCRATCH "/other");
		rename(SCRATCH "/other", SCRATCH "/one");
	}
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	long number = argc > 2 ? atol(argv[2]) : 0;

	if (!strcmp(verb, "files"))
		open_all("/etc/group", O_RDONLY);
	else if (!strcmp(verb, "directories"))
		open_all("/etc", O_RDONLY | O_DIRECTORY);
	else if (!strcmp(verb, "clocks"))
		ask_clocks();
	else if (!strcmp(verb, "random"))
		ask_random();
	else if (!strcmp(verb, "much-random"))
		ask_much_random(number);
	else if (!strcmp(verb, "pieces"))
		write_pieces(number);
	else if (!strcmp(verb, "poll"))
		wait_for_all(number);
	else if (!strcmp(verb, "flood"))
		flood();
	else if (!strcmp(verb, "dig"))
		dig(number);
	else if (!strcmp(verb, "wander"))
		wander();
	else if (!strcmp(verb, "crowd"))
		crowd(number);
	else if (!strcmp(verb, "links"))
		link_all();
	else if (!strcmp(verb, "fill"))
		fill();
	else if (!strcmp(verb, "renames"))
		rename_for_ever();
	else if (!strcmp(verb, "arguments"))
		tell(argc, "arguments");
	else {
		fprintf(stderr, "usage: hostile VERB [NUMBER]\n");
		return 2;
	}
	return 0;
}
