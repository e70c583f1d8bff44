/* SPDX-License-Identifier: Apache-2.0
 *
 * skeind.pid and node.pid in a node folder: who is the launcher, and whose namespaces are the node's.
 */
#ifndef SKEIN_PIDFILE_H
#define SKEIN_PIDFILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PIDFILE_BYTES 64

/* One line, `PID START MOUNTS`, padded with blanks to PIDFILE_BYTES. */
struct pidfile {
    pid_t pid;           /* as seen where skeind was started */
    uint64_t start_time; /* field 22 of /proc/PID/stat, in clock ticks: tells a recycled pid */
    uint64_t mounts;     /* inode of the node's mount namespace; 0 when the node has no namespaces of its own */
};

/* Describe a living process. 0 or -errno (-ESRCH: there is none). */
int pidfile_describe(pid_t pid, bool isolated, struct pidfile *entry);
/* Whether the process it names still lives. */
bool pidfile_alive(const struct pidfile *entry);
/* 0; -ENOENT: no such file; -EINVAL: not a pid file; other -errno. */
int pidfile_read(const char *path, struct pidfile *entry);
/* Into a file that is open: one write, so that a reader sees the old line or the new one. 0 or -errno. */
int pidfile_store(int descriptor, const struct pidfile *entry);
/* Atomically, by renaming. 0 or -errno. */
int pidfile_write(const char *path, const struct pidfile *entry);
/* The inode of a process's mount namespace (pid 0: one's own). 0 or -errno. */
int pidfile_mounts(pid_t pid, uint64_t *inode);

#endif
