/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. Between fork and execution the child becomes the job's user, once and for all: groups, then gid,
 * then uid, and no_new_privs after them. The environment is made new, of what a native needs and the launcher's own
 * SKEIN_… settings; nothing of what the operator had in theirs reaches a user's process. Every descriptor but the
 * standard ones, and a shepherd's restorer, closes on execution.
 */
#include "native.h"
#include "child_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSWORD_BYTES 16384

#define MAX_VARIABLES 64
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

extern char **environ;

static _Noreturn void stop(const struct native_start *start, const char *step) {
    struct native_word word = {.error = errno};
    snprintf(word.step, sizeof word.step, "%s", step);
    _exit(write(start->word, &word, sizeof word) == sizeof word ? 125 : 124);
}

static void become_user(const struct native_start *start, const struct passwd *user) {
    const struct request *request = start->request;
    if (getuid() != 0)
        return; /* it is that user already: children_start has checked */
    if (request->uid != 0) {
        int result = user != NULL ? initgroups(user->pw_name, request->gid) : setgroups(0, NULL);
        if (result != 0)
            stop(start, "setting groups");
    }
    if (setresgid(request->gid, request->gid, request->gid) != 0)
        stop(start, "setting the group id");
    if (setresuid(request->uid, request->uid, request->uid) != 0)
        stop(start, "setting the user id");
}

static void take_descriptors(const struct native_start *start) {
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(start->log, STDOUT_FILENO) < 0 ||
        dup2(start->log, STDERR_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC) != 0)
        stop(start, "setting descriptors");
    if (start->request->role == ROLE_SHEPHERD && start->restorer >= 0 && fcntl(start->restorer, F_SETFD, 0) != 0)
        stop(start, "passing the restorer");
}

static bool is_own(const char *variable) {
    static const char *const made[] = {"SKEIN_STATE=", "SKEIN_TASK=", "SKEIN_TOKEN=", "SKEIN_RESTORER_FD="};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (strncmp(variable, made[i], strlen(made[i])) == 0)
            return false;
    return strncmp(variable, "SKEIN_", 6) == 0 || strncmp(variable, "ASAN_OPTIONS=", 13) == 0 ||
           strncmp(variable, "UBSAN_OPTIONS=", 14) == 0;
}

static void __attribute__((format(printf, 4, 5)))
set(const struct native_start *start, char **variables, int *count, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (*count == MAX_VARIABLES || vasprintf(&variables[*count], format, arguments) < 0) {
        errno = ENOMEM;
        stop(start, "making the environment");
    }
    va_end(arguments);
    variables[++*count] = NULL;
}

_Noreturn void native_run(const struct native_start *start) {
    const struct request *request = start->request;
    static char password[PASSWORD_BYTES];
    static char *variables[MAX_VARIABLES + 1];
    struct passwd entry, *user = NULL;
    int count = 0;
    /* A user without an account is served all the same; so is one whose directory does not answer. */
    if (getpwuid_r(request->uid, &entry, password, sizeof password, &user) != 0)
        user = NULL;
    const char *path = getenv("PATH");
    set(start, variables, &count, "PATH=%s", path != NULL ? path : DEFAULT_PATH);
    set(start, variables, &count, "HOME=%s", user != NULL ? user->pw_dir : "/");
    set(start, variables, &count, "SKEIN_STATE=%s", start->state);
    set(start, variables, &count, "SKEIN_TASK=%s", request->task);
    set(start, variables, &count, "SKEIN_TOKEN=%s", request->token);
    if (request->role == ROLE_SHEPHERD && start->restorer >= 0)
        set(start, variables, &count, "SKEIN_RESTORER_FD=%d", start->restorer);
    for (char **variable = environ; *variable != NULL; variable++)
        if (is_own(*variable))
            set(start, variables, &count, "%s", *variable);

    if (setsid() < 0 || chdir("/") != 0)
        stop(start, "making a session");
    umask(022);
    take_descriptors(start);
    become_user(start, user);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        stop(start, "no_new_privs");
    if (child_setup(start->launcher) != 0)
        stop(start, "death with the launcher");
    char *deputy[] = {"runon", "--deputy", NULL}, *shepherd[] = {"shepherd", NULL};
    fexecve(start->program, request->role == ROLE_DEPUTY ? deputy : shepherd, variables);
    stop(start, "executing the program");
}
