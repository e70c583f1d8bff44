/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKEIN_LOG_H
#define SKEIN_LOG_H

/* Who speaks: both are copied and cut to fit. `task` may be NULL as long as there is none. */
void log_identity(const char *role, const char *task);
/* One line on standard error: time, role, task, text. Keeps errno. Safe to call from any thread. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
