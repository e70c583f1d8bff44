/* SPDX-License-Identifier: Apache-2.0
 *
 * shepherd: looks after one task on its host. Started by skeind for the task's user, with SKEIN_STATE, SKEIN_TASK and
 * SKEIN_TOKEN in its environment.
 *
 * Theory of operation. init is forked before ZeroMQ has threads. Then the agent says what to do: start the task, or
 * receive it from another host. When this program ends, by whatever cause, the kernel kills the capsule.
 */
#include "../common/log.h"
#include "../common/zap.h"
#include "shepherd.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <zmq.h>

#define AGENT_TIMEOUT_MS 15000
#define KILL_GRACE_MS 500

static int read_assignment(struct shepherd *shepherd, const msgpack_object *body) {
    struct assignment *assignment = &shepherd->assignment;
    const msgpack_object *map, *deputy;
    char mode[16];
    uint64_t epoch;
    if (!mp_get_map(body, "assignment", &map) || !mp_get_map(map, "deputy", &deputy) ||
        !mp_get_str(map, "mode", mode, sizeof mode) || !mp_get_u64(map, "epoch", &epoch) || epoch == 0 ||
        epoch > UINT32_MAX || !mp_get_str(map, "task", assignment->task, sizeof assignment->task) ||
        !mp_get_str(map, "address", assignment->address, sizeof assignment->address) ||
        !mp_get_str(deputy, "endpoint", assignment->endpoint, sizeof assignment->endpoint) ||
        !mp_get_str(deputy, "serverKey", assignment->server_key, sizeof assignment->server_key) ||
        !mp_get_str(deputy, "clientSecret", assignment->client_secret, sizeof assignment->client_secret) ||
        !mp_get_str(deputy, "clientPublic", assignment->client_public, sizeof assignment->client_public))
        return -EBADMSG;
    assignment->receive = !strcmp(mode, "receive");
    assignment->epoch = (uint32_t)epoch;
    return assignment->receive || !strcmp(mode, "start") ? 0 : -EBADMSG;
}

static int await_assignment(struct shepherd *shepherd) {
    struct agentlink_message message;
    while (agentlink_wait(shepherd->agent, &message, AGENT_TIMEOUT_MS)) {
        if (message.kind == AGENTLINK_UP)
            return read_assignment(shepherd, message.body);
        if (message.kind == AGENTLINK_DENIED) {
            log_line("the agent refuses us: %s", message.text);
            return -EACCES;
        }
    }
    return -ETIMEDOUT;
}

/* A process that waits for a file of home can't be killed before the answer, and home may be gone. */
static void end_capsule(struct shepherd *shepherd) {
    if (shepherd->relay && !capsule_dies(&shepherd->capsule, KILL_GRACE_MS) && relay_fence(shepherd->relay))
        log_line("can't close home's files: who waits for one stays");
    capsule_kill(&shepherd->capsule);
}

int main(void) {
    const char *state = getenv("SKEIN_STATE"), *task = getenv("SKEIN_TASK"), *token = getenv("SKEIN_TOKEN");
    const char *restorer = getenv("SKEIN_RESTORER_FD");
    if (!state || !task || !token) {
        fprintf(stderr, "shepherd: started by skeind only (see docs/protocol.md)\n");
        return 2;
    }
    log_identity("shepherd", task);
    /* Pages pass through buffers of a MiB: keep them instead of asking the kernel for fresh ones each time. */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    signal(SIGPIPE, SIG_IGN);
    if (restorer && fcntl(atoi(restorer), F_SETFD, FD_CLOEXEC))
        log_line("the restorer was not handed over");
    struct shepherd shepherd = {.terminal = -1, .stdin_path = -1};
    int result = capsule_fork(&shepherd.capsule);
    if (result) {
        log_line("can't make namespaces: %s (skein doctor says what forbids it)", strerror(-result));
        return 1;
    }
    unsetenv("SKEIN_TOKEN");
    if (getrandom(shepherd.claimant, sizeof shepherd.claimant, 0) != (ssize_t)sizeof shepherd.claimant)
        return 1;
    shepherd.context = zmq_ctx_new();
    struct agentlink_options options = {shepherd.context, state, "shepherd", task, token};
    result = shepherd.context ? agentlink_open(&options, &shepherd.agent) : -ENOMEM;
    if (!result)
        result = await_assignment(&shepherd);
    if (result)
        log_line("no assignment: %s", strerror(-result));
    else
        result = shepherd.assignment.receive ? shepherd_receive(&shepherd) : shepherd_start(&shepherd);
    int status = result ? 1 : shepherd_loop(&shepherd);
    end_capsule(&shepherd);
    if (shepherd.relay)
        relay_stop(shepherd.relay);
    agentlink_close(shepherd.agent, 1000);
    if (shepherd.door)
        zmq_close(shepherd.door);
    zap_stop(shepherd.zap);
    if (shepherd.context)
        zmq_ctx_term(shepherd.context);
    return status;
}
