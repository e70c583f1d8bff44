/* SPDX-License-Identifier: Apache-2.0
 *
 * The deputy's link to shepherds.
 *
 * Theory of operation. One ROUTER with CURVE. The deputy makes the session keys of each shepherd itself and hands them
 * out through the agent, so a message's key (which ZAP attaches) says which session it belongs to, whatever the routing
 * id claims. Two sessions at most: the host that holds the epoch, and the candidate for the next one. The candidate may
 * look at files and take over open handles, nothing else; who lost is told DP_FENCED, whatever it asks, except for a
 * claim, which is always answered as a claim.
 *
 * Nothing here waits. Answers to files are bounded by the requests that a shepherd has under way, streams by their
 * window, so the send queue need not be.
 */
#include "../common/log.h"
#include "deputy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECEIVE_BATCH 64

static int slot_of(const struct deputy *deputy, const struct session *session) {
    return (int)(session - deputy->sessions);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int set_options(void *socket) {
    const struct {
        int option, value;
    } options[] = {{ZMQ_SNDHWM, 0},
                   {ZMQ_RCVHWM, 4000},
                   {ZMQ_LINGER, 1000},
                   {ZMQ_ROUTER_MANDATORY, 1},
                   {ZMQ_TCP_KEEPALIVE, 1},
                   {ZMQ_TCP_KEEPALIVE_IDLE, 10},
                   {ZMQ_TCP_KEEPALIVE_INTVL, 5},
                   {ZMQ_TCP_KEEPALIVE_CNT, 4},
                   {ZMQ_HANDSHAKE_IVL, 10000}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof(int)))
            return -zmq_errno();
    const int64_t limit = DP_MAX_PAYLOAD;
    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &limit, sizeof limit) ? -zmq_errno() : 0;
}

int sessions_open(struct deputy *deputy) {
    struct in_addr checked;
    char wanted[256];
    size_t length = sizeof deputy->endpoint;
    if (inet_pton(AF_INET, deputy->address, &checked) != 1)
        return -EADDRNOTAVAIL;
    int result = deputy->endpoint[0] ? 0 : keys_make(&deputy->server);
    if (!result)
        result = zap_start(deputy->context, &deputy->zap);
    if (result)
        return result;
    deputy->router = zmq_socket(deputy->context, ZMQ_ROUTER);
    if (!deputy->router)
        return -zmq_errno();
    if ((result = set_options(deputy->router)) || (result = keys_serve(deputy->router, deputy->server.secret_key)))
        return result;
    if (deputy->endpoint[0])
        snprintf(wanted, sizeof wanted, "%s", deputy->endpoint);
    else
        snprintf(wanted, sizeof wanted, "tcp://%s:*", deputy->address);
    if (zmq_bind(deputy->router, wanted) ||
        zmq_getsockopt(deputy->router, ZMQ_LAST_ENDPOINT, deputy->endpoint, &length))
        return -zmq_errno();
    return 0;
}

void sessions_close(struct deputy *deputy) {
    for (int i = 0; i < SESSIONS; i++) {
        if (deputy->sessions[i].route_length && !deputy->exit_acked)
            session_send(deputy, &deputy->sessions[i], DP_KILL, 0, 0, 0, NULL, 0);
        replies_close(deputy->sessions[i].replies);
    }
    if (deputy->router)
        zmq_close(deputy->router);
    zap_stop(deputy->zap);
}

/* --- who is who --------------------------------------------------------------------------------------------------- */

struct session *sessions_current(struct deputy *deputy) {
    for (int i = 0; i < SESSIONS; i++)
        if (deputy->sessions[i].state == SESSION_CURRENT)
            return &deputy->sessions[i];
    return NULL;
}

static struct session *candidate(struct deputy *deputy) {
    for (int i = 0; i < SESSIONS; i++)
        if (deputy->sessions[i].state == SESSION_CANDIDATE)
            return &deputy->sessions[i];
    return NULL;
}

static struct session *session_of_key(struct deputy *deputy, const char *key) {
    for (int i = 0; i < SESSIONS; i++)
        if (deputy->sessions[i].state != SESSION_FREE && !strcmp(deputy->sessions[i].client_public, key))
            return &deputy->sessions[i];
    return NULL;
}

static bool was_fenced(const struct deputy *deputy, const char *key) {
    for (int i = 0; i < FENCED_KEYS; i++)
        if (!strcmp(deputy->fenced[i], key))
            return true;
    return false;
}

/* The session is over: its shepherd is told, its key stays known as that of one who lost. */
static void fence(struct deputy *deputy, struct session *session) {
    session_send(deputy, session, DP_FENCED, 0, 0, 0, NULL, 0);
    homefs_session_end(deputy->homefs, slot_of(deputy, session));
    char *forgotten = deputy->fenced[deputy->fenced_next++ % FENCED_KEYS];
    if (*forgotten)
        zap_forbid(deputy->zap, forgotten);
    memcpy(forgotten, session->client_public, KEY_TEXT);
    replies_close(session->replies);
    memset(session, 0, sizeof *session);
}

/* Of two sessions at once the epochs are neighbours. */
static struct replies *open_replies(const struct deputy *deputy, const char *key, uint32_t epoch) {
    char path[PATH_MAX];
    if (!deputy->options.deputy ||
        (size_t)snprintf(path, sizeof path, "%s/answers.%u", deputy->folder, epoch % 2) >= sizeof path)
        return replies_open(NULL, key);
    return replies_open(path, key);
}

static int begin(struct deputy *deputy, struct session *session, const char *key, uint32_t epoch, uint32_t host,
                 enum session_state state) {
    session->replies = open_replies(deputy, key, epoch);
    if (!session->replies)
        return -ENOMEM;
    int result = zap_allow(deputy->zap, key);
    if (result) {
        replies_close(session->replies);
        session->replies = NULL;
        return result;
    }
    snprintf(session->client_public, sizeof session->client_public, "%s", key);
    session->epoch = epoch;
    session->host = host;
    session->state = state;
    session->route_length = 0;
    homefs_session_begin(deputy->homefs, slot_of(deputy, session));
    homefs_session_writable(deputy->homefs, slot_of(deputy, session), state == SESSION_CURRENT);
    return 0;
}

int sessions_candidate(struct deputy *deputy, uint32_t epoch, uint32_t host, struct key_pair *client) {
    if (epoch != deputy->epoch.current + 1)
        return -ESTALE;
    struct session *old = candidate(deputy);
    if (old)
        fence(deputy, old);
    for (int i = 0; i < SESSIONS; i++) {
        if (deputy->sessions[i].state != SESSION_FREE)
            continue;
        int result = keys_make(client);
        return result ? result
                      : begin(deputy, &deputy->sessions[i], client->public_key, epoch, host, SESSION_CANDIDATE);
    }
    return -EBUSY;
}

void sessions_drop_candidate(struct deputy *deputy, uint32_t epoch) {
    struct session *dropped = candidate(deputy);
    if (dropped && dropped->epoch == epoch)
        fence(deputy, dropped);
}

int sessions_resume(struct deputy *deputy) {
    return begin(deputy, &deputy->sessions[0], deputy->epoch.client_public, deputy->epoch.current, 0, SESSION_CURRENT);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static bool send_to(struct deputy *deputy, const void *route, size_t route_length, const struct dp_header *header,
                    const void *payload, size_t length) {
    if (route_length == 0 || zmq_send(deputy->router, route, route_length, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return false; /* its connection broke: it says hello again */
    return zmq_send(deputy->router, header, sizeof *header, ZMQ_SNDMORE) >= 0 &&
           zmq_send(deputy->router, payload, length, 0) >= 0;
}

bool session_send(struct deputy *deputy, struct session *session, enum dp_type type, uint16_t flags, int32_t value,
                  uint64_t offset, const void *payload, size_t length) {
    const struct dp_header header = {.magic = DP_MAGIC,
                                     .type = (uint16_t)type,
                                     .flags = flags,
                                     .epoch = deputy->epoch.current,
                                     .value = value,
                                     .offset = offset};
    return send_to(deputy, session->route, session->route_length, &header, payload, length);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

struct arrived {
    uint8_t route[MOST_ROUTE];
    size_t route_length;
    char key[KEY_TEXT];
    struct dp_header header;
    const uint8_t *payload;
    size_t length;
};

static void hello(struct deputy *deputy, struct session *session, const struct arrived *message) {
    if (message->length < DP_CLAIMANT || message->length - DP_CLAIMANT != strlen(deputy->task) ||
        memcmp(message->payload + DP_CLAIMANT, deputy->task, strlen(deputy->task)) != 0) {
        log_line("dropped a hello for another task");
        return;
    }
    /* Again: the connection broke, and with it notifications may have been lost. */
    if (session->route_length > 0)
        homefs_session_recall(deputy->homefs, slot_of(deputy, session));
    memcpy(session->route, message->route, message->route_length);
    session->route_length = message->route_length;
    session_send(deputy, session, DP_WELCOME, 0, 0, 0, deputy->spec, deputy->spec_length);
    /* From here on it acknowledges what it has: input goes on from there. */
    if (session->state == SESSION_CURRENT)
        input_restart(deputy, deputy->input.acked);
}

static void answer_claim(struct deputy *deputy, const struct arrived *message, int value) {
    const struct dp_header header = {
        .magic = DP_MAGIC, .type = DP_CLAIMED, .epoch = deputy->epoch.current, .value = value};
    (void)send_to(deputy, message->route, message->route_length, &header, deputy->epoch.claimant, DP_CLAIMANT);
}

/* The epoch went up: this session holds it, the other one, if there is one, lost. */
static void took_over(struct deputy *deputy, struct session *session) {
    for (int i = 0; i < SESSIONS; i++)
        if (&deputy->sessions[i] != session && deputy->sessions[i].state != SESSION_FREE)
            fence(deputy, &deputy->sessions[i]);
    bool moved = session->state == SESSION_CANDIDATE && deputy->epoch.current > 1;
    session->state = SESSION_CURRENT;
    session->epoch = deputy->epoch.current;
    homefs_session_writable(deputy->homefs, slot_of(deputy, session), true);
    if (session->host)
        deputy->host = session->host;
    if (moved)
        deputy->moves++;
}

static void claim(struct deputy *deputy, struct session *session, const struct arrived *message) {
    struct dp_claim wanted;
    bool changed;
    if (message->length != sizeof wanted)
        return answer_claim(deputy, message, -EBADMSG);
    memcpy(&wanted, message->payload, sizeof wanted);
    if (!session || (session->state == SESSION_CANDIDATE && message->header.epoch != session->epoch))
        return answer_claim(deputy, message, -ESTALE);
    for (int i = 0; i < 2; i++) {
        if (wanted.out_offset[i] > deputy->output[i].received) {
            log_line("refused a claim: bytes of the task's output are missing");
            return answer_claim(deputy, message, -EBADMSG);
        }
    }
    if (wanted.in_offset > deputy->input.read) {
        log_line("refused a claim: it has more input than there was");
        return answer_claim(deputy, message, -EBADMSG);
    }
    int result = epoch_claim(&deputy->epoch, message->header.epoch, wanted.claimant, session->client_public, &changed);
    if (changed)
        took_over(deputy, session);
    answer_claim(deputy, message, result);
    if (!changed)
        return;
    if (deputy->terminal.terminals && (terminal_resized(&deputy->terminal) || deputy->moves))
        session_send(deputy, session, DP_WINSIZE, 0, 0, 0, &deputy->terminal.winsize, sizeof deputy->terminal.winsize);
    input_acked(deputy, wanted.in_offset, false);
    input_restart(deputy, wanted.in_offset);
    agent_claimed(deputy);
}

static void files(struct deputy *deputy, struct session *session, const struct arrived *message) {
    uint64_t unique = 0;
    size_t length;
    /* struct fuse_in_header: length, operation, number. */
    if (message->length >= 16)
        memcpy(&unique, message->payload + 8, sizeof unique);
    const void *before = replies_find(session->replies, unique, &length);
    if (before) {
        session_send(deputy, session, DP_FUSE_REPLY, 0, 0, 0, before, length);
        return;
    }
    length = homefs_handle(deputy->homefs, slot_of(deputy, session), message->payload, message->length, deputy->reply,
                           HOMEFS_REPLY_MAX);
    if (length == 0)
        return;
    replies_keep(session->replies, unique, deputy->reply, length);
    session_send(deputy, session, DP_FUSE_REPLY, 0, 0, 0, deputy->reply, length);
}

/* What only the holder of the epoch may say. */
static void of_current(struct deputy *deputy, struct session *session, const struct arrived *message) {
    const struct dp_header *header = &message->header;
    switch (header->type) {
    case DP_OUT:
        if (header->flags == 1 || header->flags == 2)
            output_received(deputy, header->flags, header->offset, message->payload, message->length);
        return;
    case DP_OUT_EOF:
        if ((header->flags == 1 || header->flags == 2) && header->offset == deputy->output[header->flags - 1].received)
            output_ended(deputy, header->flags);
        return;
    case DP_IN_ACK:
        return input_acked(deputy, header->offset, (header->flags & DP_EOF) != 0);
    case DP_STATE:
        return task_state(deputy, header->value);
    case DP_STARTED:
        return task_started(deputy);
    case DP_EXIT:
        return task_exit(deputy, header->value, message->payload, message->length);
    case DP_EXEC_FAILED:
        return task_exec_failed(deputy, header->value, message->payload, message->length);
    default:
        log_line("dropped a message of unknown type %u", header->type);
    }
    (void)session;
}

static void handle(struct deputy *deputy, const struct arrived *message) {
    struct session *session = session_of_key(deputy, message->key);
    if (session && session->state == SESSION_CURRENT)
        deputy->heard_ms = now_ms();
    if (message->header.type == DP_CLAIM)
        return claim(deputy, session, message);
    if (!session) {
        const struct dp_header header = {.magic = DP_MAGIC, .type = DP_FENCED, .epoch = deputy->epoch.current};
        if (was_fenced(deputy, message->key))
            (void)send_to(deputy, message->route, message->route_length, &header, NULL, 0);
        return;
    }
    switch (message->header.type) {
    case DP_HELLO:
        return hello(deputy, session, message);
    case DP_PING:
        if (message->header.flags & DP_ASLEEP) {
            if (deputy->falling_asleep && session->state == SESSION_CURRENT)
                signals_sleep(deputy);
            return;
        }
        session_send(deputy, session, DP_PONG, 0, 0, 0, NULL, 0);
        return;
    case DP_FUSE:
        return files(deputy, session, message);
    default:
        /* A host that can't even begin says so before it holds anything. */
        if (session->state == SESSION_CURRENT || (message->header.type == DP_EXEC_FAILED && deputy->epoch.current == 0))
            of_current(deputy, session, message);
    }
}

/* Route, header, payload. Anything else is dropped whole. False when there is none. */
static bool receive_one(struct deputy *deputy) {
    zmq_msg_t frames[3], rest;
    struct arrived message;
    int count = 0;
    bool more = true;
    for (; more && count < 3; count++) {
        zmq_msg_init(&frames[count]);
        if (zmq_msg_recv(&frames[count], deputy->router, count == 0 ? ZMQ_DONTWAIT : 0) < 0) {
            zmq_msg_close(&frames[count]);
            break;
        }
        more = zmq_msg_more(&frames[count]);
    }
    if (count == 0)
        return false;
    bool whole = count == 3 && !more;
    while (more) {
        zmq_msg_init(&rest);
        more = zmq_msg_recv(&rest, deputy->router, 0) >= 0 && zmq_msg_more(&rest);
        zmq_msg_close(&rest);
    }
    const char *key = whole ? zmq_msg_gets(&frames[2], "User-Id") : NULL;
    if (whole && key && keys_decode(key, NULL) && zmq_msg_size(&frames[0]) <= MOST_ROUTE &&
        zmq_msg_size(&frames[1]) == sizeof message.header && zmq_msg_size(&frames[2]) <= DP_MAX_PAYLOAD) {
        message.route_length = zmq_msg_size(&frames[0]);
        memcpy(message.route, zmq_msg_data(&frames[0]), message.route_length);
        memcpy(&message.header, zmq_msg_data(&frames[1]), sizeof message.header);
        memcpy(message.key, key, KEY_TEXT);
        message.payload = zmq_msg_data(&frames[2]);
        message.length = zmq_msg_size(&frames[2]);
        if (message.header.magic == DP_MAGIC)
            handle(deputy, &message);
        else
            log_line("dropped a message of another protocol");
    } else {
        log_line("dropped a malformed message");
    }
    for (int i = 0; i < count; i++)
        zmq_msg_close(&frames[i]);
    return true;
}

bool sessions_ready(struct deputy *deputy) {
    int events = 0;
    size_t size = sizeof events;
    return zmq_getsockopt(deputy->router, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN);
}

void sessions_receive(struct deputy *deputy) {
    for (int i = 0; i < RECEIVE_BATCH && receive_one(deputy); i++) {
    }
}
