/* What no function of Node does to another process: attack read|trace|descriptor PID. Prints "done", or why not. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static int say(long result) {
  puts(result >= 0 ? "done" : strerror(errno));
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  pid_t pid = atoi(argv[2]);
  if (!strcmp(argv[1], "trace")) return say(ptrace(PTRACE_SEIZE, pid, 0, 0));
  if (!strcmp(argv[1], "read")) {
    char word[8];
    struct iovec here = {word, sizeof word}, there = {(void *)4096, sizeof word};
    long read = process_vm_readv(pid, &here, 1, &there, 1, 0);
    return say(read < 0 && errno == EFAULT ? 0 : read); /* nothing lies there, which only those are told who may read */
  }
  if (!strcmp(argv[1], "descriptor")) {
    long process = syscall(SYS_pidfd_open, pid, 0);
    return say(process < 0 ? process : syscall(SYS_pidfd_getfd, process, 3, 0));
  }
  return 2;
}
