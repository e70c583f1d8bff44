/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A checkout may lie under a folder that is closed to others, and may itself have been made with
 * umask 077, while deputies and shepherds run as each job's user. So the programs are opened once, by the launcher, and
 * started by descriptor. Where the file itself is closed to others, root starts a copy in memory. A rebuild does not
 * disturb a launcher that runs: it goes on with the programs it began with, which fit each other.
 */
#include "programs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_TO_ALL 0005

static int copy_in_memory(int file, const char *name, off_t size) {
    int memory = memfd_create(name, MFD_CLOEXEC);
    if (memory < 0)
        return -errno;
    while (size > 0) {
        ssize_t moved = sendfile(memory, file, NULL, (size_t)size);
        if (moved <= 0) {
            int error = moved == 0 ? EIO : errno;
            close(memory);
            return -error;
        }
        size -= moved;
    }
    /* A descriptor that may write would make the kernel refuse to execute it (ETXTBSY). */
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    int readable = fchmod(memory, 0755) == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    int error = errno;
    close(memory);
    return readable >= 0 ? readable : -error;
}

/* 0 and a descriptor, or -1 in its place when there is no such program; else -errno. */
static int open_program(const char *folder, const char *name, int *program) {
    char path[PATH_MAX];
    struct stat status;
    *program = -1;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return -ENAMETOOLONG;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return errno == ENOENT ? 0 : -errno;
    if (geteuid() != 0 || fstat(file, &status) != 0 || (status.st_mode & OPEN_TO_ALL) == OPEN_TO_ALL) {
        *program = file;
        return 0;
    }
    int copy = copy_in_memory(file, name, status.st_size);
    close(file);
    if (copy < 0)
        return copy;
    *program = copy;
    return 0;
}

int programs_open(struct programs *programs) {
    char folder[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (length < 0)
        return -errno;
    folder[length] = 0;
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        return -EINVAL;
    *slash = 0;
    int written = snprintf(programs->agent, sizeof programs->agent, "%s/../../dist/runtime/agent/main.js", folder);
    if (written < 0 || (size_t)written >= sizeof programs->agent)
        return -ENAMETOOLONG;
    int result = open_program(folder, "runon", &programs->runon);
    if (result == 0)
        result = open_program(folder, "shepherd", &programs->shepherd);
    if (result == 0)
        result = open_program(folder, "restorer", &programs->restorer);
    return result;
}
