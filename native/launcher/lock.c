/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. The lock is a flock on skeind.pid, held by the launcher (both processes of it in isolate mode)
 * until the last of them is dead, and not by anything it executes. A launcher that was just killed may still be on its
 * way out: when the lock is held but the pid in the file is dead, it is waited for. A file that was removed while we
 * waited for its lock is not the file that others lock: look again.
 */
#include "lock.h"
#include "../enter/pidfile.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DYING_LIMIT_S 3

static void interrupt(int signal) {
    (void)signal;
}

/* A blocking flock with a limit. 0 or -errno (-EWOULDBLOCK: still held). */
static int wait_for_lock(int file) {
    struct sigaction action = {.sa_handler = interrupt}, before;
    if (sigaction(SIGALRM, &action, &before) != 0)
        return -errno;
    alarm(DYING_LIMIT_S);
    int result = flock(file, LOCK_EX) == 0 ? 0 : errno == EINTR ? -EWOULDBLOCK : -errno;
    alarm(0);
    sigaction(SIGALRM, &before, NULL);
    return result;
}

static int try_lock(int file, const char *path) {
    struct pidfile other;
    if (flock(file, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return -errno;
    /* A file without a pid is a launcher's that has just begun. */
    if (pidfile_read(path, &other) == 0 && !pidfile_alive(&other))
        return wait_for_lock(file);
    return -EWOULDBLOCK;
}

static int same_file(int file, const char *path) {
    struct stat mine, there;
    return fstat(file, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

int lock_state(const char *state) {
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/skeind.pid", state) >= sizeof path) {
        report_failure("the name of the state folder is too long");
        return -1;
    }
    for (;;) {
        int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (file < 0) {
            report_failure("can't write in the state folder %s: %s", state, strerror(errno));
            return -1;
        }
        int result = try_lock(file, path);
        if (result == 0 && !same_file(file, path)) {
            close(file);
            continue;
        }
        struct pidfile self, other;
        if (result == 0)
            result = pidfile_describe(getpid(), false, &self);
        if (result == 0)
            result = pidfile_store(file, &self);
        if (result == 0)
            return file;
        if (result == -EWOULDBLOCK && pidfile_read(path, &other) == 0)
            report_failure("another skeind (pid %d) is running for %s", (int)other.pid, state);
        else if (result == -EWOULDBLOCK)
            report_failure("another skeind is running for %s", state);
        else
            report_failure("can't write %s: %s", path, strerror(-result));
        close(file);
        return -1;
    }
}

void unlock_state(const char *state) {
    static const char *const names[] = {"node.pid", "skeind.pid"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_MAX];
        if ((size_t)snprintf(path, sizeof path, "%s/%s", state, names[i]) < sizeof path && unlink(path) != 0 &&
            errno != ENOENT)
            report_line("can't remove %s: %s", path, strerror(errno));
    }
}
