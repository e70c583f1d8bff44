/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. init is cloned straight into its user, pid, mount, uts, ipc and network namespaces; we, outside,
 * own the user namespace, which is what lets us trace and read what lives in it. Requests are answered in order;
 * reports of children can come between a request and its answer and are kept.
 */
#include "capsule.h"
#include "init.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int open_restorer(void) {
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof "restorer");
    if (length <= 0)
        return -errno;
    path[length] = 0;
    char *slash = strrchr(path, '/');
    if (!slash)
        return -ENOENT;
    strcpy(slash + 1, "restorer");
    int fd = open(path, O_PATH | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int capsule_fork(struct capsule *capsule) {
    *capsule = (struct capsule){.control = -1};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return -errno;
    /* Given by descriptor when the checkout can't be read by this user; beside us otherwise. */
    const char *given = getenv("SKEIN_RESTORER_FD");
    int restorer = given ? atoi(given) : open_restorer();
    struct clone_args arguments = {.flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
                                            CLONE_NEWNET,
                                   .exit_signal = SIGCHLD};
    pid_t pid = restorer < 0 ? -1 : (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0) {
        close(ends[0]);
        init_main(ends[1], restorer);
    }
    int error = restorer < 0 ? -restorer : errno;
    close(ends[1]);
    if (restorer >= 0)
        close(restorer);
    if (pid < 0) {
        close(ends[0]);
        return -error;
    }
    capsule->init_pid = pid;
    capsule->control = ends[0];
    return 0;
}

static int write_proc(pid_t pid, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t put = write(fd, text, strlen(text));
    int result = put == (ssize_t)strlen(text) ? 0 : -errno;
    close(fd);
    return result;
}

int capsule_map_ids(struct capsule *capsule, uint32_t uid, uint32_t gid) {
    char text[64];
    int result = write_proc(capsule->init_pid, "setgroups", "deny");
    snprintf(text, sizeof text, "%u %u 1\n", uid, geteuid());
    if (!result)
        result = write_proc(capsule->init_pid, "uid_map", text);
    snprintf(text, sizeof text, "%u %u 1\n", gid, getegid());
    return result ? result : write_proc(capsule->init_pid, "gid_map", text);
}

static int keep_child(struct capsule *capsule, const struct capsule_header *header, const void *payload) {
    if (header->length != sizeof(struct capsule_child) ||
        capsule->child_count == sizeof capsule->children / sizeof *capsule->children)
        return -EOVERFLOW;
    memcpy(&capsule->children[capsule->child_count++], payload, sizeof(struct capsule_child));
    return 0;
}

/* The answer to the request that was just sent. */
static int await(struct capsule *capsule, int *fds, size_t *count) {
    for (;;) {
        struct capsule_header header;
        void *payload;
        int result = capsule_receive(capsule->control, &header, &payload, fds, count);
        if (result)
            return result;
        if (header.type == CAPSULE_CHILD) {
            result = keep_child(capsule, &header, payload);
            free(payload);
            if (result)
                return result;
            continue;
        }
        if (header.type == CAPSULE_DONE)
            snprintf(capsule->step, sizeof capsule->step, "%s", payload ? (char *)payload : "");
        free(payload);
        return header.type == CAPSULE_DONE ? header.value : -EPROTO;
    }
}

int capsule_mount(struct capsule *capsule, const struct capsule_identity *identity, int (*attach)(void *, int),
                  void *arg) {
    int result = capsule_send(capsule->control, CAPSULE_MOUNT, 0, identity, sizeof *identity, NULL, 0);
    if (result)
        return result;
    struct capsule_header header;
    void *payload;
    int fuse = -1;
    size_t count = 1;
    if ((result = capsule_receive(capsule->control, &header, &payload, &fuse, &count)))
        return result;
    if (header.type == CAPSULE_DONE)
        snprintf(capsule->step, sizeof capsule->step, "%s", payload ? (char *)payload : "");
    free(payload);
    if (header.type != CAPSULE_FUSE || count != 1)
        return header.type == CAPSULE_DONE && header.value ? header.value : -EPROTO;
    if ((result = attach(arg, fuse)))
        return result;
    return await(capsule, NULL, NULL);
}

int capsule_stdio(struct capsule *capsule, bool terminal, const bool pipes[3], int *master, int ends[3]) {
    int fds[CAPSULE_MAX_FDS];
    size_t count = CAPSULE_MAX_FDS, next = 0;
    int wanted = (terminal ? 1 : 0) | (pipes[0] ? 2 : 0) | (pipes[1] ? 4 : 0) | (pipes[2] ? 8 : 0);
    *master = ends[0] = ends[1] = ends[2] = -1;
    int result = capsule_send(capsule->control, CAPSULE_STDIO, wanted, NULL, 0, NULL, 0);
    if (!result)
        result = await(capsule, fds, &count);
    if (result)
        return result;
    size_t expected = (size_t)terminal + pipes[0] + pipes[1] + pipes[2];
    if (count != expected)
        return -EPROTO;
    if (terminal)
        *master = fds[next++];
    for (int i = 0; i < 3; i++)
        if (pipes[i])
            ends[i] = fds[next++];
    return 0;
}

int capsule_spawn(struct capsule *capsule, const void *program, size_t length) {
    int result = capsule_send(capsule->control, CAPSULE_SPAWN, 0, program, length, NULL, 0);
    return result ? result : await(capsule, NULL, NULL);
}

int capsule_restore(struct capsule *capsule, pid_t pid, const struct capsule_group *group) {
    int result = capsule_send(capsule->control, CAPSULE_RESTORE, pid, group, sizeof *group, NULL, 0);
    return result ? result : await(capsule, NULL, NULL);
}

int capsule_time(struct capsule *capsule, uint64_t monotonic_ns, uint64_t boottime_ns) {
    struct capsule_clocks clocks = {monotonic_ns, boottime_ns};
    int result = capsule_send(capsule->control, CAPSULE_TIME, 0, &clocks, sizeof clocks, NULL, 0);
    return result ? result : await(capsule, NULL, NULL);
}

int capsule_signal(struct capsule *capsule, int signal, pid_t pid) {
    int32_t inner = pid;
    int result = capsule_send(capsule->control, CAPSULE_SIGNAL, signal, &inner, sizeof inner, NULL, 0);
    return result ? result : await(capsule, NULL, NULL);
}

int capsule_next_child(struct capsule *capsule, struct capsule_child *child) {
    if (!capsule->child_count) {
        struct pollfd wait = {capsule->control, POLLIN, 0};
        if (poll(&wait, 1, 0) <= 0)
            return 0;
        struct capsule_header header;
        void *payload;
        int result = capsule_receive(capsule->control, &header, &payload, NULL, NULL);
        if (result)
            return result;
        result = header.type == CAPSULE_CHILD ? keep_child(capsule, &header, payload) : -EPROTO;
        free(payload);
        if (result)
            return result;
    }
    *child = capsule->children[0];
    memmove(capsule->children, capsule->children + 1, --capsule->child_count * sizeof *capsule->children);
    return 1;
}

bool capsule_dies(struct capsule *capsule, int timeout_ms) {
    if (capsule->init_pid <= 0)
        return true;
    struct pollfd wait = {(int)syscall(SYS_pidfd_open, capsule->init_pid, 0), POLLIN, 0};
    if (wait.fd < 0)
        return false;
    kill(capsule->init_pid, SIGKILL);
    bool dead = poll(&wait, 1, timeout_ms) > 0;
    close(wait.fd);
    return dead;
}

void capsule_kill(struct capsule *capsule) {
    if (capsule->init_pid > 0) {
        kill(capsule->init_pid, SIGKILL);
        /* A dying namespace waits for all in it to be reaped, and of what we trace we are the one to do so. */
        pid_t reaped;
        do
            reaped = waitpid(-1, NULL, __WALL);
        while (reaped != capsule->init_pid && (reaped > 0 || errno == EINTR));
    }
    if (capsule->control >= 0)
        close(capsule->control);
    *capsule = (struct capsule){.control = -1};
}

/* The pid in the innermost namespace, and whether that is init's; 0 when it is not in the capsule. */
static pid_t inner_pid(const struct capsule *capsule, pid_t pid, const char *init_namespace) {
    char path[64], link[64], text[2048];
    snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
    ssize_t length = readlink(path, link, sizeof link - 1);
    if (length <= 0)
        return 0;
    link[length] = 0;
    if (strcmp(link, init_namespace) || pid == capsule->init_pid)
        return 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = 0;
    char *line = strstr(text, "\nNSpid:"), *end = line ? strchr(line + 1, '\n') : NULL;
    if (!end)
        return 0;
    *end = 0;
    char *last = strrchr(line, '\t');
    return last ? (pid_t)atoi(last + 1) : 0;
}

/* Count the capsule's processes; the one with pid `wanted` inside goes to *found. */
static int walk(const struct capsule *capsule, pid_t wanted, pid_t *found) {
    char path[64], own[64];
    snprintf(path, sizeof path, "/proc/%d/ns/pid", capsule->init_pid);
    ssize_t length = readlink(path, own, sizeof own - 1);
    if (length <= 0)
        return -ESRCH;
    own[length] = 0;
    DIR *proc = opendir("/proc");
    if (!proc)
        return -errno;
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(proc))) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        pid_t inner = pid > 0 ? inner_pid(capsule, pid, own) : 0;
        count += inner != 0;
        if (inner && inner == wanted)
            *found = pid;
    }
    closedir(proc);
    return count;
}

pid_t capsule_find(const struct capsule *capsule, pid_t inner) {
    pid_t found = -ESRCH;
    int count = walk(capsule, inner, &found);
    return count < 0 ? count : found;
}

int capsule_count(const struct capsule *capsule) {
    pid_t unused;
    return walk(capsule, 0, &unused);
}

int capsule_root(const struct capsule *capsule, uint64_t *device, int *mount_id) {
    char path[64], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "/proc/%d/mountinfo", capsule->init_pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    int result = -ENOENT;
    while (result && getline(&line, &room, file) > 0) {
        int id, parent;
        unsigned major, minor;
        char root[64], point[64];
        if (sscanf(line, "%d %d %u:%u %63s %63s", &id, &parent, &major, &minor, root, point) == 6 &&
            !strcmp(point, "/") && strstr(line, " - fuse ")) {
            *device = ((uint64_t)major << 32) | minor;
            *mount_id = id;
            result = 0;
        }
    }
    free(line);
    fclose(file);
    return result;
}
