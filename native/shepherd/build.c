/* SPDX-License-Identifier: Apache-2.0
 *
 * What a start and an arrival have in common: the link to home, the capsule around home's files, standard streams.
 */
#include "../common/log.h"
#include "shepherd.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOME_TIMEOUT_MS 15000

static int attach_fuse(void *arg, int fd) {
    return relay_attach_fuse(arg, fd);
}
static int probe(void *files, bool on) {
    return relay_probe(files, on);
}
static int probe_take(void *files, uint64_t *nodeid, uint64_t *handle) {
    return relay_probe_take(files, nodeid, handle);
}
static int adopt(void *files, uint64_t nodeid, uint64_t handle) {
    return relay_adopt(files, nodeid, handle, HOME_TIMEOUT_MS);
}

int build_capsule(struct shepherd *shepherd, const char **step) {
    struct assignment *assignment = &shepherd->assignment;
    struct relay_config config = {.endpoint = assignment->endpoint,
                                  .server_key = assignment->server_key,
                                  .client_public = assignment->client_public,
                                  .client_secret = assignment->client_secret,
                                  .task = assignment->task,
                                  .epoch = assignment->epoch};
    memcpy(config.claimant, shepherd->claimant, sizeof config.claimant);
    *step = "reach home";
    int result = relay_start(&config, &shepherd->relay, HOME_TIMEOUT_MS);
    if (result)
        return result;
    *step = "read what home says of the task";
    if ((result = spec_read(shepherd)))
        return result;
    *step = "map the user's id";
    if ((result = capsule_map_ids(&shepherd->capsule, shepherd->spec.uid, shepherd->spec.gid)))
        return result;
    struct capsule_identity identity = {.uid = shepherd->spec.uid, .gid = shepherd->spec.gid};
    memcpy(identity.host_name, shepherd->spec.host_name, sizeof identity.host_name);
    *step = shepherd->capsule.step;
    if ((result = capsule_mount(&shepherd->capsule, &identity, attach_fuse, shepherd->relay)))
        return result;
    *step = "look at the capsule's mounts";
    shepherd->facts = (struct engine_capsule){.init_pid = shepherd->capsule.init_pid,
                                              .has_terminal = shepherd->spec.tty,
                                              .files = shepherd->relay,
                                              .probe = probe,
                                              .probe_take = probe_take,
                                              .adopt = adopt};
    return capsule_root(&shepherd->capsule, &shepherd->facts.file_device, &shepherd->facts.root_mount);
}

int build_stdio(struct shepherd *shepherd, struct relay_stdio *stdio) {
    const struct spec *spec = &shepherd->spec;
    int ends[3];
    bool pipes[3];
    for (int i = 0; i < 3; i++)
        pipes[i] = !(spec->tty && spec->terminals & (1u << i)) && !(spec->closed & (1u << i));
    int result = capsule_stdio(&shepherd->capsule, spec->tty, pipes, &stdio->master, ends);
    if (result)
        return result;
    stdio->in = ends[0];
    stdio->out[0] = ends[1];
    stdio->out[1] = ends[2];
    for (int i = 0; i < 3; i++) {
        struct stat status;
        if (ends[i] >= 0 && fstat(ends[i], &status))
            return -errno;
        shepherd->facts.stdio_inode[i] = ends[i] >= 0 ? status.st_ino : 0;
    }
    if (ends[0] >= 0) {
        /* Not a writer: the task must see the end of its input when the relay closes its end. */
        char path[40];
        snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
        shepherd->stdin_path = open(path, O_PATH | O_CLOEXEC);
        if (shepherd->stdin_path < 0)
            return -errno;
    }
    if (stdio->master >= 0) {
        shepherd->terminal = fcntl(stdio->master, F_DUPFD_CLOEXEC, 3);
        if (shepherd->terminal < 0)
            return -errno;
    }
    return 0;
}
