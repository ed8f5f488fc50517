/* floor: what the kernel alone takes for a container of ctr's default spec.
 *
 * The same kernel work as a container of `true` has under hull, from the cgroups to their removal, by
 * one small process and nothing else: no RPC, no second process that prepares, no plan, no streams.
 *
 *   floor ROOTFS DIR GROUP HIERARCHY...
 *     ROOTFS     lower directory of the root file system
 *     DIR        a private directory for its overlay
 *     GROUP      parent of the container's cgroup, from the root of each hierarchy; made if not there
 *     HIERARCHY  mount points of the cgroup hierarchies; the unified one, if there is one, first
 *
 * For each line on stdin it runs one container and prints four times in nanoseconds:
 *   create  cgroups with the default device rules, overlay, clone3, everything up to the gate
 *   start   from opening the gate to the end of execve, seen by the close-on-exec of the gate
 *   exit    until the process has ended
 *   delete  cgroups and overlay are gone
 *
 * Left out, because hull does it and the kernel need not: paths resolved inside the root without
 * trust, everything looked at before it is used, streams, /etc/passwd, the search of $PATH, seccomp
 * (ctr's default spec has none), and on a unified machine the eBPF program of the device rules. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_LENGTH 4096
#define UNIFIED 0x63677270 /* CGROUP2_SUPER_MAGIC */
#define SECURE (MS_NOSUID | MS_NOEXEC | MS_NODEV)

static char **hierarchies;
static char group[PATH_LENGTH]; /* the container's, from the root of a hierarchy */

static _Noreturn void die(const char *what) {
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void check(long result, const char *what) {
	if (result < 0)
		die(what);
}

/* A path, in one of two buffers that take turns. */
static const char *path(const char *format, ...) {
	static char buffers[2][PATH_LENGTH];
	static int turn;
	va_list arguments;
	turn = !turn;
	va_start(arguments, format);
	if (vsnprintf(buffers[turn], PATH_LENGTH, format, arguments) >= PATH_LENGTH) {
		errno = ENAMETOOLONG;
		die(format);
	}
	va_end(arguments);
	return buffers[turn];
}

static void put(const char *file, const char *text) {
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	check(fd, file);
	check(write(fd, text, strlen(text)), file);
	close(fd);
}

static void make(const char *dir) {
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		die(dir);
}

static int is_unified(const char *hierarchy) {
	struct statfs found;
	check(statfs(hierarchy, &found), hierarchy);
	return found.f_type == UNIFIED;
}

/* A cpuset takes no process before it has processors and memory nodes: its parent's. */
static void fill_cpuset(const char *dir) {
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	char parent[PATH_LENGTH], value[256];
	snprintf(parent, sizeof parent, "%s", dir);
	*strrchr(parent, '/') = 0;
	for (int i = 0; i < 2; i++) {
		int fd = open(path("%s/%s", parent, files[i]), O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return; /* another controller's */
		ssize_t length = read(fd, value, sizeof value - 1);
		check(length, parent);
		value[length] = 0;
		close(fd);
		put(path("%s/%s", dir, files[i]), value);
	}
}

/* The directories above the container's, once. */
static void make_parents(const char *hierarchy, const char *parents) {
	char dir[PATH_LENGTH];
	for (const char *end = parents; *end;) {
		end += strcspn(end + 1, "/") + 1;
		snprintf(dir, sizeof dir, "%s%.*s", hierarchy, (int)(end - parents), parents);
		make(dir);
		if (strstr(hierarchy, "cpuset"))
			fill_cpuset(dir);
	}
}

static void make_cgroups(void) {
	static const char *const allowed[] = {
		"b *:* m", "c *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
		"c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 10:200 rwm", "c 136:* rwm"};
	for (char **at = hierarchies; *at; at++) {
		char dir[PATH_LENGTH];
		snprintf(dir, sizeof dir, "%s%s", *at, group);
		check(mkdir(dir, 0755), dir);
		if (strstr(*at, "cpuset"))
			fill_cpuset(dir);
		if (strstr(*at, "devices")) {
			put(path("%s/devices.deny", dir), "a");
			for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
				put(path("%s/devices.allow", dir), allowed[i]);
		}
	}
}

static void remove_cgroups(void) {
	for (char **at = hierarchies; *at; at++)
		check(rmdir(path("%s%s", *at, group)), "rmdir of a cgroup");
}

static void mount_new(const char *type, const char *target, unsigned long flags, const char *data) {
	make(target);
	check(mount(type, target, type, flags, data), target);
}

static void default_mounts(void) {
	mount_new("proc", "proc", SECURE, NULL);
	mount_new("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	mount_new("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC,
		  "newinstance,ptmxmode=0666,mode=0620,gid=5");
	mount_new("tmpfs", "dev/shm", SECURE, "mode=1777,size=65536k");
	mount_new("mqueue", "dev/mqueue", SECURE, NULL);
	mount_new("sysfs", "sys", SECURE | MS_RDONLY, NULL);
	mount_new("tmpfs", "run", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
}

static void default_devices(void) {
	static const struct { const char *name; int major, minor; } nodes[] = {
		{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
		{"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
	static const char *const links[][2] = {
		{"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"},
		{"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"},
		{"pts/ptmx", "dev/ptmx"}};
	mode_t before = umask(0);
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		check(mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)),
		      nodes[i].name);
	umask(before);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		check(symlink(links[i][0], links[i][1]), links[i][1]);
}

static void read_only_and_masked_paths(void) {
	static const char *const read_only[] = {
		"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
	static const char *const masked[] = {
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"};
	const char *empty = NULL; /* the first directory that was masked: the others show it too */
	for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
		if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) < 0 && errno == ENOENT)
			continue;
		check(mount(NULL, read_only[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | SECURE, NULL),
		      read_only[i]);
	}
	for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
		struct stat found;
		if (stat(masked[i], &found) < 0)
			continue;
		if (!S_ISDIR(found.st_mode)) {
			check(mount("/dev/null", masked[i], NULL, MS_BIND, NULL), masked[i]);
		} else if (empty) {
			check(mount(empty, masked[i], NULL, MS_BIND, NULL), masked[i]);
		} else {
			check(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"),
			      masked[i]);
			empty = masked[i];
		}
	}
}

static void change_root(void) {
	int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	check(old, "/");
	check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	check(fchdir(old), "fchdir");
	check(mount(NULL, ".", NULL, MS_REC | MS_SLAVE, NULL), "old root");
	check(umount2(".", MNT_DETACH), "old root");
	check(chdir("/"), "/");
	close(old);
}

static void limit_rights(void) {
	static const int kept[] = {
		CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FSETID, CAP_FOWNER, CAP_MKNOD, CAP_NET_RAW, CAP_SETGID,
		CAP_SETUID, CAP_SETFCAP, CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT, CAP_KILL,
		CAP_AUDIT_WRITE};
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}};
	struct rlimit files = {1024, 1024};
	uint64_t set = 0;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		set |= 1ULL << kept[i];
	check(setrlimit(RLIMIT_NOFILE, &files), "RLIMIT_NOFILE");
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		if (!(set >> capability & 1))
			check(prctl(PR_CAPBSET_DROP, capability), "bounding set");
	check(setgroups(0, NULL), "setgroups");
	check(setresgid(0, 0, 0), "setresgid");
	check(setresuid(0, 0, 0), "setresuid");
	for (int half = 0; half < 2; half++)
		data[half].effective = data[half].permitted = set >> 32 * half;
	check(syscall(SYS_capset, &header, data), "capset");
	check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient set");
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

/* The container's first process. */
static _Noreturn void init(const char *rootfs, int gate) {
	char *const arguments[] = {"true", NULL};
	char *const environment[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", NULL};
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	char byte = 0;
	for (char **at = hierarchies + is_unified(*hierarchies); *at; at++)
		put(path("%s%s/tasks", *at, group), "0");
	check(setsid(), "setsid");
	check(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "_ses.floor"), "session keyring");
	int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	check(ioctl(inet, SIOCSIFFLAGS, &loopback), "loopback");
	close(inet);
	check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "propagation of /");
	check(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
	check(chdir(rootfs), rootfs);
	default_mounts();
	default_devices();
	change_root();
	read_only_and_masked_paths();
	limit_rights();
	check(write(gate, &byte, 1), "ready");
	if (read(gate, &byte, 1) != 1)
		_exit(1);
	execve("/bin/true", arguments, environment);
	die("/bin/true");
}

static int64_t now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static pid_t spawn(const char *rootfs, int gate, int *pidfd) {
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET,
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD};
	int cgroup = -1;
	if (is_unified(*hierarchies)) {
		cgroup = open(path("%s%s", *hierarchies, group), O_PATH | O_DIRECTORY | O_CLOEXEC);
		check(cgroup, group);
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = cgroup;
	}
	pid_t pid = syscall(SYS_clone3, &args, sizeof args);
	check(pid, "clone3");
	if (pid == 0)
		init(rootfs, gate);
	close(cgroup);
	return pid;
}

static void run(const char *rootfs, const char *options) {
	int gate[2], pidfd, status;
	char byte = 0;
	int64_t began = now();
	make_cgroups();
	check(mount("overlay", rootfs, "overlay", 0, options), "overlay");
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate), "socketpair");
	pid_t pid = spawn(rootfs, gate[1], &pidfd);
	close(gate[1]);
	if (read(gate[0], &byte, 1) != 1)
		die("the init ended before the gate");
	int64_t created = now();
	check(write(gate[0], &byte, 1), "gate");
	check(read(gate[0], &byte, 1), "execve");
	int64_t started = now();
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	check(poll(&end, 1, -1), "poll");
	check(waitpid(pid, &status, 0), "waitpid");
	if (status != 0)
		die("true failed");
	int64_t ended = now();
	close(pidfd);
	close(gate[0]);
	remove_cgroups();
	check(umount2(rootfs, UMOUNT_NOFOLLOW), "umount");
	int64_t deleted = now();
	printf("%lld %lld %lld %lld\n", (long long)(created - began), (long long)(started - created),
	       (long long)(ended - started), (long long)(deleted - ended));
	fflush(stdout);
}

int main(int count, char **arguments) {
	if (count < 5) {
		fputs("usage: floor ROOTFS DIR GROUP HIERARCHY...\n", stderr);
		return 2;
	}
	const char *dir = arguments[2];
	hierarchies = arguments + 4;
	for (char **at = hierarchies; *at; at++)
		make_parents(*at, arguments[3]);
	char line[16];
	for (unsigned number = 0; fgets(line, sizeof line, stdin); number++) {
		char rootfs[PATH_LENGTH], options[3 * PATH_LENGTH];
		const char *const parts[] = {"", "/fs", "/work", "/rootfs"};
		for (int i = 0; i < 4; i++)
			make(path("%s/%u%s", dir, number, parts[i]));
		snprintf(rootfs, sizeof rootfs, "%s/%u/rootfs", dir, number);
		snprintf(group, sizeof group, "%s/%u", arguments[3], number);
		snprintf(options, sizeof options, "index=off,workdir=%s/%u/work,upperdir=%s/%u/fs,lowerdir=%s",
			 dir, number, dir, number, arguments[1]);
		run(rootfs, options);
	}
	return 0;
}
