/* What the calls of shim.c share: the page that the test writes, the log, which paths
 * are of interest, and which call is to fail. One translation unit, so that nothing of
 * it gets into the programs' way. */
#undef _FORTIFY_SOURCE
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "one form of each call is enough on 64 bits only");

/* The page that the test writes: `Control` in faults.rs, in this order. */

enum fault { NO_FAULT, FULL, FAILS, READ_ONLY, NTH_FAILS };

static struct control {
  int64_t fault;        /* enum fault */
  int64_t spared;       /* calls that still succeed before the fault strikes */
  int64_t error;        /* errno of FAILS and NTH_FAILS */
  int64_t free_bytes;   /* what a FULL disk still takes */
  int64_t clock_s;      /* added to the wall clock */
  int64_t swallows;     /* not 0: a sync returns 0, and neither is done nor written down */
  int64_t calls;        /* changing calls so far; the shim counts */
  int64_t struck;       /* how many of them it let fail */
} quiet, *control = &quiet;

#define READ(field) __atomic_load_n(&control->field, __ATOMIC_SEQ_CST)
#define ADD(field, n) __atomic_fetch_add(&control->field, (n), __ATOMIC_SEQ_CST)

/* The C library's own calls. */

#define CALLS(X)                                                                       \
  X(openat) X(close) X(write) X(pwrite) X(writev) X(pwritev) X(ftruncate) X(fallocate) \
  X(fsync) X(fdatasync) X(renameat2) X(unlinkat) X(linkat) X(mkdirat) X(dup) X(dup2)   \
  X(dup3) X(fcntl) X(copy_file_range) X(sendfile) X(clock_gettime)
#define DECLARE(name) static __typeof__(name) *next_##name;
#define FIND(name) next_##name = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);
CALLS(DECLARE)

#define FILES_MAX 4096
#define MARK UINT64_MAX
/* By descriptor: the file's inode, MARK, or 0 for what is not of interest. */
static uint64_t files[FILES_MAX];
static char root[PATH_MAX];
static size_t root_length;
static int log_file = -1;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
  if (next_openat != NULL) return;
  CALLS(FIND)
  const char *folder = getenv("FAULTS_FOLDER"), *page = getenv("FAULTS_CONTROL");
  const char *log = getenv("FAULTS_LOG");
  if (folder == NULL || page == NULL || strlen(folder) >= sizeof root) return;
  int file = next_openat(AT_FDCWD, page, O_RDWR | O_CLOEXEC);
  void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  next_close(file);
  if (shared == MAP_FAILED) return;
  control = shared;
  strcpy(root, folder);
  root_length = strlen(root);
  if (log != NULL)
    log_file = next_openat(AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static uint64_t file_of(int fd) {
  return fd < 0 || fd >= FILES_MAX ? 0 : __atomic_load_n(&files[fd], __ATOMIC_SEQ_CST);
}

static void remember(int fd, uint64_t file) {
  if (fd >= 0 && fd < FILES_MAX) __atomic_store_n(&files[fd], file, __ATOMIC_SEQ_CST);
}

/* The log: `Operation` in log.rs. */

enum kind { OPEN = 1, WRITE, SIZE, SYNC, RENAME, UNLINK, LINK, FOLDER, SAID, REFUSED };

struct head {
  uint32_t kind, flag, path_bytes, other_bytes;
  uint64_t file, at, bytes;
};

/* Calls come one at a time, and a record is one write, so that none is torn. */
static void record(struct head head, const char *path, const char *other, const void *bytes) {
  if (log_file < 0) return;
  head.path_bytes = path ? strlen(path) : 0;
  head.other_bytes = other ? strlen(other) : 0;
  size_t length = sizeof head + head.path_bytes + head.other_bytes + (bytes ? head.bytes : 0);
  char *whole = malloc(length), *end = whole;
  if (whole == NULL) abort();
  end = mempcpy(end, &head, sizeof head);
  end = mempcpy(end, path ? path : "", head.path_bytes);
  end = mempcpy(end, other ? other : "", head.other_bytes);
  if (bytes) memcpy(end, bytes, head.bytes);
  if (next_write(log_file, whole, length) != (ssize_t)length) abort();
  free(whole);
}

/* Which paths are of interest. */

/* The path below the folder, or NULL. By its text: what is of interest has no links. */
static const char *inside(int folder, const char *path, char full[PATH_MAX]) {
  if (root_length == 0 || path == NULL) return NULL;
  char from[64], start[PATH_MAX] = "";
  if (path[0] != '/') {
    if (folder == AT_FDCWD) {
      if (getcwd(start, sizeof start) == NULL) return NULL;
    } else {
      snprintf(from, sizeof from, "/proc/self/fd/%d", folder);
      ssize_t length = readlink(from, start, sizeof start - 1);
      if (length < 0) return NULL;
      start[length] = 0;
    }
  }
  /* "." and empty parts go, ".." takes the part before it with it. */
  size_t length = strlen(start);
  if (length + strlen(path) + 2 > PATH_MAX) return NULL;
  memcpy(full, start, length + 1);
  while (*path) {
    size_t part = strcspn(path, "/");
    if (part == 2 && path[0] == '.' && path[1] == '.') {
      while (length > 0 && full[--length] != '/') continue;
    } else if (part > 0 && !(part == 1 && path[0] == '.')) {
      full[length++] = '/';
      memcpy(full + length, path, part);
      length += part;
    }
    path += part + (path[part] == '/');
  }
  full[length] = 0;
  if (strncmp(full, root, root_length) != 0) return NULL;
  if (full[root_length] == 0) return full + root_length;
  return full[root_length] == '/' ? full + root_length + 1 : NULL;
}

/* Which call fails, and with what. */

/* What a call wants of the disk. */
enum want { TO_CREATE, TO_GROW, TO_CHANGE, TO_OPEN };

/* 0, or the errno with which the call fails. */
static int strike(enum want want) {
  enum fault fault = READ(fault);
  /* To open a file for writing changes nothing, and is asked for by one fault only. */
  if (want == TO_OPEN) return fault == READ_ONLY && READ(spared) <= 0 ? EROFS : 0;
  ADD(calls, 1);
  if (fault == NO_FAULT) return 0;
  int64_t spared = ADD(spared, -1);
  if (spared > 0) return 0;
  bool takes = want == TO_CREATE || want == TO_GROW;
  switch (fault) {
    case FULL: return takes && READ(free_bytes) <= 0 ? ENOSPC : 0;
    case FAILS: return READ(error);
    case READ_ONLY: return EROFS;
    case NTH_FAILS: return spared == 0 ? READ(error) : 0;
    default: return 0;
  }
}

static bool is_full(void) { return READ(fault) == FULL && READ(spared) <= 0; }

/* What a full disk gets back, or gives. */
static void give_back(int64_t bytes) {
  if (is_full()) ADD(free_bytes, bytes);
}

static int64_t size_of(int fd) {
  struct stat about;
  return fstat(fd, &about) == 0 ? about.st_size : 0;
}

/* What a file occupies that is about to lose its last name. */
static int64_t size_at(int folder, const char *path) {
  struct stat about;
  bool there = fstatat(folder, path, &about, AT_SYMLINK_NOFOLLOW) == 0;
  return there && S_ISREG(about.st_mode) && about.st_nlink == 1 ? about.st_size : 0;
}

/* Ends a call that is to fail. */
static int refuse(int error) {
  ADD(struck, 1);
  record((struct head){.kind = REFUSED, .flag = error}, NULL, NULL, NULL);
  pthread_mutex_unlock(&one_at_a_time);
  errno = error;
  return -1;
}

/* Ends a call: with its own errno. */
static int64_t done(int64_t result) {
  int error = errno;
  pthread_mutex_unlock(&one_at_a_time);
  errno = error;
  return result;
}

static void start(void) { pthread_mutex_lock(&one_at_a_time); }
