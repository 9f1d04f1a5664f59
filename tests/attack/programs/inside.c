// SPDX-License-Identifier: Apache-2.0

// A hostile program that runs inside a session: `inside ATTACK [ARGUMENT]...`. What it reached is its output, one word a
// line; the test beside it knows what there may be. Every attack works without wrap, as far as the machine lets it.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static void say(const char* what, long result) {
  if (result < 0) {
    printf("%s %s\n", what, strerrorname_np(errno));
  } else {
    printf("%s done\n", what);
  }
  fflush(stdout);
}

static socklen_t named(struct sockaddr_un* address, const char* name) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  size_t length = strlen(name);
  if (length > sizeof address->sun_path) length = sizeof address->sun_path;  // 108 bytes without a NUL are a name, too
  memcpy(address->sun_path, name, length);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

static int reach(const char* name) {
  struct sockaddr_un address;
  socklen_t length = named(&address, name);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  int rc = connect(fd, (struct sockaddr*)&address, length);
  int error = errno;
  close(fd);
  errno = error;
  return rc;
}

// --- Other processes of the same user -----------------------------------------------------------------------------

// Everything that reads, changes or takes something of process `pid`; `address` is an int of its own that holds 1.
static int process(pid_t pid, unsigned long address) {
  char name[64];
  int value = 0;
  struct iovec here = {&value, sizeof value};
  struct iovec there = {(void*)address, sizeof value};
  say("read-memory", process_vm_readv(pid, &here, 1, &there, 1, 0));
  value = 2;
  say("write-memory", process_vm_writev(pid, &here, 1, &there, 1, 0));
  for (const char* const* file = (const char* const[]){"mem", "environ", "maps", "auxv", "fd", "cwd", "root", "exe", NULL};
       *file; ++file) {
    snprintf(name, sizeof name, "/proc/%d/%s", pid, *file);
    char word[80];
    snprintf(word, sizeof word, "open-%s", *file);
    int fd = open(name, strcmp(*file, "mem") == 0 ? O_RDWR : O_RDONLY);
    say(word, fd);
    if (fd >= 0) close(fd);
  }
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  say("take-descriptor", syscall(SYS_pidfd_getfd, pidfd, 0, 0));
  say("ptrace", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
  return 0;
}

// Every way to send SIGKILL to `pid`.
static int sigio(pid_t pid, int by_thread) {
  int pipes[2];
  if (pipe(pipes) < 0) return 1;
  struct f_owner_ex owner = {by_thread ? F_OWNER_TID : F_OWNER_PID, pid};
  say("own", fcntl(pipes[0], F_SETOWN_EX, &owner));
  say("signal", fcntl(pipes[0], F_SETSIG, SIGKILL));
  say("async", fcntl(pipes[0], F_SETFL, O_ASYNC | O_NONBLOCK));
  return write(pipes[1], "x", 1) == 1 ? 0 : 1;
}

static int signals(pid_t pid) {
  say("kill", kill(pid, SIGKILL));
  say("tgkill", syscall(SYS_tgkill, pid, pid, SIGKILL));
  say("tkill", syscall(SYS_tkill, pid, SIGKILL));
  siginfo_t info = {.si_signo = SIGKILL, .si_code = SI_QUEUE};
  say("queue", syscall(SYS_rt_sigqueueinfo, pid, SIGKILL, &info));
  say("queue-thread", syscall(SYS_rt_tgsigqueueinfo, pid, pid, SIGKILL, &info));
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  say("pidfd", syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0));
  sigio(pid, 0);
  return sigio(pid, 1);
}

// From a thread that is not the leader: what Landlock compares is kept per thread.
static void* sigio_thread(void* pid) {
  sigio((pid_t)(intptr_t)pid, 0);
  return NULL;
}

static int signals_of_thread(pid_t pid) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, sigio_thread, (void*)(intptr_t)pid) != 0) return 1;
  return pthread_join(thread, NULL);
}

// What the owner of a process may write without asking ptrace.
static int knobs(pid_t pid) {
  const char* const knob[][2] = {{"oom_score_adj", "1000"}, {"autogroup", "19"}, {"coredump_filter", "0xff"}};
  for (size_t i = 0; i < sizeof knob / sizeof *knob; ++i) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/%s", pid, knob[i][0]);
    int fd = open(name, O_WRONLY);
    long rc = fd < 0 ? -1 : write(fd, knob[i][1], strlen(knob[i][1]));
    say(knob[i][0], rc);
  }
  return 0;
}

// --- The terminal ---------------------------------------------------------------------------------------------------

static int terminal(void) {
  int fd = open("/dev/tty", O_RDWR);
  say("tty", fd);
  say("sti", ioctl(fd, TIOCSTI, "i"));
  // The kernel takes the request as 32 bits.
  say("sti-high", syscall(SYS_ioctl, fd, 0xdead000000000000UL | TIOCSTI, "i"));
  say("linux", ioctl(fd, TIOCLINUX, "\x03"));
  int discipline = 2;
  say("discipline", ioctl(fd, TIOCSETD, &discipline));
  int other = open(ttyname(0), O_RDWR | O_NOCTTY);
  say("sti-other", ioctl(other, TIOCSTI, "i"));
  return 0;
}

// --- The supervisor's threads ---------------------------------------------------------------------------------------

struct Try {
  const char* name;
  int error;
};

static void* try_to_reach(void* argument) {
  struct Try* one = argument;
  one->error = reach(one->name) == 0 ? 0 : errno;
  return NULL;
}

// `threads` connects that wait for room in the backlog of `full`; then `denied` is asked for as often.
static int exhaust(const char* full, const char* denied, int threads) {
  pthread_t* thread = calloc((size_t)threads, sizeof *thread);
  struct Try* one = calloc((size_t)threads, sizeof *one);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 65536);
  for (int i = 0; i < threads; ++i) {
    one[i].name = full;
    if (pthread_create(&thread[i], &small, try_to_reach, &one[i]) != 0) return 1;
  }
  int reached = 0;
  for (int i = 0; i < threads; ++i) {
    if (reach(denied) == 0) ++reached;
  }
  printf("reached %d\n", reached);
  fflush(stdout);
  char byte;
  if (read(0, &byte, 1) < 0) return 1;  // the test makes room, and tells when
  int connected = 0, refused = 0;
  for (int i = 0; i < threads; ++i) {
    pthread_join(thread[i], NULL);
    connected += one[i].error == 0;
    refused += one[i].error == EAGAIN;
  }
  printf("sum %d\n", connected + refused);
  say("afterwards", reach(full));
  return 0;
}

// A call of a thread whose leader has ended; then one of a thread that another one replaces by exec meanwhile.
static const char* wanted;
static const char* self_path;

static void* after_leader(void* unused) {
  (void)unused;
  char state[8] = "";
  while (strcmp(state, "Z") != 0) {
    char text[512], name[64];
    snprintf(name, sizeof name, "/proc/%d/stat", getpid());
    int fd = open(name, O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) _exit(1);
    text[n] = 0;
    sscanf(strrchr(text, ')') + 2, "%7s", state);
  }
  say("leaderless", reach(wanted));
  _exit(0);
}

static int leaderless(const char* name) {
  wanted = name;
  pthread_t thread;
  if (pthread_create(&thread, NULL, after_leader, NULL) != 0) return 1;
  pthread_exit(NULL);
}

static _Noreturn void* hammer(void* unused) {
  (void)unused;
  for (;;) {
    if (reach(wanted) == 0) say("reached", 0);
  }
}

static void* replace(void* left) {
  char text[16];
  snprintf(text, sizeof text, "%d", (int)(intptr_t)left);
  execl(self_path, self_path, "exec-storm", wanted, text, (char*)NULL);
  _exit(1);
}

// Threads that connect while another one of them executes, `left` times over.
static int exec_storm(const char* name, int left) {
  wanted = name;
  if (left == 0) {
    say("denied", reach(name));
    return 0;
  }
  pthread_t thread;
  for (int i = 0; i < 4; ++i) {
    if (pthread_create(&thread, NULL, hammer, NULL) != 0) return 1;
  }
  // Not at once: some calls must be under way.
  for (int i = 0; i < 20; ++i) (void)reach(name);
  if (pthread_create(&thread, NULL, replace, (void*)(intptr_t)(left - 1)) != 0) return 1;
  for (;;) pause();
}

// Children that are the parent's, so the supervisor's or wrap's to reap.
static int siblings(int count) {
  for (int i = 0; i < count; ++i) {
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGKILL, NULL, NULL, NULL, 0);
    if (pid == 0) _exit(0);
    if (pid < 0) return 1;
  }
  puts("done");
  return 0;
}

// Takes a pidfd of whoever connects: what is connected on a program's behalf is connected by its supervisor.
static int peer(const char* name) {
  struct sockaddr_un address;
  socklen_t length = named(&address, name);
  int server = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(server, (struct sockaddr*)&address, length) < 0 || listen(server, 1) < 0) return 1;
  pid_t child = fork();
  if (child == 0) _exit(reach(name) == 0 ? 0 : 1);
  int client = accept(server, NULL, NULL);
  struct ucred credentials;
  socklen_t size = sizeof credentials;
  if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) return 1;
  printf("peer %s\n", credentials.pid == child ? "itself" : "another");
  int pidfd = -1;
  size = sizeof pidfd;
  if (getsockopt(client, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0) return 1;
  if (credentials.pid != child) {
    say("stop", syscall(SYS_pidfd_send_signal, pidfd, SIGSTOP, NULL, 0));
    say("take", syscall(SYS_pidfd_getfd, pidfd, 3, 0));
    say("enter", syscall(SYS_setns, pidfd, CLONE_NEWNET));
    process(credentials.pid, 0);
    signals(credentials.pid);
    signals_of_thread(credentials.pid);
    knobs(credentials.pid);
  }
  waitpid(child, NULL, 0);
  unlink(name);
  return 0;
}

// --- Records --------------------------------------------------------------------------------------------------------

static int flood(const char* directory, long count) {
  char name[sizeof((struct sockaddr_un*)0)->sun_path];
  long reached = 0;
  for (long i = 0; i < count; ++i) {
    snprintf(name, sizeof name, "%s/%ld", directory, i);
    if (reach(name) == 0) ++reached;
  }
  printf("reached %ld\n", reached);
  return 0;
}

static int names(int count, char** name) {
  prctl(PR_SET_NAME, "\033]0;x\a\"\\\n}", 0, 0, 0);
  for (int i = 0; i < count; ++i) say("connect", reach(name[i]));
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const char* attack = argv[1];
  const char* a = argc > 2 ? argv[2] : "";
  const char* b = argc > 3 ? argv[3] : "";
  const char* c = argc > 4 ? argv[4] : "";
  self_path = "/proc/self/exe";
  if (strcmp(attack, "connect") == 0) return say("connect", reach(a)), 0;
  if (strcmp(attack, "process") == 0) return process(atoi(a), strtoul(b, NULL, 0));
  if (strcmp(attack, "signals") == 0) return signals(atoi(a)), signals_of_thread(atoi(a));
  if (strcmp(attack, "sigio") == 0) return sigio(atoi(a), 0);
  if (strcmp(attack, "knobs") == 0) return knobs(atoi(a));
  if (strcmp(attack, "terminal") == 0) return terminal();
  if (strcmp(attack, "exhaust") == 0) return exhaust(a, b, atoi(c));
  if (strcmp(attack, "leaderless") == 0) return leaderless(a);
  if (strcmp(attack, "exec-storm") == 0) return exec_storm(a, atoi(b));
  if (strcmp(attack, "siblings") == 0) return siblings(atoi(a));
  if (strcmp(attack, "peer") == 0) return peer(a);
  if (strcmp(attack, "flood") == 0) return flood(a, atol(b));
  if (strcmp(attack, "names") == 0) return names(argc - 2, argv + 2);
  return 2;
}
