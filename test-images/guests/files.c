/* One operation on files, named by the first argument. A failure prints what errno says. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail(const char *verb, const char *path)
{
	fprintf(stderr, "%s %s: %s\n", verb, path, strerror(errno));
	exit(1);
}

static void copy_out(const char *path)
{
	char buffer[4096];
	ssize_t length;
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		fail("open", path);
	while ((length = read(fd, buffer, sizeof buffer)) > 0)
		fwrite(buffer, 1, length, stdout);
	if (length < 0)
		fail("read", path);
	close(fd);
}

static void put(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | O_CREAT | flags, 0644);

	if (fd < 0)
		fail("open", path);
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail("write", path);
	if (close(fd))
		fail("close", path);
}

static void list(const char *path)
{
	struct dirent *entry;
	DIR *dir = opendir(path);

	if (!dir)
		fail("opendir", path);
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			puts(entry->d_name);
	closedir(dir);
}

static void show(const char *path)
{
	struct stat status;
	const char *kind = "other";

	if (lstat(path, &status))
		fail("lstat", path);
	if (S_ISREG(status.st_mode))
		kind = "file";
	else if (S_ISDIR(status.st_mode))
		kind = "directory";
	else if (S_ISLNK(status.st_mode))
		kind = "symlink";
	printf("%s %lld\n", kind, (long long)status.st_size);
}

static void show_link(const char *path)
{
	char target[4096];
	ssize_t length = readlink(path, target, sizeof target);

	if (length < 0)
		fail("readlink", path);
	printf("%.*s\n", (int)length, target);
}

static void check(int result, const char *verb, const char *path)
{
	if (result)
		fail(verb, path);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";
	const char *path = argc > 2 ? argv[2] : "";
	const char *other = argc > 3 ? argv[3] : "";

	if (!strcmp(verb, "read"))
		copy_out(path);
	else if (!strcmp(verb, "write"))
		put(path, other, O_TRUNC);
	else if (!strcmp(verb, "append"))
		put(path, other, O_APPEND);
	else if (!strcmp(verb, "list"))
		list(path);
	else if (!strcmp(verb, "stat"))
		show(path);
	else if (!strcmp(verb, "mkdir"))
		check(mkdir(path, 0755), verb, path);
	else if (!strcmp(verb, "rmdir"))
		check(rmdir(path), verb, path);
	else if (!strcmp(verb, "unlink"))
		check(unlink(path), verb, path);
	else if (!strcmp(verb, "rename"))
		check(rename(path, other), verb, path);
	else if (!strcmp(verb, "symlink"))
		check(symlink(path, other), verb, other);
	else if (!strcmp(verb, "readlink"))
		show_link(path);
	else {
		fprintf(stderr, "usage: files VERB PATH [OTHER]\n");
		return 2;
	}
	return 0;
}
