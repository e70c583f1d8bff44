/* SPDX-License-Identifier: Apache-2.0
 *
 * The deputy's conversation with its node's agent (docs/protocol.md, section 3).
 */
#include "../common/find.h"
#include "../common/log.h"
#include "deputy.h"
#include "spec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GREET_TIMEOUT_MS 8000
#define START_TIMEOUT_MS 30000
#define STARTED_TIMEOUT_MS 40000
#define ENDED_TIMEOUT_MS 120000
#define MOST_COMMAND 256

static const char no_agent[] =
    "no agent runs here: `skein cluster up 3` starts a cluster on this machine, skeind a node of a real one";

int agent_open(struct deputy *deputy) {
    const char *given = getenv("SKEIN_STATE");
    if (given && *given) {
        if (snprintf(deputy->state_folder, sizeof deputy->state_folder, "%s", given) >= PATH_MAX)
            return fail(deputy, "SKEIN_STATE is too long"), -ENAMETOOLONG;
    } else if (find_node(deputy->state_folder, sizeof deputy->state_folder)) {
        return fail(deputy, no_agent), -ENOENT;
    }
    /* A socket that nobody listens on is one of an agent that is being started again: that is waited for. */
    int result = deputy->options.deputy ? 0 : find_agent(deputy->state_folder);
    if (result && result != -ECONNREFUSED)
        return fail(deputy, result == -EACCES ? "the agent's socket in %s is closed to this user" : no_agent,
                    deputy->state_folder),
               result;
    struct agentlink_options options = {deputy->context, deputy->state_folder, "deputy",
                                        deputy->task[0] ? deputy->task : NULL, getenv("SKEIN_TOKEN")};
    result = agentlink_open(&options, &deputy->agent);
    if (result)
        fail(deputy, "can't reach the agent: %s", strerror(-result));
    unsetenv("SKEIN_TOKEN");
    return result;
}

int agent_greet(struct deputy *deputy) {
    struct agentlink_message message;
    while (agentlink_wait(deputy->agent, &message, GREET_TIMEOUT_MS)) {
        if (message.kind == AGENTLINK_DENIED)
            return fail(deputy, "the agent refuses us: %s", message.text), -EACCES;
        if (message.kind != AGENTLINK_UP)
            continue;
        if (mp_get_str(message.body, "address", deputy->address, sizeof deputy->address))
            return 0;
        return fail(deputy, "the agent is of another version: build and start it anew"), -EPROTO;
    }
    return fail(deputy, no_agent), -ETIMEDOUT;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static int add_session(struct deputy *deputy, struct mp_packer *packer, const struct key_pair *client) {
    mp_add_str(packer, "endpoint", deputy->endpoint);
    mp_add_str(packer, "serverKey", deputy->server.public_key);
    mp_add_str(packer, "clientSecret", client->secret_key);
    mp_add_str(packer, "clientPublic", client->public_key);
    return 0;
}

/* What `skein ps` is to show. The whole specification goes from here to the task's host. */
static void add_shown_command(struct mp_packer *packer, char *const *command) {
    size_t left = 16 * MOST_COMMAND;
    mp_add_array(packer, "argv");
    for (; *command && left > 0; command++) {
        size_t length = strnlen(*command, left);
        mp_put_bin(packer, *command, length);
        left -= length;
    }
    mp_end(packer);
}

int agent_ask(struct deputy *deputy) {
    const struct options *options = &deputy->options;
    struct key_pair client = {{0}, {0}};
    struct mp_packer *packer;
    uint64_t id;
    int result = options->detach ? 0 : sessions_candidate(deputy, 1, 0, &client);
    if (result)
        return fail(deputy, "can't make session keys: %s", strerror(-result)), result;
    packer = agentlink_begin(deputy->agent, options->deputy ? "begin" : "start");
    if (!options->deputy) {
        if (!options->detach)
            add_shown_command(packer, options->command);
        else if ((result = spec_add_command(packer, options->command)))
            return fail(deputy, "can't tell the current directory: %s", strerror(-result)), result;
        mp_add_str(packer, "node", options->node);
        mp_add_bool(packer, "stay", options->stay);
        mp_add_bool(packer, "tty", !options->detach && deputy->terminal.terminals != 0);
        mp_add_bool(packer, "detach", options->detach);
        if (options->name)
            mp_add_str(packer, "name", options->name);
    }
    if (!options->detach)
        add_session(deputy, packer, &client);
    explicit_bzero(&client, sizeof client);
    /* Not repeated: a start that was heard twice would be two tasks. */
    result = agentlink_request(deputy->agent, START_TIMEOUT_MS, false, &id);
    if (result == -EMSGSIZE)
        fail(deputy, "the arguments and the environment are too long together: at most 1 MiB");
    else if (result)
        fail(deputy, "can't ask the agent: %s", strerror(-result));
    return result;
}

static void granted(struct deputy *deputy, const msgpack_object *body) {
    uint64_t host = 0;
    char task[sizeof deputy->task];
    if (!mp_get_str(body, "task", task, sizeof task) || (!deputy->options.detach && !mp_get_u64(body, "host", &host)))
        return fail(deputy, "the agent's answer is malformed");
    if (deputy->options.detach) {
        printf("%s\n", task);
        deputy->exit_status = fflush(stdout) ? 125 : 0;
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(deputy->task, sizeof deputy->task, "%s", task);
    log_identity("runon", task);
    if (!deputy->host)
        deputy->host = (uint32_t)host;
    deputy->granted = true;
    deputy->heard_ms = now_ms();
    deputy->started_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    deputy->start_deadline_ms = now_ms() + STARTED_TIMEOUT_MS;
    if (deputy->options.deputy && detached_save(deputy))
        return fail(deputy, "can't write to %s", deputy->folder);
    agent_announce(deputy);
}

static void refused(struct deputy *deputy, const struct agentlink_message *message) {
    if (!strcmp(message->code, "agent-lost"))
        fail(deputy, "the agent ended while it started the task: try again");
    else if (!strcmp(message->code, "timeout"))
        fail(deputy, "the agent did not start the task in %d s", START_TIMEOUT_MS / 1000);
    else
        fail(deputy, "%s", message->text[0] ? message->text : message->code);
    /* What the command itself would have ended with, where the agent knows: a detached task's start. */
    uint64_t status;
    if (message->body && mp_get_u64(message->body, "status", &status) && status < 256)
        deputy->exit_status = (int)status;
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static size_t command_text(const struct deputy *deputy, char *text, size_t room) {
    const msgpack_object_array *list = NULL;
    size_t length = 0;
    if (deputy->options.deputy)
        (void)mp_get_array(&deputy->detached.root, "argv", &list);
    for (size_t i = 0; length + 1 < room; i++) {
        const void *word;
        size_t word_length;
        if (list ? i >= list->size || !mp_as_bin(&list->ptr[i], &word, &word_length) : !deputy->options.command[i])
            break;
        if (!list) {
            word = deputy->options.command[i];
            word_length = strlen(word);
        }
        if (length > 0)
            text[length++] = ' ';
        if (word_length > room - 1 - length)
            word_length = room - 1 - length;
        memcpy(text + length, word, word_length);
        length += word_length;
    }
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 32 || text[i] == 127)
            text[i] = ' ';
    return length;
}

static void add_facts(struct deputy *deputy, struct mp_packer *packer) {
    char command[MOST_COMMAND];
    char name[80];
    bool stay = deputy->options.stay;
    const char *shown_name = deputy->options.name;
    if (deputy->options.deputy) {
        (void)mp_get_bool(&deputy->detached.root, "stay", &stay);
        shown_name = mp_get_str(&deputy->detached.root, "name", name, sizeof name) ? name : NULL;
    }
    mp_add_str(packer, "task", deputy->task);
    mp_add_u64(packer, "epoch", deputy->epoch.current);
    mp_add_str(packer, "state", !deputy->started ? "starting" : deputy->stopped_by ? "stopped" : "running");
    mp_add_u64(packer, "uid", getuid());
    mp_add_u64(packer, "gid", getgid());
    size_t length = command_text(deputy, command, sizeof command);
    mp_add_bin(packer, "command", command, length);
    if (shown_name)
        mp_add_str(packer, "name", shown_name);
    mp_add_bool(packer, "stay", stay);
    mp_add_bool(packer, "tty", deputy->terminal.terminals != 0);
    mp_add_bool(packer, "detach", deputy->options.deputy);
    mp_add_u64(packer, "host", deputy->host);
    mp_add_u64(packer, "moves", deputy->moves);
    mp_add_u64(packer, "startedMs", deputy->started_ms);
}

void agent_announce(struct deputy *deputy) {
    deputy->next_announce_ms = now_ms() + 1000;
    if (!deputy->granted || deputy->exit_acked)
        return;
    struct mp_packer *event = agentlink_begin(deputy->agent, "announce");
    add_facts(deputy, event);
    mp_add_u64(event, "silentMs", (uint64_t)(now_ms() - deputy->heard_ms));
    mp_add_bool(event, "asleep", deputy->asleep);
    mp_add_str(event, "endpoint", deputy->endpoint);
    mp_add_str(event, "serverKey", deputy->server.public_key);
    int result = agentlink_event(deputy->agent);
    if (result && result != -EAGAIN)
        log_line("can't announce: %s", strerror(-result));
}

void agent_claimed(struct deputy *deputy) {
    if (deputy->options.deputy && deputy->granted && detached_save(deputy))
        log_line("can't write to %s: %m", deputy->folder);
    if (!deputy->granted)
        return;
    struct mp_packer *event = agentlink_begin(deputy->agent, "claimed");
    mp_add_str(event, "task", deputy->task);
    mp_add_u64(event, "epoch", deputy->epoch.current);
    if (deputy->host)
        mp_add_u64(event, "host", deputy->host);
    int result = agentlink_event(deputy->agent);
    if (result && result != -EAGAIN)
        log_line("can't tell the agent of epoch %u: %s", deputy->epoch.current, strerror(-result));
}

void agent_ended(struct deputy *deputy) {
    struct mp_packer *packer = agentlink_begin(deputy->agent, "ended");
    /* All of it: the agent may have been started since and know nothing of the task. */
    add_facts(deputy, packer);
    mp_add_u64(packer, "status", (uint64_t)(uint32_t)deputy->wait_status);
    mp_add_double(packer, "cpuSeconds", (double)(deputy->usage.user_us + deputy->usage.system_us) / 1e6);
    int result = agentlink_request(deputy->agent, ENDED_TIMEOUT_MS, true, &deputy->ended_id);
    if (result) {
        log_line("can't tell the agent that the task ended: %s", strerror(-result));
        task_over(deputy);
    }
}

/* --- hearing ------------------------------------------------------------------------------------------------------ */

static void make_candidate(struct deputy *deputy, const struct agentlink_message *message) {
    struct key_pair client;
    uint64_t epoch, host = 0;
    (void)mp_get_u64(message->body, "host", &host);
    int result = mp_get_u64(message->body, "epoch", &epoch) && epoch <= UINT32_MAX && host <= UINT32_MAX ? 0 : -EBADMSG;
    if (!result && (!deputy->started || deputy->ending))
        result = -EBUSY;
    if (!result)
        result = sessions_candidate(deputy, (uint32_t)epoch, (uint32_t)host, &client);
    if (result) {
        agentlink_error(deputy->agent, message->id, "refused",
                        result == -ESTALE ? "the task is at another epoch by now" : strerror(-result));
        return;
    }
    add_session(deputy, agentlink_begin(deputy->agent, "ok"), &client);
    explicit_bzero(&client, sizeof client);
    if ((result = agentlink_answer(deputy->agent, message->id)))
        log_line("can't answer the agent: %s", strerror(-result));
}

/*
 * A move was given up. What is answered says whether the candidate had claimed all the same: the epoch alone does not,
 * since the source may have taken the next one for itself.
 */
static void drop_candidate(struct deputy *deputy, const struct agentlink_message *message) {
    uint64_t epoch;
    if (mp_get_u64(message->body, "epoch", &epoch) && epoch <= UINT32_MAX)
        sessions_drop_candidate(deputy, (uint32_t)epoch);
    struct mp_packer *answer = agentlink_begin(deputy->agent, "ok");
    mp_add_u64(answer, "epoch", deputy->epoch.current);
    mp_add_u64(answer, "host", deputy->host);
    int result = agentlink_answer(deputy->agent, message->id);
    if (result)
        log_line("can't answer the agent: %s", strerror(-result));
}

static void pass_signal(struct deputy *deputy, const struct agentlink_message *message) {
    uint64_t signal;
    struct session *session = sessions_current(deputy);
    if (!mp_get_u64(message->body, "signo", &signal) || signal < 1 || signal > 64 || !session || deputy->ending) {
        agentlink_error(deputy->agent, message->id, "refused", "the task does not run now");
        return;
    }
    session_send(deputy, session, DP_SIGNAL, 0, (int32_t)signal, 0, NULL, 0);
    agentlink_begin(deputy->agent, "ok");
    int result = agentlink_answer(deputy->agent, message->id);
    if (result)
        log_line("can't answer the agent: %s", strerror(-result));
}

static void lost(struct deputy *deputy, const msgpack_object *body) {
    char reason[256];
    if (!mp_get_str(body, "reason", reason, sizeof reason))
        strcpy(reason, "its host is gone");
    fail(deputy, "task %s is lost: %s", deputy->task, reason);
}

void agent_receive(struct deputy *deputy) {
    struct agentlink_message message;
    while (deputy->exit_status < 0 && agentlink_next(deputy->agent, &message)) {
        switch (message.kind) {
        case AGENTLINK_UP:
            agent_announce(deputy);
            break;
        case AGENTLINK_DENIED:
            log_line("the agent refuses us: %s", message.text);
            break;
        case AGENTLINK_REQUEST:
            if (!strcmp(message.type, "candidate"))
                make_candidate(deputy, &message);
            else if (!strcmp(message.type, "signal"))
                pass_signal(deputy, &message);
            else if (!strcmp(message.type, "candidate-drop"))
                drop_candidate(deputy, &message);
            else
                agentlink_error(deputy->agent, message.id, "unknown-request", "no such request");
            break;
        case AGENTLINK_EVENT:
            if (!strcmp(message.type, "lost"))
                lost(deputy, message.body);
            break;
        case AGENTLINK_OK:
            if (message.id == deputy->ended_id && deputy->ended_id)
                task_over(deputy);
            else if (!deputy->granted)
                granted(deputy, message.body);
            break;
        case AGENTLINK_ERROR:
            if (message.id == deputy->ended_id && deputy->ended_id)
                task_over(deputy);
            else if (!deputy->granted)
                refused(deputy, &message);
            break;
        }
    }
}
