/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A detached launcher has a pipe to the process that was typed: the one byte 0 means that the node
 * serves; a text means that it could not start, and why; a pipe that just ends means that the launcher was killed.
 * Every process of the launcher (in isolate mode there are two) holds the pipe until one of them has spoken. The log
 * file is opened for appending and each line is one write, so that both may write to it.
 */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 2048

static int waiter = -1; /* write end of the pipe to the process that was typed */
static bool to_file;
static bool said_ready;

static void write_all(int descriptor, const char *text, size_t length) {
    while (length > 0) {
        ssize_t written = write(descriptor, text, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* a log that can't be written has nowhere to say so */
        text += written;
        length -= (size_t)written;
    }
}

/* A failure is told when the launcher has ended, so that whoever tries again at once is not in its way. */
static _Noreturn void wait_for_word(int word, pid_t launcher) {
    char text[LINE_BYTES];
    size_t length = 0;
    while (length < sizeof text - 1) {
        ssize_t got = read(word, text + length, sizeof text - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        length += (size_t)got;
        if (text[0] == 0)
            _exit(0);
    }
    while (waitpid(launcher, NULL, 0) < 0 && errno == EINTR) {
    }
    if (length == 0) {
        static const char killed[] = "skeind: the launcher was killed before the node was ready\n";
        write_all(STDERR_FILENO, killed, sizeof killed - 1);
    }
    write_all(STDERR_FILENO, text, length);
    _exit(1);
}

void report_detach(void) {
    int word[2];
    if (pipe2(word, O_CLOEXEC) != 0) {
        report_failure("pipe: %s", strerror(errno));
        exit(1);
    }
    pid_t child = fork();
    if (child < 0) {
        report_failure("fork: %s", strerror(errno));
        exit(1);
    }
    if (child > 0) {
        close(word[1]);
        wait_for_word(word[0], child);
    }
    close(word[0]);
    waiter = word[1];
    setsid();
}

int report_to_file(const char *path) {
    int log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int result = 0;
    if (log < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0)
        result = -errno;
    if (log > STDERR_FILENO)
        close(log);
    if (null > STDERR_FILENO)
        close(null);
    to_file = result == 0;
    return result;
}

bool report_is_detached(void) {
    return to_file;
}

static void log_text(const char *text) {
    char line[LINE_BYTES + 64], when[32] = "";
    struct timespec now;
    struct tm calendar;
    if (to_file && clock_gettime(CLOCK_REALTIME, &now) == 0 && gmtime_r(&now.tv_sec, &calendar) != NULL)
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ ", &calendar);
    int length = snprintf(line, sizeof line, "%sskeind: %s\n", when, text);
    if (length > 0)
        write_all(STDERR_FILENO, line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

void report_line(const char *format, ...) {
    char text[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_text(text);
}

void report_failure(const char *format, ...) {
    char text[LINE_BYTES - 16], word[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (waiter < 0 || to_file)
        log_text(text);
    if (waiter < 0)
        return;
    int length = snprintf(word, sizeof word, "skeind: %s\n", text);
    if (length > 0)
        write_all(waiter, word, (size_t)length < sizeof word ? (size_t)length : sizeof word - 1);
    close(waiter);
    waiter = -1;
}

void report_ready(void) {
    if (said_ready)
        return;
    said_ready = true;
    report_line("the node is ready");
    if (waiter < 0)
        return;
    write_all(waiter, "", 1);
    close(waiter);
    waiter = -1;
}
