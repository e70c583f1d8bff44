/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A process can't change its own pid namespace, so the command is a child and this process stands
 * in for it towards the shell. Both are in one process group: what the terminal sends (SI_KERNEL) reaches both and is
 * not passed on; what a process sends to this one alone is. When the child stops, this process stops itself, so that
 * the shell's job control sees it; when the child was killed, this process dies of the same signal.
 *
 * The child dies with its parent by PR_SET_PDEATHSIG. Its parent has no pid in its namespace, so that the usual
 * getppid() check for a parent that died early says nothing; the end of a pipe does.
 */
#include "relay_child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* execvp says EACCES too when a folder of PATH is closed to us and the command is in none of the others. */
static bool is_nowhere(const char *command) {
    const char *search = getenv("PATH");
    char path[PATH_MAX];
    if (strchr(command, '/') != NULL || search == NULL)
        return false;
    for (;; search++) {
        size_t length = strcspn(search, ":");
        int written = snprintf(path, sizeof path, "%.*s/%s", (int)length, search, command);
        if (written > 0 && (size_t)written < sizeof path && access(path, F_OK) == 0)
            return false;
        search += length;
        if (*search == 0)
            return true;
    }
}

_Noreturn void execute(char **command) {
    execvp(command[0], command);
    int error = errno;
    if (error == EACCES && is_nowhere(command[0]))
        error = ENOENT;
    fprintf(stderr, "skein: %s: %s\n", command[0], error == ENOENT ? "no such command" : strerror(error));
    exit(error == ENOENT ? 127 : 126);
}

static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "skein: %s: %s\n", what, strerror(errno));
    exit(125);
}

static _Noreturn void run_command(char **command, const sigset_t *mask, const int lifeline[2]) {
    close(lifeline[1]);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        give_up("PR_SET_PDEATHSIG");
    struct pollfd end = {.fd = lifeline[0]};
    if (poll(&end, 1, 0) > 0)
        exit(125);
    close(lifeline[0]);
    if (sigprocmask(SIG_SETMASK, mask, NULL) != 0)
        give_up("sigprocmask");
    execute(command);
}

static _Noreturn void end_like(int status) {
    if (WIFEXITED(status))
        exit(WEXITSTATUS(status));
    int signal = WTERMSIG(status);
    /* The child may have left a core; this stand-in must not write a second one over it. */
    struct rlimit none = {0, 0};
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    if (setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        if ((signal == SIGKILL || sigaction(signal, &action, NULL) == 0) && raise(signal) == 0)
            sigprocmask(SIG_UNBLOCK, &one, NULL);
    }
    exit(128 + signal);
}

static void pass_on(pid_t child, const struct signalfd_siginfo *info) {
    if (info->ssi_signo == SIGCHLD || info->ssi_code == SI_KERNEL)
        return;
    /* ESRCH: it has just ended, which the next wait tells. */
    if (kill(child, (int)info->ssi_signo) != 0 && errno != ESRCH)
        fprintf(stderr, "skein: can't pass signal %u on: %s\n", info->ssi_signo, strerror(errno));
}

static void follow_child(pid_t child) {
    int status;
    for (;;) {
        pid_t changed = waitpid(child, &status, WNOHANG | WUNTRACED | WCONTINUED);
        if (changed < 0)
            give_up("waitpid");
        if (changed == 0)
            return;
        if (WIFSTOPPED(status))
            raise(SIGSTOP);
        else if (!WIFCONTINUED(status))
            end_like(status);
    }
}

_Noreturn void relay_child(char **command) {
    sigset_t all, mask;
    sigfillset(&all);
    /* A fault in this program is its own. */
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGABRT);
    /* Those by which a background process is stopped at its terminal: the child meets them itself. */
    sigdelset(&all, SIGTTIN);
    sigdelset(&all, SIGTTOU);
    if (sigprocmask(SIG_BLOCK, &all, &mask) != 0)
        give_up("sigprocmask");
    int signals = signalfd(-1, &all, SFD_CLOEXEC), lifeline[2];
    if (signals < 0 || pipe2(lifeline, O_CLOEXEC) != 0)
        give_up("signalfd");
    pid_t child = fork();
    if (child < 0)
        give_up(errno == ENOMEM ? "the node is going down" : "fork");
    if (child == 0)
        run_command(command, &mask, lifeline);
    close(lifeline[0]);
    for (;;) {
        struct signalfd_siginfo info;
        ssize_t length = read(signals, &info, sizeof info);
        if (length != sizeof info) {
            if (length < 0 && errno == EINTR)
                continue;
            give_up("signalfd");
        }
        pass_on(child, &info);
        follow_child(child);
    }
}
