/* SPDX-License-Identifier: Apache-2.0 */
#include "spec.h"
#include "../common/protocol.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

#define MOST_GROUPS 1024

static bool is_own(const char *variable) {
    return !strncmp(variable, "SKEIN_STATE=", 12) || !strncmp(variable, "SKEIN_PROC_FD=", 14);
}

static void add_strings(struct mp_packer *packer, const char *key, char *const *strings) {
    mp_add_array(packer, key);
    for (; *strings; strings++)
        mp_put_bin(packer, *strings, strlen(*strings));
    mp_end(packer);
}

static void add_environment(struct mp_packer *packer) {
    mp_add_array(packer, "env");
    for (char **variable = environ; *variable; variable++)
        if (!is_own(*variable))
            mp_put_bin(packer, *variable, strlen(*variable));
    mp_end(packer);
}

int spec_add_command(struct mp_packer *packer, char *const *command) {
    char *directory = getcwd(NULL, 0);
    if (!directory)
        return -errno;
    mode_t mask = umask(0);
    umask(mask);
    errno = 0;
    int niceness = getpriority(PRIO_PROCESS, 0);
    add_strings(packer, "argv", command);
    /* Where this command found its node is its own affair. */
    add_environment(packer);
    mp_add_bin(packer, "cwd", directory, strlen(directory));
    mp_add_u64(packer, "umask", mask);
    mp_add_i64(packer, "nice", niceness);
    free(directory);
    return 0;
}

static void copy_value(struct mp_packer *packer, const char *key, const msgpack_object *from) {
    const msgpack_object_array *list;
    const void *bytes;
    size_t length;
    int64_t number;
    if (mp_get_array(from, key, &list)) {
        mp_add_array(packer, key);
        for (uint32_t i = 0; i < list->size; i++)
            if (mp_as_bin(&list->ptr[i], &bytes, &length))
                mp_put_bin(packer, bytes, length);
        mp_end(packer);
    } else if (mp_get_bin(from, key, &bytes, &length)) {
        mp_add_bin(packer, key, bytes, length);
    } else if (mp_get_i64(from, key, &number)) {
        mp_add_i64(packer, key, number);
    }
}

static void add_limits(struct mp_packer *packer) {
    mp_add_array(packer, "rlimits");
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
        (void)getrlimit(resource, &limit); /* unknown to the kernel: no limit */
        mp_put_array(packer);
        mp_put_u64(packer, limit.rlim_cur);
        mp_put_u64(packer, limit.rlim_max);
        mp_end(packer);
    }
    mp_end(packer);
}

static int add_identity(struct mp_packer *packer) {
    gid_t groups[MOST_GROUPS];
    struct utsname names;
    int count = getgroups(MOST_GROUPS, groups);
    if (uname(&names) || count < 0)
        return -errno;
    mp_add_u64(packer, "uid", getuid());
    mp_add_u64(packer, "gid", getgid());
    mp_add_array(packer, "groups");
    for (int i = 0; i < count; i++)
        mp_put_u64(packer, groups[i]);
    mp_end(packer);
    mp_add_bin(packer, "hostname", names.nodename, strlen(names.nodename));
    return 0;
}

int spec_make(char *const *command, const msgpack_object *detached, const struct spec_terminal *terminal, void **bytes,
              size_t *length) {
    static const char *const carried[] = {"argv", "env", "cwd", "umask", "nice"};
    struct mp_packer packer;
    mp_begin(&packer);
    mp_put_map(&packer);
    int result = 0;
    if (detached)
        for (size_t i = 0; i < sizeof carried / sizeof *carried; i++)
            copy_value(&packer, carried[i], detached);
    else
        result = spec_add_command(&packer, command);
    if (!result)
        result = add_identity(&packer);
    add_limits(&packer);
    mp_add_bool(&packer, "tty", terminal->terminals != 0);
    mp_add_u64(&packer, "terminals", terminal->terminals);
    mp_add_u64(&packer, "closed", terminal->closed);
    if (terminal->terminals) {
        mp_add_bin(&packer, "termios", terminal->termios, sizeof *terminal->termios);
        mp_add_bin(&packer, "winsize", terminal->winsize, sizeof *terminal->winsize);
    }
    mp_end(&packer);
    const void *done = result ? NULL : mp_done(&packer, length);
    if (!result && !done)
        result = -ENOMEM;
    if (!result && *length > DP_MAX_PAYLOAD)
        result = -E2BIG;
    if (!result) {
        *bytes = malloc(*length);
        if (*bytes)
            memcpy(*bytes, done, *length);
        else
            result = -ENOMEM;
    }
    mp_free(&packer);
    return result;
}
