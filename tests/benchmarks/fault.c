/* Preloaded into a search: one of the calls that change files below a folder fails, once.
 *
 *   FAULT_ROOT    folder that is watched, resolved
 *   FAULT_LOG     file with a record of 256 bytes for each watched call, `write trials/ce-0/log.txt`
 *   FAULT_AT      index of the record whose call fails; -1: none
 *   FAULT_ERRNO   how it fails
 *
 * All is read at each call, so that a process can arm it for itself. Processes share the log.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define RECORD 256
#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int fails(const char *call, const char *path) {
    const char *root = getenv("FAULT_ROOT"), *log = getenv("FAULT_LOG");
    size_t n = root ? strlen(root) : 0;
    if (!root || !log || strncmp(path, root, n) || path[n] != '/') return 0;
    ssize_t (*real)(int, const void *, size_t) =
        (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    char record[RECORD];
    memset(record, ' ', RECORD);
    int length = snprintf(record, RECORD, "%s %s", call, path + n + 1);
    if (length < RECORD) record[length] = ' ';
    record[RECORD - 1] = '\n';
    int fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || real(fd, record, RECORD) != RECORD) abort();
    long at = lseek(fd, 0, SEEK_CUR) / RECORD - 1;
    close(fd);
    const char *wanted = getenv("FAULT_AT"), *how = getenv("FAULT_ERRNO");
    if (!wanted || !how || atol(wanted) != at) return 0;
    errno = atoi(how);
    return 1;
}

static int fails_at(const char *call, int dir, const char *path) {
    char whole[PATH_MAX];
    if (path[0] == '/') return fails(call, path);
    char link[64];
    if (dir == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t n = readlink(link, whole, PATH_MAX - 1);
        if (n < 0) return 0;
        whole[n] = 0;
    }
    size_t n = strlen(whole);
    snprintf(whole + n, PATH_MAX - n, "/%s", path);
    return fails(call, whole);
}

static int fails_on(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return fails(call, path);
}

ssize_t write(int fd, const void *data, size_t n) {
    REAL(write);
    return fails_on("write", fd) ? -1 : real(fd, data, n);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    REAL(pwrite);
    return fails_on("write", fd) ? -1 : real(fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL(pwrite64);
    return fails_on("write", fd) ? -1 : real(fd, data, n, at);
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(writev);
    return fails_on("write", fd) ? -1 : real(fd, parts, n);
}
int fsync(int fd) {
    REAL(fsync);
    return fails_on("fsync", fd) ? -1 : real(fd);
}
int fdatasync(int fd) {
    REAL(fdatasync);
    return fails_on("fsync", fd) ? -1 : real(fd);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    return fails_at("rename", AT_FDCWD, from) ? -1 : real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat);
    return fails_at("rename", a, from) ? -1 : real(a, from, b, to);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return fails_at("mkdir", AT_FDCWD, path) ? -1 : real(path, mode);
}
int mkdirat(int dir, const char *path, mode_t mode) {
    REAL(mkdirat);
    return fails_at("mkdir", dir, path) ? -1 : real(dir, path, mode);
}
