/* Stands before the C library (LD_PRELOAD) and sees every call that changes a file
 * under FAULTS_FOLDER: it writes them down in order (FAULTS_LOG), lets some of them
 * fail, and shifts the wall clock, as a page shared with the test (FAULTS_CONTROL) says.
 * What the calls mean, and what a disk may hold after them, is not known here.
 *
 * How it stays out of the way: a descriptor that is not of interest costs one look into
 * a table and no system call, so that a process under seccomp is no worse off with it;
 * no lock is taken for such a descriptor, so that a child between fork and exec cannot
 * hang; what was inherited over exec is not of interest.
 *
 * What it cannot see: raw system calls (rustix's linux_raw, io_uring), stores through a
 * writable mmap (SQLite's -shm, which is not meant to last), links of the symbolic kind.
 * Who reads the log holds its end against the real folder, so that a gap is found.
 *
 * The file MARK of the folder is not there: what is written to it goes into the log as
 * a mark, between the operations before it and after it. It never fails. */
#include "shim.h"

/* Names. */

static int open_file(int folder, const char *path, int flags, mode_t mode) {
  begin();
  char full[PATH_MAX];
  const char *name = inside(folder, path, full);
  if (name == NULL) {
    int fd = next_openat(folder, path, flags, mode);
    remember(fd, 0);
    return fd;
  }
  if (strcmp(name, "MARK") == 0) {
    int fd = next_openat(AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC);
    remember(fd, MARK);
    return fd;
  }
  start();
  struct stat before, after;
  bool was_there = fstatat(folder, path, &before, 0) == 0;
  bool writes = (flags & O_ACCMODE) != O_RDONLY;
  bool creates = !was_there && (flags & O_CREAT);
  bool empties = was_there && writes && (flags & O_TRUNC) && before.st_size > 0;
  int error = creates ? strike(TO_CREATE) : empties ? strike(TO_CHANGE)
              : writes ? strike(TO_OPEN) : 0;
  if (error) return refuse(error);
  int fd = next_openat(folder, path, flags, mode);
  if (fd < 0 || fstat(fd, &after) != 0) return done(fd);
  remember(fd, after.st_ino);
  bool is_folder = S_ISDIR(after.st_mode);
  struct head head = {.kind = OPEN, .flag = creates | is_folder << 1, .file = after.st_ino};
  record(head, name, NULL, NULL);
  if (empties) {
    give_back(before.st_size);
    record((struct head){.kind = SIZE, .file = after.st_ino}, NULL, NULL, NULL);
  }
  return done(fd);
}

#define MODE(flags, last)                                                              \
  mode_t mode = 0;                                                                     \
  if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) {                     \
    va_list rest;                                                                      \
    va_start(rest, last);                                                              \
    mode = va_arg(rest, mode_t);                                                       \
    va_end(rest);                                                                      \
  }

int open(const char *path, int flags, ...) {
  MODE(flags, flags)
  return open_file(AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
  MODE(flags, flags)
  return open_file(folder, path, flags, mode);
}

int creat(const char *path, mode_t mode) {
  return open_file(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* A name that changes: the strike, the call, the record. */
#define CHANGE_NAME(want, freed, call, ...)                                            \
  start();                                                                             \
  int error = strike(want);                                                            \
  if (error) return refuse(error);                                                     \
  int64_t freed_bytes = (freed);                                                       \
  int result = (call);                                                                 \
  if (result == 0) {                                                                   \
    give_back(freed_bytes);                                                            \
    record(__VA_ARGS__, NULL);                                                         \
  }                                                                                    \
  return done(result)

int renameat2(int folder, const char *from, int to_folder, const char *to, unsigned flags) {
  begin();
  char one[PATH_MAX], two[PATH_MAX];
  const char *name = inside(folder, from, one), *other = inside(to_folder, to, two);
  if (name == NULL || other == NULL) return next_renameat2(folder, from, to_folder, to, flags);
  CHANGE_NAME(TO_CHANGE, size_at(to_folder, to),
              next_renameat2(folder, from, to_folder, to, flags),
              (struct head){.kind = RENAME}, name, other);
}

int renameat(int folder, const char *from, int to_folder, const char *to) {
  return renameat2(folder, from, to_folder, to, 0);
}

int rename(const char *from, const char *to) {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int folder, const char *path, int flags) {
  begin();
  char full[PATH_MAX];
  const char *name = inside(folder, path, full);
  if (name == NULL) return next_unlinkat(folder, path, flags);
  CHANGE_NAME(TO_CHANGE, size_at(folder, path), next_unlinkat(folder, path, flags),
              (struct head){.kind = UNLINK}, name, NULL);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int linkat(int folder, const char *from, int to_folder, const char *to, int flags) {
  begin();
  char one[PATH_MAX], two[PATH_MAX];
  const char *name = inside(folder, from, one), *other = inside(to_folder, to, two);
  if (name == NULL || other == NULL) return next_linkat(folder, from, to_folder, to, flags);
  CHANGE_NAME(TO_CREATE, 0, next_linkat(folder, from, to_folder, to, flags),
              (struct head){.kind = LINK}, name, other);
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int mkdirat(int folder, const char *path, mode_t mode) {
  begin();
  char full[PATH_MAX];
  const char *name = inside(folder, path, full);
  if (name == NULL) return next_mkdirat(folder, path, mode);
  CHANGE_NAME(TO_CREATE, 0, next_mkdirat(folder, path, mode),
              (struct head){.kind = FOLDER}, name, NULL);
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* Bytes. */

/* Writes at a place, or where the descriptor stands (-1). A disk that is nearly full
 * takes what it can, as a real one does. */
static ssize_t write_file(int fd, const void *bytes, size_t length, off_t at) {
  uint64_t file = file_of(fd);
  if (file == MARK) {
    start();
    record((struct head){.kind = SAID, .bytes = length}, NULL, NULL, bytes);
    return done(length);
  }
  start();
  bool appends = next_fcntl(fd, F_GETFL) & O_APPEND;
  int64_t size = size_of(fd), from = at;
  if (at < 0) from = appends ? size : lseek(fd, 0, SEEK_CUR);
  int64_t grows = from + (int64_t)length - size;
  int error = strike(grows > 0 ? TO_GROW : TO_CHANGE);
  if (error) return refuse(error);
  if (grows > 0 && is_full()) {
    int64_t lacks = grows - READ(free_bytes);
    if (lacks > 0) {
      if (lacks >= (int64_t)length) return refuse(ENOSPC);
      length -= lacks;
      grows -= lacks;
    }
    give_back(-grows);
  }
  ssize_t written = at < 0 ? next_write(fd, bytes, length) : next_pwrite(fd, bytes, length, at);
  if (written > 0) {
    struct head head = {.kind = WRITE, .file = file, .at = from, .bytes = written};
    record(head, NULL, NULL, bytes);
  }
  return done(written);
}

/* Pieces are written as one: that is what the caller is promised. */
static ssize_t write_pieces(int fd, const struct iovec *pieces, int count, off_t at) {
  size_t length = 0;
  for (int i = 0; i < count; i++) length += pieces[i].iov_len;
  char *whole = malloc(length + 1), *end = whole;
  if (whole == NULL) abort();
  for (int i = 0; i < count; i++) end = mempcpy(end, pieces[i].iov_base, pieces[i].iov_len);
  ssize_t written = write_file(fd, whole, length, at);
  int error = errno;
  free(whole);
  errno = error;
  return written;
}

ssize_t write(int fd, const void *bytes, size_t length) {
  begin();
  return file_of(fd) ? write_file(fd, bytes, length, -1) : next_write(fd, bytes, length);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
  begin();
  return file_of(fd) ? write_file(fd, bytes, length, at) : next_pwrite(fd, bytes, length, at);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
  begin();
  return file_of(fd) ? write_pieces(fd, pieces, count, -1) : next_writev(fd, pieces, count);
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at) {
  begin();
  return file_of(fd) ? write_pieces(fd, pieces, count, at) : next_pwritev(fd, pieces, count, at);
}

/* What would copy past us says that it cannot: the caller then reads and writes. */
ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t length, unsigned flags) {
  begin();
  if (!file_of(out)) return next_copy_file_range(in, from, out, to, length, flags);
  errno = ENOSYS;
  return -1;
}

ssize_t sendfile(int out, int in, off_t *from, size_t length) {
  begin();
  if (!file_of(out)) return next_sendfile(out, in, from, length);
  errno = EINVAL;
  return -1;
}

/* Changes a file's size; a hole takes no room, what is cut off gives it back. */
static int size_file(int fd, off_t size, int allocates, off_t length) {
  start();
  int64_t before = size_of(fd);
  bool grows = allocates >= 0 && size + length > before;
  int error = strike(grows ? TO_GROW : TO_CHANGE);
  if (!error && grows && is_full() && size + length - before > READ(free_bytes)) error = ENOSPC;
  if (error) return refuse(error);
  int result =
      allocates >= 0 ? next_fallocate(fd, allocates, size, length) : next_ftruncate(fd, size);
  int64_t after = size_of(fd);
  if (result == 0 && after != before) {
    if (grows || after < before) give_back(before - after);
    struct head head = {.kind = SIZE, .file = file_of(fd), .at = after};
    record(head, NULL, NULL, NULL);
  }
  return done(result);
}

int ftruncate(int fd, off_t size) {
  begin();
  return file_of(fd) ? size_file(fd, size, -1, 0) : next_ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t at, off_t length) {
  begin();
  return file_of(fd) ? size_file(fd, at, mode, length) : next_fallocate(fd, mode, at, length);
}

int posix_fallocate(int fd, off_t at, off_t length) {
  return fallocate(fd, 0, at, length) == 0 ? 0 : errno;
}

/* A sync that fails is written down as well: what it was to save is then in doubt. */
static int sync_file(int fd, int (*call)(int)) {
  begin();
  uint64_t file = file_of(fd);
  if (file == 0 || file == MARK) return call(fd);
  if (READ(swallows)) return 0;
  start();
  int error = strike(TO_CHANGE);
  int result = error ? -1 : call(fd);
  if (error) {
    ADD(struck, 1);
    errno = error;
  }
  error = errno;
  record((struct head){.kind = SYNC, .flag = result != 0, .file = file}, NULL, NULL, NULL);
  errno = error;
  return done(result);
}

int fsync(int fd) { return sync_file(fd, next_fsync); }

int fdatasync(int fd) { return sync_file(fd, next_fdatasync); }

/* Descriptors. */

int close(int fd) {
  begin();
  remember(fd, 0);
  return next_close(fd);
}

int dup(int fd) {
  begin();
  int new = next_dup(fd);
  remember(new, file_of(fd));
  return new;
}

int dup2(int fd, int to) {
  begin();
  int new = next_dup2(fd, to);
  if (new >= 0) remember(new, file_of(fd));
  return new;
}

int dup3(int fd, int to, int flags) {
  begin();
  int new = next_dup3(fd, to, flags);
  if (new >= 0) remember(new, file_of(fd));
  return new;
}

int fcntl(int fd, int command, ...) {
  begin();
  va_list rest;
  va_start(rest, command);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  int result = next_fcntl(fd, command, argument);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) remember(result, file_of(fd));
  return result;
}

/* The wall clock. Clocks that only go forward are left alone. */

int clock_gettime(clockid_t clock, struct timespec *now) {
  begin();
  int result = next_clock_gettime(clock, now);
  bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
  if (result == 0 && is_wall) now->tv_sec += READ(clock_s);
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec exact;
  int result = clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return result;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now != NULL) *now = exact.tv_sec;
  return exact.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
  return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

/* On 64 bits the large-file forms are the same calls. */
#define SAME(name, as) extern __typeof__(as) name __attribute__((alias(#as)));
SAME(open64, open)
SAME(openat64, openat)
SAME(creat64, creat)
SAME(pwrite64, pwrite)
SAME(pwritev64, pwritev)
SAME(ftruncate64, ftruncate)
SAME(fallocate64, fallocate)
SAME(posix_fallocate64, posix_fallocate)
SAME(sendfile64, sendfile)
SAME(fcntl64, fcntl)
