/* SPDX-License-Identifier: Apache-2.0
 *
 * A task begins here.
 */
#include "../common/log.h"
#include "shepherd.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#define CLAIM_TIMEOUT_MS 15000

/* The terminal as it is at home. */
static int set_terminal(const struct shepherd *shepherd) {
    const void *bytes;
    size_t length;
    if (shepherd->terminal < 0)
        return 0;
    if (mp_get_bin(shepherd->spec.map, "termios", &bytes, &length) && length == sizeof(struct termios)) {
        struct termios settings;
        memcpy(&settings, bytes, sizeof settings);
        if (tcsetattr(shepherd->terminal, TCSANOW, &settings))
            return -errno;
    }
    if (mp_get_bin(shepherd->spec.map, "winsize", &bytes, &length) && length == sizeof(struct winsize)) {
        struct winsize size;
        memcpy(&size, bytes, sizeof size);
        if (ioctl(shepherd->terminal, TIOCSWINSZ, &size))
            return -errno;
    }
    return 0;
}

static int start(struct shepherd *shepherd, const char **step) {
    struct relay_stdio stdio = {-1, -1, {-1, -1}};
    void *program = NULL;
    size_t length = 0;
    int result = build_capsule(shepherd, step);
    if (result)
        return result;
    *step = "make the standard streams";
    if ((result = build_stdio(shepherd, &stdio)) || (result = set_terminal(shepherd)) ||
        (result = relay_attach_stdio(shepherd->relay, &stdio, NULL)))
        return result;
    *step = "claim the task";
    uint32_t current = 0;
    if ((result = relay_claim(shepherd->relay, shepherd->assignment.epoch, &current, CLAIM_TIMEOUT_MS)))
        return result;
    shepherd->epoch = shepherd->assignment.epoch;
    *step = "read the command";
    if ((result = spec_program(shepherd, &program, &length)))
        return result;
    *step = shepherd->capsule.step;
    int inner = capsule_spawn(&shepherd->capsule, program, length);
    free(program);
    if (inner < 0)
        return inner;
    shepherd->inner = inner;
    *step = "find the first process";
    shepherd->pid = capsule_find(&shepherd->capsule, inner);
    if (shepherd->pid == -ESRCH)
        return 0; /* it has ended already: its report waits */
    return shepherd->pid < 0 ? shepherd->pid : 0;
}

int shepherd_start(struct shepherd *shepherd) {
    const char *step = "";
    int result = start(shepherd, &step);
    if (!result) {
        result = relay_started(shepherd->relay);
        struct mp_packer *event = agentlink_begin(shepherd->agent, "started");
        mp_add_str(event, "task", shepherd->assignment.task);
        if (agentlink_event(shepherd->agent))
            log_line("the agent is away: it learns from the announcements that the task has started");
        return result;
    }
    log_line("can't start: %s: %s", step, strerror(-result));
    struct mp_packer *event = agentlink_begin(shepherd->agent, "start-failed");
    mp_add_str(event, "task", shepherd->assignment.task);
    mp_add_u64(event, "status", strcmp(step, "exec") ? 125 : result == -ENOENT ? 127 : 126);
    char message[256];
    snprintf(message, sizeof message, "%s: %s", step, strerror(-result));
    mp_add_str(event, "message", message);
    int told = agentlink_event(shepherd->agent);
    if (shepherd->relay)
        told = relay_exec_failed(shepherd->relay, -result, step);
    if (told)
        log_line("could not say so: %s", strerror(-told));
    return result;
}
