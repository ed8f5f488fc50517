// A seccomp agent for one process, driven by the tests.
//
//   seccomp-agent SOCKET
//
// Accepts one connection after the other on SOCKET. Of each it prints one line on stdout, "state " and
// the container process state, and then answers the notifications of the listener that came with it,
// one line each ("PID NUMBER PATH"), until nobody is left that could ask:
//
//   mkdir(2) of a path with "made"     made by the agent in the asker's root; the answer is 0
//   mkdir(2) of a path with "errno"    fails with ENOMEDIUM
//   chdir(2) to a path with "eacces", "eperm"   fails so the first time, and goes on from then on
//   everything else                    goes on as if it had not been asked about
//
// Only one descriptor may come with a state, and it must be a listener.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what) {
  perror(what);
  exit(1);
}

// The text that an argument of the asker points to.
static void read_text(pid_t pid, uint64_t address, char *text, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  memset(text, 0, size);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (pread(fd, text, size - 1, (off_t)address) < 0) text[0] = 0;
  close(fd);
}

// Makes a directory where the asker would.
static int make_for(pid_t pid, const char *name) {
  char path[512];
  const char *base = name[0] == '/' ? "root" : "cwd";
  snprintf(path, sizeof path, "/proc/%d/%s/%s", pid, base, name);
  return mkdir(path, 0755) == 0 ? 0 : -errno;
}

static void serve(int listener) {
  struct seccomp_notif ask;
  struct seccomp_notif_resp answer;
  char text[256];
  int refused = 0;
  for (;;) {
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    if (poll(&ready, 1, -1) < 0 && errno != EINTR) fail("poll");
    if (ready.revents & POLLHUP) return;  // Whoever had the filter has ended.
    if (!(ready.revents & POLLIN)) continue;
    memset(&ask, 0, sizeof ask);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &ask) != 0) {
      if (errno == EINTR || errno == ENOENT) continue;  // It was killed meanwhile.
      fail("receive");
    }
    memset(&answer, 0, sizeof answer);
    answer.id = ask.id;
    answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    text[0] = 0;
    if (ask.data.nr == SYS_mkdir) {
      read_text(ask.pid, ask.data.args[0], text, sizeof text);
      if (strstr(text, "made")) {
        answer.flags = 0;
        answer.error = make_for(ask.pid, text);
      } else if (strstr(text, "errno")) {
        answer.flags = 0;
        answer.error = -ENOMEDIUM;
      }
    } else if (ask.data.nr == SYS_chdir) {
      read_text(ask.pid, ask.data.args[0], text, sizeof text);
      int error = strstr(text, "eacces") ? EACCES : strstr(text, "eperm") ? EPERM : 0;
      if (error && !refused) {
        refused = 1;
        answer.flags = 0;
        answer.error = -error;
      }
    } else if (ask.data.nr == SYS_execve) {
      read_text(ask.pid, ask.data.args[0], text, sizeof text);
    }
    printf("asked %d %d %s\n", ask.pid, ask.data.nr, text);
    fflush(stdout);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) != 0 && errno != ENOENT) fail("answer");
  }
}

// One connection: its state and its listener.
static int take(int connection) {
  static char state[1 << 20];
  char control[CMSG_SPACE(4 * sizeof(int))];
  struct iovec iov = {state, sizeof state - 1};
  struct msghdr message = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t length = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  if (length <= 0) fail("recvmsg");
  struct cmsghdr *first = CMSG_FIRSTHDR(&message);
  if (!first || first->cmsg_type != SCM_RIGHTS || first->cmsg_len != CMSG_LEN(sizeof(int))) {
    fputs("not one descriptor\n", stderr);
    exit(1);
  }
  int listener;
  memcpy(&listener, CMSG_DATA(first), sizeof listener);
  // The rest of a long state, up to the end of the connection.
  for (;;) {
    ssize_t more = read(connection, state + length, sizeof state - 1 - (size_t)length);
    if (more < 0) fail("read");
    if (more == 0) break;
    length += more;
  }
  state[length] = 0;
  printf("state %s\n", state);
  fflush(stdout);
  return listener;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(argv[1]) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, argv[1]);
  int socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket_fd < 0) fail("socket");
  if (bind(socket_fd, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
  if (listen(socket_fd, 16) != 0) fail("listen");
  puts("listening");
  fflush(stdout);
  for (;;) {
    int connection = accept4(socket_fd, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0) fail("accept");
    int listener = take(connection);
    close(connection);
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
      close(socket_fd);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(0);  // It was killed before that.
      serve(listener);
      _exit(0);
    }
    close(listener);
  }
}
