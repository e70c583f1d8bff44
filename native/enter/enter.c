/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. node.pid names a process that has the node's namespaces. A pidfd of it, taken before its start
 * time is compared, can't come to mean another process, and one setns with it enters all namespaces at once. With the
 * user namespace among them this needs no privilege but owning it: the caller is then that namespace's root in rights,
 * keeps its uid (mapped one to one), and loses the rights when it executes a program. A node that root made has no user
 * namespace, and only root may enter it.
 *
 * Entering a mount namespace puts the process at its root, hence the return to the working directory by its path.
 *
 * A process in a node's mounts but not among its pids, as the commands that skein-enter runs are, sees a /proc that
 * does not know it. That it is there already shows in /srv, which is the node's own.
 */
#include "enter.h"
#include "pidfile.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct problem {
    char *text;
    size_t room;
};

static int __attribute__((format(printf, 3, 4))) fail(struct problem *problem, int error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->text, problem->room, format, arguments);
    va_end(arguments);
    return -error;
}

static int same_user_namespace(pid_t pid, bool *same) {
    char path[64];
    struct stat mine, other;
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    if (stat("/proc/self/ns/user", &mine) != 0 || stat(path, &other) != 0)
        return -errno;
    *same = mine.st_ino == other.st_ino && mine.st_dev == other.st_dev;
    return 0;
}

static int not_running(const char *state, struct problem *problem) {
    return fail(problem, ESRCH, "the node of %s is not running (`skein cluster up` starts a cluster here)", state);
}

static int refused(const char *state, int error, struct problem *problem) {
    struct stat owner;
    /* It ended while we looked. */
    if (error == ESRCH || error == ENOENT)
        return not_running(state, problem);
    if (error != EPERM && error != EACCES)
        return fail(problem, error, "can't enter the node of %s: %s", state, strerror(error));
    if (stat(state, &owner) == 0 && owner.st_uid != geteuid())
        return fail(problem, EPERM,
                    "the node of %s belongs to uid %u, who alone can enter it: start a cluster of your own", state,
                    (unsigned)owner.st_uid);
    return fail(problem, EPERM, "the node of %s can't be entered from inside another node", state);
}

static bool same_file(const char *one, const char *other) {
    struct stat first, second;
    return stat(one, &first) == 0 && stat(other, &second) == 0 && first.st_ino == second.st_ino &&
           first.st_dev == second.st_dev;
}

/* Whether this process has the node's mounts already. */
static bool is_there(const char *state, const struct pidfile *node) {
    char srv[PATH_MAX];
    uint64_t mounts;
    if (pidfile_mounts(0, &mounts) == 0)
        return mounts == node->mounts;
    return (size_t)snprintf(srv, sizeof srv, "%s/srv", state) < sizeof srv && same_file(srv, "/srv");
}

int enter_node_explained(const char *state, bool with_pid, char *text, size_t room) {
    struct problem problem = {text, room};
    char path[PATH_MAX], folder[PATH_MAX];
    struct pidfile node;
    if ((size_t)snprintf(path, sizeof path, "%s/node.pid", state) >= sizeof path)
        return fail(&problem, ENAMETOOLONG, "the name of the node folder is too long");
    int result = pidfile_read(path, &node);
    if (result == -ENOENT)
        return not_running(state, &problem);
    if (result != 0)
        return fail(&problem, -result, "can't read %s: %s", path, strerror(-result));
    if (node.mounts == 0)
        return 0;
    if (is_there(state, &node))
        return 0;
    if (access("/proc/self", F_OK) != 0)
        return refused(state, EPERM, &problem);

    int process = (int)syscall(SYS_pidfd_open, node.pid, 0);
    if (process < 0)
        return not_running(state, &problem);
    bool same_user = false;
    if (!pidfile_alive(&node)) {
        close(process);
        return not_running(state, &problem);
    }
    if ((result = same_user_namespace(node.pid, &same_user)) != 0) {
        close(process);
        return refused(state, -result, &problem);
    }
    bool has_folder = getcwd(folder, sizeof folder) != NULL && folder[0] == '/';
    int kinds = CLONE_NEWNS | CLONE_NEWUTS | (same_user ? 0 : CLONE_NEWUSER) | (with_pid ? CLONE_NEWPID : 0);
    int error = setns(process, kinds) == 0 ? 0 : errno;
    close(process);
    if (error != 0)
        return refused(state, error, &problem);
    if (!has_folder)
        return fail(&problem, ENOENT, "the working directory can't be named, so it is not the same on the node");
    if (chdir(folder) != 0)
        return fail(&problem, ENOENT, "the working directory %s is not on the node: %s", folder, strerror(errno));
    return 0;
}

int enter_node(const char *state, bool with_pid) {
    char problem[PATH_MAX + 256];
    int result = enter_node_explained(state, with_pid, problem, sizeof problem);
    if (result != 0)
        fprintf(stderr, "skein: %s\n", problem);
    return result;
}
