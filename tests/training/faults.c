/* Counts what a process asks of the disk, and fails or dies at the call it is told to.
 *
 * Preloaded into a test. fault_arm(n, mode, limit) counts calls from 0 again; at the n-th (from 1):
 * mode 1 fails with EIO, mode 2 ends the process as kill -9 does, mode 3 lets half of a write
 * through and then ends it. With limit >= 0 writes fail with ENOSPC once that many bytes are
 * written. fault_calls() and fault_bytes() say how many there were. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int armed, target, mode;
static long calls, bytes, limit = -1;

void fault_arm(int n, int m, long l) { target = n; mode = m; limit = l; calls = bytes = 0; armed = 1; }
long fault_calls(void) { armed = 0; return calls; }
long fault_bytes(void) { return bytes; }

#define REAL(name) static typeof(name) *real; if (!real) real = (typeof(name) *)dlsym(RTLD_NEXT, #name)

static int fails(void) {
    if (!armed || ++calls != target) return 0;
    if (mode >= 2) kill(getpid(), SIGKILL);
    errno = EIO;
    return 1;
}

#define WRAP(name, declared, passed) \
    int name declared { REAL(name); return fails() ? -1 : real passed; }

WRAP(fsync, (int fd), (fd))
WRAP(fdatasync, (int fd), (fd))
WRAP(rename, (const char *a, const char *b), (a, b))
WRAP(renameat, (int d, const char *a, int e, const char *b), (d, a, e, b))
WRAP(renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f))
WRAP(unlink, (const char *a), (a))
WRAP(unlinkat, (int d, const char *a, int f), (d, a, f))
WRAP(rmdir, (const char *a), (a))
WRAP(mkdir, (const char *a, mode_t m), (a, m))
WRAP(ftruncate, (int fd, off_t n), (fd, n))
WRAP(ftruncate64, (int fd, off64_t n), (fd, n))

static int to_disk(int fd) {
    struct stat s;
    return armed && fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
}

ssize_t write(int fd, const void *data, size_t count) {
    REAL(write);
    if (!to_disk(fd)) return real(fd, data, count);
    if (mode == 3 && calls + 1 == target && count > 1) real(fd, data, count / 2);
    if (fails()) return -1;
    if (limit >= 0 && bytes + (long)count > limit) {
        if (bytes >= limit) { errno = ENOSPC; return -1; }
        count = limit - bytes;
    }
    ssize_t written = real(fd, data, count);
    if (written > 0) bytes += written;
    return written;
}

#define OPEN(name, declared, passed) \
    int name declared { \
        REAL(name); \
        mode_t permissions = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; va_start(rest, flags); permissions = va_arg(rest, mode_t); va_end(rest); \
            if ((flags & O_CREAT) && fails()) return -1; \
        } \
        return real passed; \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, permissions))
OPEN(open64, (const char *path, int flags, ...), (path, flags, permissions))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, permissions))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, permissions))
