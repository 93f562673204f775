/* Numbers every operation that changes files below one folder, and has the one with a given number go wrong.

   Preloaded into a process, so that what SQLite and other C code do is numbered too. Nothing happens until `fault_arm`
   was called. An operation's number is the same whatever is to happen at it, so a run that is left alone tells which
   operations there are: one line each in the log, "NUMBER NAME PATH". Programs that the process runs are numbered with
   it where FAULT_ARM tells them what it was armed with; when one of them is to die, the process dies as well. A disk is
   full until there is a file beside the log whose name ends with ".room". */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KILL, TORN, FULL, BROKEN }; /* killed before it; killed half-way; no space from here on; one error of the disk */
enum { FDS = 65536 };

static char under[PATH_MAX], room_made[PATH_MAX];
static size_t under_length;
static long wanted, *passed; /* shared by all that are numbered together */
static int mode, armed, log_fd = -1;
static pid_t first;
static unsigned char ours[FDS];

static void arm(const char *folder, long number, int how, const char *log, pid_t process, int fresh) {
    char count[PATH_MAX];
    int fd;
    snprintf(under, sizeof under, "%s", folder);
    under_length = strlen(under);
    wanted = number;
    mode = how;
    first = process;
    snprintf(count, sizeof count, "%s.count", log);
    snprintf(room_made, sizeof room_made, "%s.room", log);
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (fresh ? O_TRUNC : 0), 0600);
    fd = syscall(SYS_openat, AT_FDCWD, count, O_RDWR | O_CREAT | O_CLOEXEC | (fresh ? O_TRUNC : 0), 0600);
    syscall(SYS_ftruncate, fd, (off_t)sizeof *passed);
    passed = mmap(NULL, sizeof *passed, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    armed = 1;
}

void fault_arm(const char *folder, long number, int how, const char *log) {
    arm(folder, number, how, log, getpid(), 1);
}

__attribute__((constructor)) static void arm_as_told(void) {
    char folder[PATH_MAX], log[PATH_MAX];
    long number, process;
    int how;
    const char *told = getenv("FAULT_ARM");
    if (told && sscanf(told, "%4095[^\n]\n%ld\n%d\n%4095[^\n]\n%ld", folder, &number, &how, log, &process) == 5)
        arm(folder, number, how, log, (pid_t)process, 0);
}

static const char *full_path(int at, const char *path, char *room) {
    ssize_t length;
    char link[64];
    if (path[0] == '/') return path;
    if (at == AT_FDCWD) {
        if (!getcwd(room, PATH_MAX)) return path;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        length = readlink(link, room, PATH_MAX - 1);
        if (length < 0) return path;
        room[length] = 0;
    }
    snprintf(room + strlen(room), PATH_MAX - strlen(room), "/%s", path);
    return room;
}

static int is_under(int at, const char *path, char *room) {
    const char *whole;
    if (!armed || !path) return 0;
    whole = full_path(at, path, room);
    if (whole != room) snprintf(room, PATH_MAX, "%s", whole);
    return strncmp(room, under, under_length) == 0 && (room[under_length] == '/' || !room[under_length]);
}

static void die(void) {
    if (first != getpid()) syscall(SYS_kill, first, SIGKILL);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Count one operation; returns 0 to do it, 1 to do half of it and then `half_done`, else the error it ends with.
   `writes` is what a full disk refuses, `whole` what has no middle. */
static int passing(const char *name, const char *path, int writes, int whole) {
    char line[PATH_MAX + 64];
    long number = __atomic_add_fetch(passed, 1, __ATOMIC_SEQ_CST);
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, name, path);
    if (log_fd >= 0) syscall(SYS_write, log_fd, line, (size_t)length);
    if (!wanted || number < wanted) return 0;
    if (mode == FULL) {
        if (!writes || !syscall(SYS_faccessat, AT_FDCWD, room_made, F_OK)) return 0;
        return number == wanted && !whole ? 1 : ENOSPC;
    }
    if (number > wanted) return 0;
    if (mode == BROKEN) return EIO;
    if (mode == TORN && !whole) return 1;
    die();
    return 0;
}

static ssize_t half_done(ssize_t done) {
    if (mode == TORN) die();
    return done;
}

static int fd_path(int fd, char *room) {
    char link[64];
    ssize_t length;
    if (!armed || fd < 0 || fd >= FDS || !ours[fd]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, room, PATH_MAX - 1);
    room[length < 0 ? 0 : length] = 0;
    return 1;
}

static int opened(int at, const char *path, int flags, mode_t mode_of) {
    char room[PATH_MAX];
    int fd, error, mine = 0;
    if ((flags & O_ACCMODE) != O_RDONLY && is_under(at, path, room)) {
        mine = 1;
        error = passing(flags & O_CREAT ? "create" : "open", room, (flags & O_CREAT) != 0, 1);
        if (error) return errno = error, -1;
    }
    fd = syscall(SYS_openat, at, path, flags, mode_of);
    if (fd >= 0 && fd < FDS) ours[fd] = mine;
    return fd;
}

#define MODE_OF(flags) \
    mode_t mode_of = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode_of = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode_of); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode_of); }
int openat(int at, const char *path, int flags, ...) { MODE_OF(flags) return opened(at, path, flags, mode_of); }
int openat64(int at, const char *path, int flags, ...) { MODE_OF(flags) return opened(at, path, flags, mode_of); }

int close(int fd) {
    if (fd >= 0 && fd < FDS) ours[fd] = 0;
    return syscall(SYS_close, fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    char room[PATH_MAX];
    int error;
    if (fd_path(fd, room) && (error = passing("write", room, 1, size < 2))) {
        if (error == 1) return half_done(syscall(SYS_write, fd, data, size / 2));
        return errno = error, -1;
    }
    return syscall(SYS_write, fd, data, size);
}

static ssize_t written_at(int fd, const void *data, size_t size, off_t at) {
    char room[PATH_MAX];
    int error;
    if (fd_path(fd, room) && (error = passing("write", room, 1, size < 2))) {
        if (error == 1) return half_done(syscall(SYS_pwrite64, fd, data, size / 2, at));
        return errno = error, -1;
    }
    return syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written_at(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return written_at(fd, data, size, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char room[PATH_MAX];
    int error;
    if (fd_path(fd, room) && (error = passing("write", room, 1, 0))) {
        if (error == 1) return half_done(syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len / 2));
        return errno = error, -1;
    }
    return syscall(SYS_writev, fd, parts, count);
}

static ssize_t copied(int to, int from, off_t *at, size_t size) {
    char room[PATH_MAX];
    int error;
    if (fd_path(to, room) && (error = passing("write", room, 1, 0))) {
        if (error == 1) return half_done(syscall(SYS_sendfile, to, from, at, size / 2));
        return errno = error, -1;
    }
    return syscall(SYS_sendfile, to, from, at, size);
}

ssize_t sendfile(int to, int from, off_t *at, size_t size) { return copied(to, from, at, size); }
ssize_t sendfile64(int to, int from, off_t *at, size_t size) { return copied(to, from, at, size); }

ssize_t copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size, unsigned flags) {
    char room[PATH_MAX];
    int error;
    if (fd_path(to, room) && (error = passing("write", room, 1, 0))) {
        if (error == 1) return half_done(syscall(SYS_copy_file_range, from, from_at, to, to_at, size / 2, flags));
        return errno = error, -1;
    }
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, size, flags);
}

#define ON_FD(name, number, writes, ...) \
    { \
        char room[PATH_MAX]; \
        int error; \
        if (fd_path(fd, room) && (error = passing(name, room, writes, 1))) return errno = error, -1; \
        return syscall(number, __VA_ARGS__); \
    }

int fsync(int fd) ON_FD("sync", SYS_fsync, 0, fd)
int fdatasync(int fd) ON_FD("sync", SYS_fdatasync, 0, fd)
int ftruncate(int fd, off_t size) ON_FD("truncate", SYS_ftruncate, 0, fd, size)
int ftruncate64(int fd, off_t size) ON_FD("truncate", SYS_ftruncate, 0, fd, size)
int fchmod(int fd, mode_t mode_of) ON_FD("chmod", SYS_fchmod, 0, fd, mode_of)

#define ON_PATH(name, writes, at, path, ...) \
    { \
        char room[PATH_MAX]; \
        int error; \
        if (is_under(at, path, room) && (error = passing(name, room, writes, 1))) return errno = error, -1; \
        return syscall(__VA_ARGS__); \
    }

int rename(const char *old, const char *new) ON_PATH("rename", 0, AT_FDCWD, new, SYS_rename, old, new)
int renameat(int from, const char *old, int at, const char *new)
    ON_PATH("rename", 0, at, new, SYS_renameat, from, old, at, new)
int link(const char *old, const char *new) ON_PATH("link", 1, AT_FDCWD, new, SYS_link, old, new)
int linkat(int from, const char *old, int at, const char *new, int flags)
    ON_PATH("link", 1, at, new, SYS_linkat, from, old, at, new, flags)
int symlink(const char *old, const char *new) ON_PATH("symlink", 1, AT_FDCWD, new, SYS_symlink, old, new)
int symlinkat(const char *old, int at, const char *new) ON_PATH("symlink", 1, at, new, SYS_symlinkat, old, at, new)
int mkdir(const char *path, mode_t mode_of) ON_PATH("mkdir", 1, AT_FDCWD, path, SYS_mkdir, path, mode_of)
int mkdirat(int at, const char *path, mode_t mode_of) ON_PATH("mkdir", 1, at, path, SYS_mkdirat, at, path, mode_of)
int unlink(const char *path) ON_PATH("unlink", 0, AT_FDCWD, path, SYS_unlink, path)
int unlinkat(int at, const char *path, int flags) ON_PATH("unlink", 0, at, path, SYS_unlinkat, at, path, flags)
int rmdir(const char *path) ON_PATH("rmdir", 0, AT_FDCWD, path, SYS_rmdir, path)
int truncate(const char *path, off_t size) ON_PATH("truncate", 0, AT_FDCWD, path, SYS_truncate, path, size)
int chmod(const char *path, mode_t mode_of) ON_PATH("chmod", 0, AT_FDCWD, path, SYS_chmod, path, mode_of)
int fchmodat(int at, const char *path, mode_t mode_of, int flags)
    ON_PATH("chmod", 0, at, path, SYS_fchmodat, at, path, mode_of, flags)
