/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A killed child's own children become ours as soon as it is dead, so: kill all children, wait for
 * one to end, look again, until there are none. Pid 1 of a namespace need not look: the kernel does all of it for a
 * process that leaves a pid namespace as its first; what it does here only lets that happen within the time limit.
 */
#include "end_all.h"
#include "child_setup.h"
#include "report.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void kill_children(void) {
    if (getpid() == 1) {
        kill(-1, SIGKILL); /* ESRCH: there are none */
        return;
    }
    char path[64];
    int pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *list = fopen(path, "re");
    if (list == NULL) {
        report_line("can't list what to end: %s: %s", path, strerror(errno));
        return;
    }
    while (fscanf(list, "%d", &pid) == 1)
        if (kill(pid, SIGKILL) != 0)
            report_line("can't end %d: %s", pid, strerror(errno));
    fclose(list);
}

/* Whether there are children left. */
static bool reap_ended(void) {
    pid_t pid;
    do
        pid = waitpid(-1, NULL, WNOHANG);
    while (pid > 0);
    return pid == 0;
}

void end_all(void) {
    int64_t limit_ms = now_ms() + END_ALL_LIMIT_MS, left_ms;
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    do {
        kill_children();
        left_ms = limit_ms - now_ms();
        if (!reap_ended())
            return;
        /* A grandchild may turn up without a signal of its own: look again soon in any case. */
        struct timespec soon = {.tv_nsec = 20 * 1000 * 1000};
        sigtimedwait(&ended, NULL, &soon);
    } while (left_ms > 0);
    report_line("some processes could not be ended");
}
