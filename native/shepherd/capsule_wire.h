/* SPDX-License-Identifier: Apache-2.0
 *
 * What the shepherd and the capsule's init say to each other, over a stream socketpair. Both ends are of one build and
 * trust each other; lengths are still checked.
 */
#ifndef SKEIN_CAPSULE_WIRE_H
#define SKEIN_CAPSULE_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CAPSULE_MAX_PAYLOAD (8u << 20)
#define CAPSULE_MAX_FDS 4

enum capsule_type {
    /* shepherd → init; each is answered once, by CAPSULE_DONE */
    CAPSULE_MOUNT = 1, /* payload: struct capsule_identity. First CAPSULE_FUSE comes with /dev/fuse */
    CAPSULE_STDIO,     /* value: bit 0 terminal, bits 1-3: pipes wanted for 0, 1, 2. The answer carries the host ends */
    CAPSULE_SPAWN,     /* payload: struct capsule_program and its strings. The answer: value = pid, or -errno */
    CAPSULE_RESTORE,   /* value: pid to make; payload: struct capsule_group. The answer: value = 0 or -errno */
    CAPSULE_TIME,      /* payload: struct capsule_clocks. The answer: 0 or -errno */
    CAPSULE_SIGNAL,    /* value: signal; payload: int32 pid, or 0 for the terminal's foreground group */
    /* init → shepherd */
    CAPSULE_DONE = 32, /* value: result; payload: text of the step that failed */
    CAPSULE_FUSE,      /* one descriptor */
    CAPSULE_CHILD,     /* payload: struct capsule_child */
};

struct capsule_header {
    uint32_t type;
    int32_t value;
    uint32_t length;
};
struct capsule_identity {
    uint32_t uid, gid;
    char host_name[65];
};
struct capsule_program {
    uint32_t argument_count, environment_count, umask, closed; /* closed: bits 0..2, standard descriptors */
    int32_t nice;
    uint64_t limits[16][2];
    uint32_t directory_length; /* then: directory, arguments, environment, each ended by a zero */
};
struct capsule_group {
    int32_t pgid;
    uint32_t foreground;
};
struct capsule_clocks {
    uint64_t monotonic_ns, boottime_ns; /* what the task's clocks show now */
};
struct capsule_child {
    int32_t pid, status; /* wait status; stops and continues included */
    uint64_t user_us, system_us, max_rss_kib;
};

/* Send all of it. 0 or -errno. */
int capsule_send(int fd, uint32_t type, int32_t value, const void *payload, size_t length, const int *fds,
                 size_t count);
/* Receive one message: *payload is fresh memory (NULL when empty), descriptors go to fds (count in/out). 0, -errno,
 * -EPIPE at the end. */
int capsule_receive(int fd, struct capsule_header *header, void **payload, int *fds, size_t *count);

#endif
