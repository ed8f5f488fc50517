/* counts: what the processes of a cgroup did so far, in numbers that do not depend on neighbours.
 *
 *   counts GROUP EVENT
 *     GROUP  directory of a cgroup in the hierarchy of perf_event: the unified one, unless perf_event
 *            is mounted as a v1 controller; groups below it count too
 *     EVENT  the file with the number of the tracepoint raw_syscalls:sys_enter
 *
 * For each line on stdin it prints how often processes of the group entered a system call and how often
 * one of them was taken off a processor, since the program started. Unlike /proc/PID/status this keeps
 * what processes that are gone did. See perf_event_open(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define PROCESSORS 4096

static _Noreturn void die(const char *what) {
	fprintf(stderr, "counts: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The file holds one decimal number. */
static uint64_t read_number(const char *file) {
	FILE *stream = fopen(file, "re");
	unsigned long long number;
	if (!stream || fscanf(stream, "%llu", &number) != 1)
		die(file);
	fclose(stream);
	return number;
}

/* Opens an event on every processor that is online. A group cannot be counted on all at once. */
static int open_event(int group, uint32_t type, uint64_t config, int *fds) {
	struct perf_event_attr attributes = {
		.type = type, .size = sizeof attributes, .config = config};
	int opened = 0;
	for (int processor = 0; processor < get_nprocs_conf() && opened < PROCESSORS; processor++) {
		int fd = syscall(SYS_perf_event_open, &attributes, group, processor, -1,
				 PERF_FLAG_PID_CGROUP | PERF_FLAG_FD_CLOEXEC);
		if (fd < 0 && errno == ENODEV)
			continue; /* offline */
		if (fd < 0)
			die("perf_event_open");
		fds[opened++] = fd;
	}
	return opened;
}

static uint64_t sum(const int *fds, int count) {
	uint64_t total = 0;
	for (int i = 0; i < count; i++) {
		uint64_t value;
		if (read(fds[i], &value, sizeof value) != sizeof value)
			die("read of an event");
		total += value;
	}
	return total;
}

int main(int count, char **arguments) {
	static int calls[PROCESSORS], switches[PROCESSORS];
	char line[16];
	if (count != 3) {
		fputs("usage: counts GROUP EVENT\n", stderr);
		return 2;
	}
	int group = open(arguments[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (group < 0)
		die(arguments[1]);
	int calling = open_event(group, PERF_TYPE_TRACEPOINT, read_number(arguments[2]), calls);
	int switching = open_event(group, PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES, switches);
	while (fgets(line, sizeof line, stdin)) {
		printf("%llu %llu\n", (unsigned long long)sum(calls, calling),
		       (unsigned long long)sum(switches, switching));
		fflush(stdout);
	}
	return 0;
}
