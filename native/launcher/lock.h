/* SPDX-License-Identifier: Apache-2.0
 *
 * One launcher a node folder.
 */
#ifndef SKEIND_LOCK_H
#define SKEIND_LOCK_H

/* Open, lock and fill <state>/skeind.pid. The descriptor, or -1 after report_failure(). */
int lock_state(const char *state);
/* Remove the pid files; the lock goes with the process. */
void unlock_state(const char *state);

#endif
