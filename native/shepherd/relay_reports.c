/* SPDX-License-Identifier: Apache-2.0
 *
 * Claims, and what the shepherd reports of the task to the deputy.
 *
 * Theory of operation. A report is state, not a message: it is remembered, and said (again) whenever the link comes up,
 * so that a broken connection loses none. The exit is said after the last byte of output.
 */
#include "../common/log.h"
#include "relay_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void relay_reports_flush(struct relay *relay) {
    if (relay->exit_sent || relay->exit_acked)
        return;
    if (relay->exec_failed)
        relay->exit_sent =
            relay_send(relay, DP_EXEC_FAILED, 0, relay->exec_error, 0, relay->exec_step, strlen(relay->exec_step));
    else if (relay->exiting && relay_streams_drain(relay))
        relay->exit_sent = relay_send(relay, DP_EXIT, 0, relay->exit_status, 0, &relay->usage, sizeof relay->usage);
}

static int call_claim(struct relay *relay, void *argument) {
    uint32_t epoch = *(uint32_t *)argument, before = relay->epoch;
    struct dp_claim claim;
    relay_streams_claim(relay, &claim);
    if (relay->fenced)
        return -ESTALE;
    pthread_mutex_lock(&relay->lock);
    relay->claimed = (struct relay_reply){.wanted = true};
    pthread_mutex_unlock(&relay->lock);
    relay->epoch = epoch;
    bool sent = relay_send(relay, DP_CLAIM, 0, 0, 0, &claim, sizeof claim);
    relay->epoch = before;
    return sent ? 0 : -EAGAIN;
}

int relay_claim(struct relay *relay, uint32_t epoch, uint32_t *current_epoch, int timeout_ms) {
    /* A link that is down just now may come back in time: each second it is asked again. */
    while (timeout_ms > 0) {
        int step = timeout_ms < 1000 ? timeout_ms : 1000;
        int result = relay_call(relay, call_claim, &epoch);
        if (result != 0 && result != -EAGAIN)
            return result;
        if (relay_reply_wait(relay, &relay->claimed, step)) {
            *current_epoch = relay->claimed.epoch;
            return relay->claimed.value;
        }
        timeout_ms -= step;
    }
    return -ETIMEDOUT;
}

static int call_started(struct relay *relay, void *argument) {
    (void)argument;
    relay->started_said = true;
    relay_send(relay, DP_STARTED, 0, 0, 0, NULL, 0); /* else said when the link is up */
    return 0;
}

int relay_started(struct relay *relay) {
    return relay_call(relay, call_started, NULL);
}

static int call_state(struct relay *relay, void *argument) {
    relay->stop_signal = *(int *)argument;
    relay_send(relay, DP_STATE, 0, relay->stop_signal, 0, NULL, 0);
    return 0;
}

int relay_state(struct relay *relay, int stop_signal) {
    return relay_call(relay, call_state, &stop_signal);
}

struct failure {
    int error;
    const char *step;
};

static int call_exec_failed(struct relay *relay, void *argument) {
    const struct failure *failure = argument;
    relay->exec_failed = true;
    relay->exec_error = failure->error;
    snprintf(relay->exec_step, sizeof relay->exec_step, "%s", failure->step);
    relay_reports_flush(relay);
    return 0;
}

int relay_exec_failed(struct relay *relay, int error, const char *step) {
    struct failure failure = {error, step};
    return relay_call(relay, call_exec_failed, &failure);
}

struct ending {
    int status;
    const struct dp_usage *usage;
};

static int call_exit(struct relay *relay, void *argument) {
    const struct ending *ending = argument;
    relay->exiting = true;
    relay->exit_status = ending->status;
    if (ending->usage)
        relay->usage = *ending->usage;
    relay_reports_flush(relay);
    return 0;
}

int relay_exit(struct relay *relay, int wait_status, const struct dp_usage *usage) {
    struct ending ending = {wait_status, usage};
    return relay_call(relay, call_exit, &ending);
}
