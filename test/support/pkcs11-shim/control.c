/*
 * The control file of the shim, read at each call: one directive a line, as shim.c lists them. It lies beside the shim,
 * so that the process which loads it need be told nothing.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096
#define LINES 64

static char before[MOST];
static long fired[LINES];

static void path_of(const char *name, char *path) {
  Dl_info info;
  dladdr((void *) path_of, &info);
  const char *slash = strrchr(info.dli_fname, '/');
  snprintf(path, MOST, "%.*s/%s", (int) (slash - info.dli_fname), info.dli_fname, name);
}

/* Counts start anew whenever the file says something else. */
static void read_control(char *text) {
  char path[MOST];
  path_of("control", path);
  ssize_t length = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    length = read(fd, text, MOST - 1);
    close(fd);
  }
  text[length > 0 ? length : 0] = 0;
  if (strcmp(text, before) != 0) {
    strcpy(before, text);
    memset(fired, 0, sizeof fired);
  }
}

static void note(const char *function) {
  char path[MOST];
  path_of("calls", path);
  int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return;
  dprintf(fd, "%s\n", function);
  close(fd);
}

static void wait_for(unsigned long ms) {
  struct timespec left = {ms / 1000, (ms % 1000) * 1000000L};
  while (nanosleep(&left, &left) != 0) {
  }
}

/* What happens at a call of `function`: waits, ends the process, or gives the value that it must answer. */
CK_RV rule(const char *function) {
  char text[MOST], *rest = text, *line;
  read_control(text);
  note(function);
  for (int number = 0; (line = strsep(&rest, "\n")) != NULL && number < LINES; number++) {
    char word[32], name[64];
    unsigned long value = 0, times = 0;
    int fields = sscanf(line, "%31s %63s %li %lu", word, name, (long *) &value, &times);
    if (fields < 2 || strcmp(name, function) != 0) continue;
    if (fields == 4 && fired[number]++ >= (long) times) continue;
    if (strcmp(word, "delay") == 0) wait_for(value);
    else if (strcmp(word, "abort") == 0) abort();
    else if (strcmp(word, "crash") == 0) *(volatile int *) 8 = 0;
    else if (strcmp(word, "exit") == 0) _exit(3);
    else if (strcmp(word, "fail") == 0) return value;
  }
  return CKR_OK;
}

int for_each_asked(const char *directive, int (*use)(const char *argument, void *), void *context) {
  char text[MOST], *rest = text, *line;
  read_control(text);
  while ((line = strsep(&rest, "\n")) != NULL) {
    char word[32], argument[64];
    if (sscanf(line, "%31s %63s", word, argument) != 2 || strcmp(word, directive) != 0) continue;
    if (use(argument, context)) return 1;
  }
  return 0;
}

static int same(const char *argument, void *wanted) {
  return strcmp(argument, wanted) == 0;
}

int asked(const char *directive, const char *argument) {
  return for_each_asked(directive, same, (void *) argument);
}
