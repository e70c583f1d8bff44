/* SPDX-License-Identifier: Apache-2.0
 *
 * A stand-in for deputy and shepherd: says on its standard output (native.log) as whom and in which surroundings it was
 * started, then waits. SIGUSR1 ends it with 7. As task 1.99 it is stubborn: it ignores SIGTERM and leaves a grandchild
 * in a session of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void end_with_seven(int signal) {
    (void)signal;
    _exit(7);
}

static int open_descriptors(void) {
    int count = 0;
    for (int i = 0; i < 1024; i++)
        count += fcntl(i, F_GETFD) >= 0;
    return count;
}

int main(int count, char **arguments) {
    const char *task = getenv("SKEIN_TASK"), *restorer = getenv("SKEIN_RESTORER_FD");
    char folder[256], line[4096];
    gid_t groups[64];
    int death = 0, variables = 0;
    bool stubborn = task != NULL && strcmp(task, "1.99") == 0;
    sigset_t blocked;
    if (task == NULL || getcwd(folder, sizeof folder) == NULL || prctl(PR_GET_PDEATHSIG, &death) != 0 ||
        sigprocmask(SIG_SETMASK, NULL, &blocked) != 0 || signal(SIGUSR1, end_with_seven) == SIG_ERR)
        return 1;
    while (environ[variables] != NULL)
        variables++;
    if (stubborn) {
        signal(SIGTERM, SIG_IGN);
        if (fork() == 0) {
            setsid();
            if (fork() != 0)
                _exit(0);
        }
    }
    mode_t mask = umask(0);
    int length = snprintf(
        line, sizeof line,
        "task=%s pid=%d args=%s%s uid=%d gid=%d groups=%d session=%d cwd=%s umask=%03o nnp=%d death=%d descriptors=%d "
        "restorer=%s blocked=%d token=%s state=%s home=%s secret=%s setting=%s\n",
        task, (int)getpid(), arguments[0], count > 1 ? arguments[1] : "", (int)getuid(), (int)getgid(),
        getgroups(64, groups), getsid(0) == getpid(), folder, (unsigned)mask, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
        death, open_descriptors(),
        restorer == NULL                      ? "none"
        : fcntl(atoi(restorer), F_GETFD) == 0 ? "open"
                                              : "closed",
        sigismember(&blocked, SIGTERM), getenv("SKEIN_TOKEN"), getenv("SKEIN_STATE"), getenv("HOME"),
        getenv("SECRET") != NULL ? getenv("SECRET") : "none",
        getenv("SKEIN_SETTING") != NULL ? getenv("SKEIN_SETTING") : "none");
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        return 1;
    for (;;)
        pause();
}
