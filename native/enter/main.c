/* SPDX-License-Identifier: Apache-2.0
 *
 * skein-enter: run a command in the namespaces of a node of a one-machine cluster.
 *
 *   skein-enter --state FOLDER [--pid] [--] command arguments…
 *   skein-enter --find [--pid] [--] command arguments…     the node that SKEIN_DIR and SKEIN_NODE choose
 *
 * Theory of operation. Without --pid this process becomes the command, with the node's files and host name but the
 * process list it had (SKEIN_PROC_FD is a descriptor of the /proc that shows it). With --pid the command is also one of
 * the node's processes (its load counts there, and it ends when the node does). --find sets SKEIN_STATE, so that the
 * command need not search again; otherwise the environment is left alone. A machine that is a node itself has nothing
 * to enter: the command is just executed.
 */
#include "../common/find.h"
#include "enter.h"
#include "relay_child.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void usage(void) {
    fprintf(stderr, "usage: skein-enter --state FOLDER | --find [--pid] [--] COMMAND [ARGUMENTS…]\n");
    exit(2);
}

static _Noreturn void no_node(void) {
    const char *node = getenv("SKEIN_NODE"), *folder = getenv("SKEIN_DIR");
    if (node != NULL && *node != 0)
        fprintf(stderr, "skein: there is no node %s here (is the cluster up? `skein cluster status`)\n", node);
    else if (folder != NULL && *folder != 0)
        fprintf(stderr, "skein: SKEIN_DIR=%s is neither a node's folder nor a cluster's\n", folder);
    else
        fprintf(stderr, "skein: no node is running here (`skein cluster up 3` starts a cluster on this machine)\n");
    exit(125);
}

/* The node's /proc does not show who is not one of its processes: the one that does stays open for the command. */
static int keep_proc(void) {
    char number[16];
    /* Entered before: the right one is open already. */
    if (access("/proc/self", F_OK) != 0 && getenv("SKEIN_PROC_FD") != NULL)
        return 0;
    int opened = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0)
        return -1;
    /* Above the standard streams: one that is closed must stay so. */
    int proc = fcntl(opened, F_DUPFD, 3);
    close(opened);
    if (proc < 0)
        return -1;
    snprintf(number, sizeof number, "%d", proc);
    return setenv("SKEIN_PROC_FD", number, 1);
}

int main(int count, char **arguments) {
    char found[PATH_MAX];
    const char *state = NULL;
    bool find = false, with_pid = false;
    int next = 1;
    for (; next < count && strncmp(arguments[next], "--", 2) == 0; next++) {
        if (arguments[next][2] == 0) {
            next++;
            break;
        }
        if (strcmp(arguments[next], "--pid") == 0)
            with_pid = true;
        else if (strcmp(arguments[next], "--find") == 0)
            find = true;
        else if (strcmp(arguments[next], "--state") == 0 && next + 1 < count)
            state = arguments[++next];
        else
            usage();
    }
    if (next >= count || find == (state != NULL))
        usage();
    if (find) {
        if (find_node(found, sizeof found) != 0)
            no_node();
        if (setenv("SKEIN_STATE", found, 1) != 0) {
            perror("skein: SKEIN_STATE");
            return 125;
        }
        state = found;
    }
    if (find && keep_proc() != 0) {
        perror("skein: /proc");
        return 125;
    }
    if (enter_node(state, with_pid) != 0)
        return 125;
    if (with_pid)
        relay_child(arguments + next);
    execute(arguments + next);
}
