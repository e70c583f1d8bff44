/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKEIND_END_ALL_H
#define SKEIND_END_ALL_H

#define END_ALL_LIMIT_MS 500

/* Kill and reap every descendant of this process, which is pid 1 of its namespace or a subreaper. SIGCHLD must be
 * blocked. Gives up after END_ALL_LIMIT_MS (a process that the kernel does not let die). */
void end_all(void);

#endif
