/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals that reach this program are meant for the task.
 *
 * Theory of operation. All are blocked from the start (libzmq's threads inherit that) and read from a signalfd. On a
 * terminal in raw mode ^C and ^Z are bytes, which the capsule's own terminal turns into signals; otherwise this
 * terminal does, and they are passed on. A task that was stopped from the keyboard stops this program too, so that the
 * shell sees a stopped job; `fg` and `bg` then continue both. A stopped deputy is silent: its host is told before.
 */
#include "../common/log.h"
#include "deputy.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define ASLEEP_TIMEOUT_MS 1000

static const int passed_on[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                                SIGUSR2, SIGALRM, SIGTSTP, SIGCONT, SIGWINCH};

int signals_open(struct deputy *deputy) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++) {
        struct sigaction action;
        /* What nohup (or a shell's `&`) has turned off stays off. */
        if (sigaction(passed_on[i], NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            continue;
        sigaddset(&set, passed_on[i]);
    }
    if (sigprocmask(SIG_BLOCK, &set, NULL))
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write of the task beyond the limit here is answered EFBIG */
    signal(SIGTTOU, SIG_IGN);
    deputy->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return deputy->signals < 0 ? -errno : 0;
}

static void went_on(struct deputy *deputy) {
    deputy->asleep = false;
    struct session *session = sessions_current(deputy);
    terminal_raw(&deputy->terminal);
    if (session && deputy->stopped_by)
        session_send(deputy, session, DP_SIGNAL, 0, SIGCONT, 0, NULL, 0);
    if (session && terminal_resized(&deputy->terminal))
        session_send(deputy, session, DP_WINSIZE, 0, 0, 0, &deputy->terminal.winsize, sizeof(struct winsize));
}

static void received(struct deputy *deputy, int signal) {
    struct session *session = sessions_current(deputy);
    if (signal == SIGCONT)
        return went_on(deputy);
    if (signal == SIGWINCH) {
        if (session && terminal_resized(&deputy->terminal))
            session_send(deputy, session, DP_WINSIZE, 0, 0, 0, &deputy->terminal.winsize, sizeof(struct winsize));
        return;
    }
    if (session && !deputy->ending) {
        if (signal == SIGTSTP && deputy->stopped_by)
            signals_fall_asleep(deputy);
        else
            session_send(deputy, session, DP_SIGNAL, 0, signal, 0, NULL, 0);
        return;
    }
    /* There is no task to tell (yet, or any more). */
    if (signal != SIGTSTP)
        deputy->exit_status = 128 + signal;
}

void signals_receive(struct deputy *deputy) {
    struct signalfd_siginfo info;
    while (deputy->exit_status < 0 && read(deputy->signals, &info, sizeof info) == sizeof info)
        received(deputy, (int)info.ssi_signo);
}

void signals_fall_asleep(struct deputy *deputy) {
    struct session *session = sessions_current(deputy);
    if (deputy->options.deputy || deputy->falling_asleep)
        return;
    terminal_restore(&deputy->terminal);
    deputy->falling_asleep = deputy->asleep = true;
    agent_announce(deputy);
    deputy->asleep_deadline_ms = now_ms() + ASLEEP_TIMEOUT_MS;
    if (!session || !session_send(deputy, session, DP_SLEEP, 0, 0, 0, NULL, 0))
        signals_sleep(deputy);
}

void signals_sleep(struct deputy *deputy) {
    sigset_t stop;
    deputy->falling_asleep = false;
    if (!deputy->stopped_by)
        return; /* it went on meanwhile */
    /* The terminal stops a whole job: in raw mode we do it in its place. Where nobody could continue it (an orphaned
     * group) the kernel does not stop it, and all goes on. */
    if (deputy->terminal.interactive)
        kill(0, SIGTSTP);
    else
        raise(SIGTSTP);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &stop, NULL);
    sigprocmask(SIG_BLOCK, &stop, NULL); /* here again after SIGCONT, which waits in the signalfd */
    deputy->asleep = false;
    deputy->heard_ms = now_ms();
    agent_announce(deputy);
    terminal_raw(&deputy->terminal);
}
