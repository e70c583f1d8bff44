/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A descriptor that is a terminal at home is the capsule's terminal there. Input is passed on key
 * by key (raw mode) only when both input and output are this terminal: with `runon 2 ls | less`, less owns the keys,
 * and raw mode would be taken away under it. Then the terminal here stays as it is and does its own echo, signals and
 * line ends; the one there must not do them again.
 *
 * Whoever is in the background and changes a terminal is stopped by SIGTTOU, and by SIGTTIN who reads: it is not
 * touched then, and taken up when the shell brings us to the foreground.
 */
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool same_device(int a, int b) {
    struct stat first, second;
    return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_rdev == second.st_rdev;
}

int terminal_find(struct home_terminal *terminal) {
    memset(terminal, 0, sizeof *terminal);
    terminal->descriptor = -1;
    for (int i = 0; i < 3; i++) {
        if (fcntl(i, F_GETFD) >= 0)
            continue;
        terminal->closed |= 1u << i;
        int fd = open("/dev/null", O_RDWR);
        if (fd < 0)
            return -errno;
        if (fd != i && (dup2(fd, i) < 0 || close(fd)))
            return -errno;
    }
    for (int i = 2; i > 0; i--) {
        if (!isatty(i) || (terminal->descriptor >= 0 && !same_device(i, terminal->descriptor)))
            continue;
        terminal->terminals |= 1u << i;
        terminal->descriptor = i;
    }
    if ((terminal->terminals & 2) && isatty(0) && same_device(0, 1)) {
        terminal->interactive = true;
        terminal->terminals |= 1;
        terminal->descriptor = 0;
    }
    if (terminal->descriptor < 0)
        return 0;
    if (tcgetattr(terminal->descriptor, &terminal->as_found) ||
        ioctl(terminal->descriptor, TIOCGWINSZ, &terminal->winsize))
        return -errno;
    terminal->for_task = terminal->as_found;
    if (!terminal->interactive) {
        terminal->for_task.c_oflag &= ~(tcflag_t)OPOST;
        terminal->for_task.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    }
    return 0;
}

bool terminal_is_foreground(const struct home_terminal *terminal) {
    if (terminal->descriptor < 0)
        return true;
    pid_t foreground = tcgetpgrp(terminal->descriptor);
    /* ENOTTY: not our controlling terminal, so that nothing stops us. */
    return foreground == getpgrp() || (foreground < 0 && errno == ENOTTY);
}

void terminal_raw(struct home_terminal *terminal) {
    if (!terminal->interactive || terminal->raw || !terminal_is_foreground(terminal))
        return;
    struct termios raw;
    if (tcgetattr(terminal->descriptor, &raw))
        return;
    terminal->as_found = raw; /* what the shell wants back, which may have changed since */
    cfmakeraw(&raw);
    terminal->raw = tcsetattr(terminal->descriptor, TCSADRAIN, &raw) == 0;
}

void terminal_restore(struct home_terminal *terminal) {
    if (!terminal->raw)
        return;
    terminal->raw = false;
    if (terminal_is_foreground(terminal))
        (void)tcsetattr(terminal->descriptor, TCSADRAIN, &terminal->as_found); /* it may be gone: nothing to restore */
}

bool terminal_resized(struct home_terminal *terminal) {
    struct winsize now;
    if (terminal->descriptor < 0 || ioctl(terminal->descriptor, TIOCGWINSZ, &now) ||
        !memcmp(&now, &terminal->winsize, sizeof now))
        return false;
    terminal->winsize = now;
    return true;
}
