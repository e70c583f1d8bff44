/* SPDX-License-Identifier: Apache-2.0
 *
 * From a forked launcher to a deputy or shepherd.
 */
#ifndef SKEIND_NATIVE_H
#define SKEIND_NATIVE_H

#include "request.h"

struct native_start {
    const struct request *request;
    int program;       /* executed */
    int restorer;      /* inherited by a shepherd, or -1 */
    const char *state; /* the node folder */
    int log;           /* becomes standard output and error */
    int word;          /* write end of the pipe for a struct native_word */
    pid_t launcher;
};

/* Why it could not be started. Shorter than PIPE_BUF: written at once or not at all. */
struct native_word {
    int error;
    char step[48];
};

/* In the child. */
_Noreturn void native_run(const struct native_start *start);

#endif
