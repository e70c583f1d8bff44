/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKEIND_CHILD_SETUP_H
#define SKEIND_CHILD_SETUP_H

#include <stdint.h>
#include <sys/types.h>

/* In a new child, after its ids were set and just before it executes a program: ordinary signals, and death with the
 * launcher. 0 or -errno (-ESRCH: the launcher has died already). */
int child_setup(pid_t launcher);
/* CLOCK_MONOTONIC. */
int64_t now_ms(void);

#endif
