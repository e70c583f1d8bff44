/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. PR_SET_PDEATHSIG is cleared when a process changes its ids or executes a set-id program, so it
 * is set after the former, and what is executed is never the latter. It is sent when the parent *thread* ends: the
 * launcher has one. A launcher that died before the prctl is seen by the parent having changed.
 */
#include "child_setup.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

int child_setup(pid_t launcher) {
    struct sigaction ordinary = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int signal = 1; signal < NSIG; signal++)
        /* EINVAL for those that can't be set. */
        if (sigaction(signal, &ordinary, NULL) != 0 && errno != EINVAL)
            return -errno;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return -errno;
    return getppid() == launcher ? 0 : -ESRCH;
}

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
