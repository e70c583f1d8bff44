/* SPDX-License-Identifier: Apache-2.0
 *
 * The terminal that runon was typed on.
 */
#ifndef SKEIN_HOME_TERMINAL_H
#define SKEIN_HOME_TERMINAL_H

#include <stdbool.h>
#include <sys/ioctl.h>
#include <termios.h>

struct home_terminal {
    unsigned terminals, closed; /* bits 0..2 of the standard descriptors, as the task gets them */
    bool interactive;           /* keys go to the task as they are typed */
    bool raw;
    int descriptor; /* one that is the terminal; -1: none */
    struct termios as_found, for_task;
    struct winsize winsize;
};

/* Looks at descriptors 0..2, and opens /dev/null on those that are closed so that their numbers stay taken. 0 or
 * -errno. */
int terminal_find(struct home_terminal *terminal);
/* Raw mode, when this process is in the foreground and it makes sense; else nothing happens. */
void terminal_raw(struct home_terminal *terminal);
void terminal_restore(struct home_terminal *terminal);
/* Whether reading from it would not stop this process. */
bool terminal_is_foreground(const struct home_terminal *terminal);
/* True when the size is another than before. */
bool terminal_resized(struct home_terminal *terminal);

#endif
