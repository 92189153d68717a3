/* Faults at file calls, for LD_PRELOAD: see faults.py.
 *
 * All processes of a command share one `struct plan`, a file that $FAULTS names. It counts their calls that
 * change a file under `root`, where the error is EIO those that read one, too. Call number `at` ends with
 * SIGKILL before it is made, or returns the error; with `on` so do all later ones. Of a write that is to be
 * torn, the first half is made before.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct plan {
    int64_t calls, at;
    int32_t error, on; /* error 0: SIGKILL */
    char last[64];     /* the call that failed */
    char root[PATH_MAX];
};

static struct plan *plan;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAULTS");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *there = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (there != MAP_FAILED) plan = there;
}

static int below(const char *path) {
    size_t length = strlen(plan->root);
    return length && !strncmp(path, plan->root, length) && (path[length] == '/' || !path[length]);
}

/* Whether that path, seen from that directory, or that descriptor where there is no path, lies below. */
static int ours(int directory, const char *path) {
    char link[64], found[2 * PATH_MAX];
    if (!plan || !plan->root[0]) return 0;
    if (path && path[0] == '/') return below(path);
    if (directory == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, found, PATH_MAX - 1);
    if (length < 0) return 0;
    found[length] = 0;
    return below(found);
}

/* Whether this call fails; errno says how. */
static int fails(const char *call, int reads) {
    if (reads && plan->error != EIO) return 0;
    int64_t number = __atomic_add_fetch(&plan->calls, 1, __ATOMIC_SEQ_CST);
    if (!plan->at || number < plan->at || (number > plan->at && !plan->on)) return 0;
    if (number == plan->at) strncpy(plan->last, call, sizeof plan->last - 1);
    return 1;
}

static int broken(void) {
    if (!plan->error) {
        kill(getpid(), SIGKILL);
        pause();
    }
    errno = plan->error;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILS(directory, path, reads) (ours(directory, path) && fails(__func__, reads))

static int changing(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

#define MODE                                                \
    va_list rest;                                           \
    va_start(rest, flags);                                  \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest)
#define OPEN(name)                                                            \
    int name(const char *path, int flags, ...) {                              \
        MODE;                                                                 \
        return FAILS(AT_FDCWD, path, !changing(flags)) ? broken() : REAL(name)(path, flags, mode); \
    }
#define OPENAT(name)                                                          \
    int name(int directory, const char *path, int flags, ...) {               \
        MODE;                                                                 \
        return FAILS(directory, path, !changing(flags)) ? broken()            \
                                                        : REAL(name)(directory, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int fd, void *to, size_t size) {
    return FAILS(fd, NULL, 1) ? broken() : REAL(read)(fd, to, size);
}

ssize_t write(int fd, const void *from, size_t size) {
    if (!FAILS(fd, NULL, 0)) return REAL(write)(fd, from, size);
    if (size > 1 && plan->error != EROFS && plan->calls == plan->at) {
        ssize_t half = REAL(write)(fd, from, size / 2); /* what a full disk and a kill leave */
        if (plan->error == ENOSPC) {
            plan->at++; /* the rest is refused */
            return half;
        }
    }
    return broken();
}

#define ONE(result, name, takes, gives, directory, path) \
    result name takes { return FAILS(directory, path, 0) ? broken() : REAL(name) gives; }

ONE(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at), fd, NULL)
ONE(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at), fd, NULL)
ONE(ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count), fd, NULL)
ONE(ssize_t, sendfile, (int to, int from, off_t *at, size_t size), (to, from, at, size), to, NULL)
ONE(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t size), (to, from, at, size), to, NULL)
ONE(int, fsync, (int fd), (fd), fd, NULL)
ONE(int, fdatasync, (int fd), (fd), fd, NULL)
ONE(int, ftruncate, (int fd, off_t size), (fd, size), fd, NULL)
ONE(int, ftruncate64, (int fd, off64_t size), (fd, size), fd, NULL)
ONE(int, fchmod, (int fd, mode_t mode), (fd, mode), fd, NULL)
ONE(int, chmod, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
ONE(int, mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
ONE(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), at, path)
ONE(int, rmdir, (const char *path), (path), AT_FDCWD, path)
ONE(int, unlink, (const char *path), (path), AT_FDCWD, path)
ONE(int, unlinkat, (int at, const char *path, int flags), (at, path, flags), at, path)
ONE(int, rename, (const char *from, const char *to), (from, to), AT_FDCWD, to)
ONE(int, renameat, (int at, const char *from, int there, const char *to), (at, from, there, to), there, to)
ONE(int, renameat2, (int at, const char *from, int there, const char *to, unsigned flags),
    (at, from, there, to, flags), there, to)
ONE(int, link, (const char *from, const char *to), (from, to), AT_FDCWD, to)
ONE(int, linkat, (int at, const char *from, int there, const char *to, int flags),
    (at, from, there, to, flags), there, to)
ONE(int, symlink, (const char *from, const char *to), (from, to), AT_FDCWD, to)
