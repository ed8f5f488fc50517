/* probe: prints what a process in a container sees of itself and of its surroundings.
 *
 *   probe ARG...
 *
 * One line for each fact, "key value", then "end". A value never has a line break in it. What differs
 * from one container to the next by its nature (inode numbers, pids of the host) is made comparable by
 * the reader, not here.
 *
 * The file /probe.ask, if there is one, asks for more, one line each:
 *   look PATH    what is there, and whether it can be read and written
 *   read PATH    its content */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(list) (sizeof(list) / sizeof((list)[0]))
#define NO_FILE ((int)-1)

extern char **environ;

/* A key, then a value in which every control character is shown as a blank or an escape. */
static void say(const char *key, const char *format, ...) {
	char value[65536];
	va_list list;
	va_start(list, format);
	vsnprintf(value, sizeof value, format, list);
	va_end(list);
	printf("%s ", key);
	for (const char *c = value; *c; c++) {
		if (*c == '\n')
			fputs("\\n", stdout);
		else if ((unsigned char)*c < ' ')
			printf("\\x%02x", (unsigned char)*c);
		else
			putchar(*c);
	}
	putchar('\n');
}

static const char *error_name(int number) {
	const char *name = strerrorname_np(number);
	return name ? name : "?";
}

/* The outcome of a call: its value, or the name of its error. */
static void say_result(const char *key, long result) {
	if (result < 0)
		say(key, "%s", error_name(errno));
	else
		say(key, "%#lx", result);
}

/* === who === */

static void identity(void) {
	uid_t real, effective, saved;
	getresuid(&real, &effective, &saved);
	say("uid", "%u %u %u", real, effective, saved);
	gid_t groups[4096];
	getresgid(&groups[0], &groups[1], &groups[2]);
	say("gid", "%u %u %u", groups[0], groups[1], groups[2]);
	int count = getgroups(LENGTH(groups), groups);
	char text[32768] = "";
	for (int i = 0; i < count; i++)
		sprintf(text + strlen(text), "%u ", groups[i]);
	say("groups", "%s", text);
	mode_t mask = umask(0);
	umask(mask);
	say("umask", "%03o", mask);
	say("pid", "%s", getpid() == 1 ? "1" : "another");
	say("ppid", "%s", getppid() ? "seen" : "0");
	say("session", "%s", getsid(0) == getpid() ? "own" : "another");
	say("group", "%s", getpgid(0) == getpid() ? "own" : "another");
}

static void capabilities(void) {
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };
	syscall(SYS_capget, &header, data);
	say("cap.effective", "%08x%08x", data[1].effective, data[0].effective);
	say("cap.permitted", "%08x%08x", data[1].permitted, data[0].permitted);
	say("cap.inheritable", "%08x%08x", data[1].inheritable, data[0].inheritable);
	unsigned long bounding = 0, ambient = 0;
	for (unsigned long cap = 0; cap < 64; cap++) {
		bounding |= (unsigned long)(prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1) << cap;
		ambient |= (unsigned long)(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1) << cap;
	}
	say("cap.bounding", "%016lx", bounding);
	say("cap.ambient", "%016lx", ambient);
}

/* Attributes of a process that prctl(2) and its relatives know. */
static void attributes(void) {
	static const struct {
		const char *key;
		int option;
	} plain[] = {
		{ "prctl.securebits", PR_GET_SECUREBITS },
		{ "prctl.no-new-privs", PR_GET_NO_NEW_PRIVS },
		{ "prctl.keepcaps", PR_GET_KEEPCAPS },
		{ "prctl.seccomp", PR_GET_SECCOMP },
		{ "prctl.dumpable", PR_GET_DUMPABLE },
		{ "prctl.timerslack", PR_GET_TIMERSLACK },
		{ "prctl.thp-disable", PR_GET_THP_DISABLE },
		{ "prctl.mce-kill", PR_MCE_KILL_GET },
		{ "prctl.timing", PR_GET_TIMING },
		{ "prctl.io-flusher", 58 /* PR_GET_IO_FLUSHER */ },
		{ "prctl.mdwe", 66 /* PR_GET_MDWE */ },
		{ "prctl.memory-merge", 68 /* PR_GET_MEMORY_MERGE */ },
	};
	for (size_t i = 0; i < LENGTH(plain); i++)
		say_result(plain[i].key, prctl(plain[i].option, 0, 0, 0, 0));
	static const struct {
		const char *key;
		int option;
	} stored[] = {
		{ "prctl.subreaper", PR_GET_CHILD_SUBREAPER },
		{ "prctl.death-signal", PR_GET_PDEATHSIG },
		{ "prctl.tsc", PR_GET_TSC },
	};
	for (size_t i = 0; i < LENGTH(stored); i++) {
		int value = -1, failed = prctl(stored[i].option, &value, 0, 0, 0);
		say(stored[i].key, "%d %d", failed, value);
	}
	for (unsigned long kind = 0; kind < 3; kind++) {
		char key[64];
		sprintf(key, "prctl.speculation.%lu", kind);
		say_result(key, prctl(PR_GET_SPECULATION_CTRL, kind, 0, 0, 0));
	}
	char name[32] = "";
	prctl(PR_GET_NAME, name, 0, 0, 0);
	say("comm", "%s", name);
	say("at-secure", "%lu", getauxval(AT_SECURE));
	const char *executed = (const char *)getauxval(AT_EXECFN);
	say("at-execfn", "%s", executed ? executed : "");
	say_result("personality", syscall(SYS_personality, 0xffffffffUL));
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
		say("affinity", "%d", CPU_COUNT(&cpus));
	struct {
		unsigned size, policy;
		unsigned long flags;
		int nice;
		unsigned priority;
		unsigned long runtime, deadline, period;
		unsigned util_min, util_max;
	} schedule = { 0 };
	syscall(SYS_sched_getattr, 0, &schedule, sizeof schedule, 0);
	say("scheduler", "policy %u flags %lx nice %d priority %u runtime %lu", schedule.policy, schedule.flags,
	    schedule.nice, schedule.priority, schedule.runtime);
	say_result("ioprio", syscall(SYS_ioprio_get, 1, 0));
	int mode = -1;
	unsigned long nodes[16] = { 0 };
	long policy = syscall(SYS_get_mempolicy, &mode, nodes, 1024, 0, 0);
	say("mempolicy", "%ld %d %lx", policy, mode, nodes[0]);
	for (int limit = 0; limit < 16; limit++) {
		char key[32];
		struct rlimit found;
		sprintf(key, "rlimit.%02d", limit);
		if (prlimit(0, limit, NULL, &found) == 0)
			say(key, "%lu %lu", found.rlim_cur, found.rlim_max);
	}
}

static void signals(void) {
	unsigned long blocked = 0, ignored = 0, handled = 0;
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &blocked, 8);
	for (int number = 1; number <= 64; number++) {
		struct {
			void *handler;
			unsigned long flags;
			void *restorer;
			unsigned long mask;
		} action = { 0 };
		if (syscall(SYS_rt_sigaction, number, NULL, &action, 8) != 0)
			continue;
		if (action.handler == (void *)SIG_IGN)
			ignored |= 1UL << (number - 1);
		else if (action.handler != (void *)SIG_DFL)
			handled |= 1UL << (number - 1);
	}
	say("signals.blocked", "%016lx", blocked);
	say("signals.ignored", "%016lx", ignored);
	say("signals.handled", "%016lx", handled);
	stack_t stack = { 0 };
	sigaltstack(NULL, &stack);
	say("signals.stack", "%d", stack.ss_flags);
}

static void keyring(void) {
	char text[512] = "";
	long size = syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text, sizeof text - 1, 0);
	if (size < 0)
		say("keyring", "%s", error_name(errno));
	else
		say("keyring", "%s", text);
}

/* === what it was given === */

static void words(int count, char **args) {
	char key[32];
	for (int i = 0; i < count; i++) {
		sprintf(key, "arg.%03d", i);
		say(key, "%s", args[i]);
	}
	for (int i = 0; environ[i]; i++) {
		sprintf(key, "env.%03d", i);
		say(key, "%s", environ[i]);
	}
	char path[4096];
	say("cwd", "%s", getcwd(path, sizeof path) ? path : error_name(errno));
	struct utsname names;
	uname(&names);
	say("hostname", "%s", names.nodename);
	say("domainname", "%s", names.domainname);
}

static const char *kind(mode_t mode) {
	switch (mode & S_IFMT) {
	case S_IFREG: return "file";
	case S_IFDIR: return "directory";
	case S_IFLNK: return "link";
	case S_IFCHR: return "char";
	case S_IFBLK: return "block";
	case S_IFIFO: return "fifo";
	case S_IFSOCK: return "socket";
	default: return "?";
	}
}

static void descriptors(void) {
	for (int fd = 0; fd < 1024; fd++) {
		int flags = fcntl(fd, F_GETFL), on_exec = fcntl(fd, F_GETFD);
		if (flags < 0)
			continue;
		char key[32], link[64], target[4096] = "";
		struct stat found;
		fstat(fd, &found);
		sprintf(key, "fd.%d", fd);
		sprintf(link, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(link, target, sizeof target - 1);
		/* Pipes are told by numbers. */
		char *bracket = length > 0 ? strchr(target, ':') : NULL;
		if (bracket)
			*bracket = 0;
		say(key, "%s %o flags %x/%x rdev %u:%u owner %u:%u %s tty %d", kind(found.st_mode), found.st_mode & 07777,
		    flags & (O_ACCMODE | O_NONBLOCK | O_APPEND), on_exec, major(found.st_rdev), minor(found.st_rdev),
		    found.st_uid, found.st_gid, target, isatty(fd));
		int again = length > 0 ? open(link, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY) : NO_FILE;
		sprintf(key, "fd.%d.again", fd);
		say(key, "%s", again >= 0 ? "opens" : length > 0 ? error_name(errno) : "-");
		if (again >= 0)
			close(again);
	}
	int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
	say("terminal", "%s", terminal >= 0 ? "has one" : error_name(errno));
	if (terminal >= 0)
		close(terminal);
}

/* === files === */

static void read_file(const char *key, const char *path) {
	char text[32768];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (size < 0) {
		say(key, "%s", error_name(errno));
	} else {
		text[size] = 0;
		while (size > 0 && text[size - 1] == '\n')
			text[--size] = 0;
		say(key, "= %s", text);
	}
	if (fd >= 0)
		close(fd);
}

static void each_line(const char *path, void (*take)(char *line)) {
	FILE *file = fopen(path, "re");
	char line[16384];
	if (!file)
		return;
	while (fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = 0;
		take(line);
	}
	fclose(file);
}

static void mount_line(char *line) {
	say("mount", "%s", line);
}

static void cgroup_line(char *line) {
	say("cgroup", "%s", line);
}

static void status_line(char *line) {
	static const char *const keys[] = {
		"NSpid", "Threads", "TracerPid", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs", "Seccomp",
		"Seccomp_filters", "Cpus_allowed_list", "Mems_allowed_list", "THP_enabled", "CoreDumping", "VmLck",
		"Speculation_Store_Bypass", "SpeculationIndirectBranch", "Umask", "Groups",
	};
	char *colon = strchr(line, ':');
	if (!colon)
		return;
	*colon = 0;
	for (size_t i = 0; i < LENGTH(keys); i++) {
		if (strcmp(keys[i], line) == 0) {
			char key[64];
			sprintf(key, "status.%s", line);
			say(key, "%s", strcmp(line, "NSpid") == 0 ? strrchr(colon + 1, '\t') : colon + 1);
		}
	}
}

static void proc(void) {
	each_line("/proc/self/mountinfo", mount_line);
	each_line("/proc/self/cgroup", cgroup_line);
	each_line("/proc/self/status", status_line);
	static const char *const files[] = {
		"oom_score_adj", "coredump_filter", "loginuid", "sessionid", "uid_map", "gid_map", "setgroups",
		"timens_offsets", "limits", "autogroup", "timerslack_ns", "attr/current",
	};
	char key[128], path[4200], target[4096];
	for (size_t i = 0; i < LENGTH(files); i++) {
		sprintf(key, "proc.%s", files[i]);
		sprintf(path, "/proc/self/%s", files[i]);
		read_file(key, path);
	}
	static const char *const spaces[] = { "mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time" };
	for (size_t i = 0; i < LENGTH(spaces); i++) {
		sprintf(key, "ns.%s", spaces[i]);
		sprintf(path, "/proc/self/ns/%s", spaces[i]);
		ssize_t size = readlink(path, target, sizeof target - 1);
		target[size < 0 ? 0 : size] = 0;
		say(key, "%s", size < 0 ? error_name(errno) : target);
	}
	ssize_t size = readlink("/proc/self/exe", target, sizeof target - 1);
	target[size < 0 ? 0 : size] = 0;
	say("exe", "%s", target);
	DIR *directory = opendir("/proc");
	int processes = 0;
	if (!directory)
		return;
	for (struct dirent *entry; (entry = readdir(directory));)
		processes += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
	closedir(directory);
	if (getpid() == 1)
		say("processes", "%d", processes);
}

/* What is at a path, without following a link that is there, and what can be done with it. */
static void look(const char *prefix, const char *path) {
	char key[4200], text[4096], target[4096] = "";
	struct stat found;
	sprintf(key, "%s %s", prefix, path);
	if (lstat(path, &found) != 0) {
		say(key, "%s", error_name(errno));
		return;
	}
	if (S_ISLNK(found.st_mode)) {
		ssize_t size = readlink(path, target, sizeof target - 1);
		target[size < 0 ? 0 : size] = 0;
		say(key, "link %s owner %u:%u", target, found.st_uid, found.st_gid);
		return;
	}
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *reads = fd < 0 ? error_name(errno) : "opens";
	int entries = 0;
	if (fd >= 0 && S_ISDIR(found.st_mode)) {
		DIR *directory = fdopendir(fd);
		while (directory && readdir(directory))
			entries++;
		/* Numbers of a live directory change. */
		reads = entries > 2 ? "has entries" : "empty";
		closedir(directory);
	} else if (fd >= 0) {
		if (S_ISREG(found.st_mode)) {
			ssize_t size = read(fd, text, 1);
			reads = size < 0 ? error_name(errno) : size == 0 ? "empty" : "has content";
		}
		close(fd);
	}
	const char *writes;
	if (S_ISDIR(found.st_mode)) {
		char inside[4200];
		sprintf(inside, "%s/.probe", path);
		writes = mkdir(inside, 0700) == 0 ? "yes" : error_name(errno);
		rmdir(inside);
	} else {
		fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		writes = fd < 0 ? error_name(errno) : "yes";
		if (fd >= 0)
			close(fd);
	}
	struct statvfs system = { 0 };
	statvfs(path, &system);
	say(key, "%s %o owner %u:%u rdev %u:%u read %s write %s flags %lx", kind(found.st_mode), found.st_mode & 07777,
	    found.st_uid, found.st_gid, major(found.st_rdev), minor(found.st_rdev), reads, writes, system.f_flag);
}

static void list(const char *path) {
	struct dirent **entries;
	int count = scandir(path, &entries, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		char inside[4200];
		snprintf(inside, sizeof inside, "%s/%s", path, entries[i]->d_name);
		if (strcmp(entries[i]->d_name, ".") && strcmp(entries[i]->d_name, ".."))
			look("file", inside);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

static void asked(char *line) {
	char *path = strchr(line, ' ');
	if (!path)
		return;
	*path++ = 0;
	if (strcmp(line, "look") == 0) {
		look("look", path);
		list(path);
	} else {
		char key[4200];
		sprintf(key, "read %s", path);
		read_file(key, path);
	}
}

static void files(void) {
	static const char *const directories[] = { "/", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys/fs/cgroup" };
	for (size_t i = 0; i < LENGTH(directories); i++) {
		look("file", directories[i]);
		list(directories[i]);
	}
	each_line("/probe.ask", asked);
	/* The umask at work. */
	int fd = open("/tmp/.new", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0777);
	struct stat found;
	if (fd >= 0 && fstat(fd, &found) == 0)
		say("new file", "%o owner %u:%u", found.st_mode & 07777, found.st_uid, found.st_gid);
	else
		say("new file", "%s", error_name(errno));
	if (fd >= 0)
		close(fd);
	unlink("/tmp/.new");
}

static void network(void) {
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo" };
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) != 0)
		say("loopback", "%s", error_name(errno));
	else
		say("loopback", "%x", (unsigned)request.ifr_flags);
	if (fd >= 0)
		close(fd);
}

/* === calls that do no harm, and whose errors a filter changes === */

static const struct call {
	const char *name;
	long number, arguments[6];
} calls[] = {
	{ "sched_yield", SYS_sched_yield, { 0 } },
	{ "getpriority", SYS_getpriority, { 0, 0 } },
	{ "getpriority.9", SYS_getpriority, { 9, 0 } },
	{ "sysinfo", SYS_sysinfo, { 0 } },
	{ "times", SYS_times, { -1L } },
	{ "lseek.0", SYS_lseek, { -1L, 0, 0 } },
	{ "lseek.7", SYS_lseek, { -1L, 7, 0 } },
	{ "lseek.7.2", SYS_lseek, { -1L, 7, 2 } },
	{ "lseek.large", SYS_lseek, { -1L, 0x100000007L, 1 } },
	{ "lseek.negative", SYS_lseek, { -1L, -7L, 1 } },
	{ "copy_file_range", SYS_copy_file_range, { -1L, 0, -1L, 0, 64, 0 } },
	{ "copy_file_range.1", SYS_copy_file_range, { -1L, 0, -1L, 0, 65, 1 } },
	{ "fadvise64", SYS_fadvise64, { -1L, 16, 32, 3 } },
	{ "fadvise64.high", SYS_fadvise64, { -1L, 0x8000000000000000L, 32, 4 } },
	{ "personality.1", SYS_personality, { 0xffffffffL } },
	{ "mkdir", SYS_mkdir, { 0 } },
	{ "mkdirat", SYS_mkdirat, { -1L, 0, 0 } },
	{ "unlinkat", SYS_unlinkat, { -1L, 0, 0 } },
	{ "chmod", SYS_chmod, { 0 } },
	{ "fchmodat2", 452, { -1L, 0, 0, 0 } },
	{ "mount", SYS_mount, { 0 } },
	{ "umount2", SYS_umount2, { 0, 0 } },
	{ "move_mount", SYS_move_mount, { -1L, 0, -1L, 0, 0 } },
	{ "ptrace", SYS_ptrace, { 0x7fffL, -1L, 0, 0 } },
	{ "bpf", SYS_bpf, { 0x7fffL, 0, 0 } },
	{ "keyctl", SYS_keyctl, { 0x7fffL, 0, 0, 0, 0 } },
	{ "unshare", SYS_unshare, { 0 } },
	{ "setns", SYS_setns, { -1L, 0 } },
	{ "kill", SYS_kill, { 0x3ffffffL, 0 } },
	{ "socket.raw", SYS_socket, { 12345, 1, 0 } },
	{ "io_uring_setup", SYS_io_uring_setup, { 0, 0 } },
	{ "clone3", SYS_clone3, { 0, 0 } },
	{ "openat2", SYS_openat2, { -1L, 0, 0, 0 } },
	{ "pidfd_open", SYS_pidfd_open, { -1L, 0 } },
	{ "process_madvise", SYS_process_madvise, { -1L, 0, 0, 0, 0 } },
	{ "cachestat", 451, { -1L, 0, 0, 0 } },
	{ "mseal", 462, { 0, 0, 0xff } },
	{ "newest.600", 600, { 0 } },
	{ "newest.100000", 100000, { 0 } },
	{ "minus-one", -1L, { 0 } },
	{ "x32.getpid", 0x40000000L | 39, { 0 } },
	{ "x32.lseek", 0x40000000L | 8, { -1L, 7, 0 } },
};

/* The outcomes, where a child that dies of a call leaves those before it. */
static struct outcome {
	long result;
	int error;
	int done;
} *outcomes;

static void make_calls(size_t first) {
	for (size_t i = first; i < LENGTH(calls); i++) {
		const long *a = calls[i].arguments;
		errno = 0;
		outcomes[i].result = syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
		outcomes[i].error = errno;
		outcomes[i].done = 1;
	}
	syscall(SYS_exit_group, 0);
}

static void try_calls(void) {
	outcomes = mmap(NULL, sizeof *outcomes * LENGTH(calls), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fflush(stdout);
	for (size_t first = 0; first < LENGTH(calls);) {
		pid_t child = fork();
		if (child == 0)
			make_calls(first);
		int status = 0;
		if (child < 0 || waitpid(child, &status, 0) != child) {
			say("calls", "%s", error_name(errno));
			return;
		}
		while (first < LENGTH(calls) && outcomes[first].done)
			first++;
		if (first < LENGTH(calls)) {
			outcomes[first].done = 2;
			outcomes[first++].result = WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
		}
	}
	for (size_t i = 0; i < LENGTH(calls); i++) {
		char key[64];
		sprintf(key, "call %s", calls[i].name);
		if (outcomes[i].done == 2)
			say(key, "ended by %ld", outcomes[i].result);
		else if (outcomes[i].error)
			say(key, "%s %d", error_name(outcomes[i].error), outcomes[i].error);
		else
			say(key, "succeeds");
	}
}

int main(int count, char **args) {
	static char buffer[1 << 20];
	setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
	identity();
	capabilities();
	attributes();
	signals();
	keyring();
	words(count, args);
	descriptors();
	proc();
	files();
	network();
	try_calls();
	say("end", "");
	return 0;
}
