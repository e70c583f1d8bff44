/* SPDX-License-Identifier: Apache-2.0
 *
 * What the launcher tells people: a log, and once, whether it started.
 */
#ifndef SKEIND_REPORT_H
#define SKEIND_REPORT_H

#include <stdbool.h>

/* Leave the caller's terminal: a child goes on as the launcher, this process waits for its report_ready() or
 * report_failure() and ends with 0 or 1. Returns in the child. */
void report_detach(void);
/* From now on the log is this file instead of standard error. 0 or -errno. */
int report_to_file(const char *path);
/* Whether the log is a file. */
bool report_is_detached(void);

/* One line to the log. */
void report_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Why it could not start or must end: to the log and, before readiness, to whoever waits. */
void report_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The node serves. Only the first call says so. */
void report_ready(void);

#endif
