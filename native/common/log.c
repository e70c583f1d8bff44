/* SPDX-License-Identifier: Apache-2.0
 *
 * The log of the native programs.
 *
 * Theory of operation. A line is put together in one buffer and leaves in one write(2), so that lines of several
 * processes that append to the same file (native.log) stay whole. Bytes that would break the line are replaced: text
 * from a peer can't forge a second line.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_BYTES 1024

static char log_role[24] = "skein";
static char log_task[40] = "-";

void log_identity(const char *role, const char *task) {
    snprintf(log_role, sizeof log_role, "%s", role);
    snprintf(log_task, sizeof log_task, "%s", task ? task : "-");
}

void log_line(const char *format, ...) {
    int saved = errno;
    char line[LOG_LINE_BYTES];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &parts);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ %s[%d] %s ", now.tv_nsec / 1000000, log_role,
                             (int)getpid(), log_task);
    size_t text = used;
    va_list arguments;
    va_start(arguments, format);
    errno = saved; /* for %m */
    int length = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    if (length > 0)
        used += (size_t)length;
    if (used > sizeof line - 2)
        used = sizeof line - 2;
    for (size_t i = text; i < used; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    }
    line[used++] = '\n';
    /* Nowhere to complain to when standard error itself fails. */
    ssize_t written = write(STDERR_FILENO, line, used);
    (void)written;
    errno = saved;
}
