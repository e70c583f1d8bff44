/* SPDX-License-Identifier: Apache-2.0
 *
 * The link to the agent.
 *
 * Theory of operation. A DEALER on ipc://<state>/agent.sock. libzmq's descriptor is edge-triggered: it tells that
 * *something* changed, and any call on the socket may swallow that. So the owner polls an epoll descriptor made of
 * three: libzmq's, a timer for the next deadline, and an eventfd that is kept readable as long as the socket has input
 * that a call other than agentlink_next has learned of. Together they are level-triggered.
 *
 * ZMQ_IMMEDIATE: nothing is queued while no agent is there, so that an agent that comes back is not flooded with old
 * announcements. A new agent does not know us and answers anything with `who`; then hello is said again. Until hello
 * is accepted only hello and prove are sent; requests wait in their table.
 *
 * What arrives is one frame, at most AGENTLINK_MAX_BYTES, that mp_read accepts, {v: 1, t: text}; anything else is
 * dropped with a log line (the first few: a mad agent must not fill the disk).
 */
#include "agentlink.h"
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#define HELLO_RETRY_MS 1000 /* doubled each time up to: */
#define HELLO_RETRY_MAX_MS 16000
#define DENIED_RETRY_MS 2000
#define REPEAT_MS 1000
#define HIGH_WATER 1000
#define COMPLAINTS 10

struct request {
    uint64_t id; /* 0: free */
    int64_t deadline_ms, repeat_at_ms;
    bool repeat, sent, lost;
    void *bytes;
    size_t length;
};

enum link_state { SAYING_HELLO, PROVING, IS_UP, IS_DENIED };

struct agentlink {
    void *socket;
    int epoll, timer, input_known;
    char state_folder[PATH_MAX];
    char role[16], task[64], token[80];
    enum link_state state;
    bool hello_sent;
    uint64_t next_id, hello_id;
    int64_t hello_at_ms; /* when to say hello again */
    int hello_retry_ms;
    struct request requests[AGENTLINK_MAX_REQUESTS];
    struct mp_packer packer;
    bool packing;
    struct mp_reader reader;
    int complaints;
};

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void complain(struct agentlink *link, const char *what) {
    if (link->complaints++ < COMPLAINTS)
        log_line("dropped a message of the agent: %s", what);
}

static bool socket_events(const struct agentlink *link, int wanted) {
    int events = 0;
    size_t size = sizeof events;
    return zmq_getsockopt(link->socket, ZMQ_EVENTS, &events, &size) == 0 && (events & wanted) != 0;
}

/* After any call on the socket: keep the wake-up that the call may have swallowed. */
static void keep_wakeup(struct agentlink *link) {
    if (socket_events(link, ZMQ_POLLIN)) {
        uint64_t one = 1;
        if (write(link->input_known, &one, sizeof one) < 0)
            assert(errno == EAGAIN);
    }
}

static void set_timer(struct agentlink *link) {
    int64_t next = link->state == IS_UP ? INT64_MAX : link->hello_at_ms;
    for (int i = 0; i < AGENTLINK_MAX_REQUESTS; i++) {
        const struct request *request = &link->requests[i];
        if (request->id == 0)
            continue;
        if (request->deadline_ms < next)
            next = request->deadline_ms;
        if (request->repeat && link->state == IS_UP && request->repeat_at_ms < next)
            next = request->repeat_at_ms;
        if (request->lost)
            next = 1;
    }
    struct itimerspec when = {0};
    if (next != INT64_MAX) {
        if (next < 1)
            next = 1;
        when.it_value = (struct timespec){next / 1000, next % 1000 * 1000000};
    }
    int result = timerfd_settime(link->timer, TFD_TIMER_ABSTIME, &when, NULL);
    assert(result == 0);
    (void)result;
}

static int send_bytes(struct agentlink *link, const void *bytes, size_t length) {
    int result;
    do
        result = zmq_send(link->socket, bytes, length, ZMQ_DONTWAIT);
    while (result < 0 && errno == EINTR);
    int error = result < 0 ? errno : 0;
    keep_wakeup(link);
    return -error;
}

struct mp_packer *agentlink_begin(struct agentlink *link, const char *type) {
    if (link->packing)
        mp_free(&link->packer);
    mp_begin(&link->packer);
    link->packing = true;
    mp_put_map(&link->packer);
    mp_add_u64(&link->packer, "v", 1);
    mp_add_str(&link->packer, "t", type);
    return &link->packer;
}

/* Ends the packer's map, with a last field when `key`. */
static int finish(struct agentlink *link, const char *key, uint64_t value, const void **bytes, size_t *length) {
    assert(link->packing);
    if (key)
        mp_add_u64(&link->packer, key, value);
    mp_end(&link->packer);
    *bytes = mp_done(&link->packer, length);
    if (*bytes == NULL)
        return -EINVAL;
    return *length > AGENTLINK_MAX_BYTES ? -EMSGSIZE : 0;
}

static int send_begun(struct agentlink *link, const char *key, uint64_t value) {
    const void *bytes;
    size_t length;
    int result = finish(link, key, value, &bytes, &length);
    if (result == 0)
        result = send_bytes(link, bytes, length);
    mp_free(&link->packer);
    link->packing = false;
    return result;
}

int agentlink_event(struct agentlink *link) {
    if (link->state == IS_UP)
        return send_begun(link, NULL, 0);
    mp_free(&link->packer);
    link->packing = false;
    return -EAGAIN;
}

int agentlink_answer(struct agentlink *link, uint64_t id) {
    return send_begun(link, "re", id);
}

int agentlink_error(struct agentlink *link, uint64_t id, const char *code, const char *text) {
    struct mp_packer *packer = agentlink_begin(link, "error");
    mp_add_str(packer, "code", code);
    mp_add_str(packer, "message", text);
    return send_begun(link, "re", id);
}

static void send_request(struct agentlink *link, struct request *request) {
    if (send_bytes(link, request->bytes, request->length) != 0)
        return;
    request->sent = true;
    request->repeat_at_ms = now_ms() + REPEAT_MS;
}

static void free_request(struct request *request) {
    free(request->bytes);
    memset(request, 0, sizeof *request);
}

int agentlink_request(struct agentlink *link, int timeout_ms, bool repeat, uint64_t *id) {
    struct request *request = NULL;
    for (int i = 0; i < AGENTLINK_MAX_REQUESTS && request == NULL; i++) {
        if (link->requests[i].id == 0)
            request = &link->requests[i];
    }
    const void *bytes;
    size_t length;
    uint64_t fresh = link->next_id++;
    int result = finish(link, "id", fresh, &bytes, &length);
    if (result == 0 && request == NULL)
        result = -EBUSY;
    void *copy = result == 0 ? malloc(length) : NULL;
    if (result == 0 && copy == NULL)
        result = -ENOMEM;
    if (result == 0) {
        memcpy(copy, bytes, length);
        *request = (struct request){.id = fresh, .repeat = repeat, .bytes = copy, .length = length};
        request->deadline_ms = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
        if (id)
            *id = fresh;
        if (link->state == IS_UP)
            send_request(link, request);
        set_timer(link);
    }
    mp_free(&link->packer);
    link->packing = false;
    return result;
}

static void say_hello(struct agentlink *link) {
    /* The owner may be in the middle of filling the packer when nothing is lost by waiting: then the timer comes. */
    if (link->packing)
        return;
    struct mp_packer *packer = agentlink_begin(link, "hello");
    mp_add_str(packer, "role", link->role);
    mp_add_u64(packer, "uid", getuid());
    mp_add_u64(packer, "pid", (uint64_t)getpid());
    if (link->task[0])
        mp_add_str(packer, "task", link->task);
    if (link->token[0])
        mp_add_str(packer, "token", link->token);
    link->state = SAYING_HELLO;
    link->hello_id = link->next_id++;
    link->hello_sent = send_begun(link, "id", link->hello_id) == 0;
    /* An agent too busy to answer in time must not be asked ever anew: only the answer to the last hello counts. */
    if (!link->hello_sent)
        link->hello_retry_ms = HELLO_RETRY_MS;
    link->hello_at_ms = now_ms() + link->hello_retry_ms;
    if (link->hello_retry_ms < HELLO_RETRY_MAX_MS)
        link->hello_retry_ms *= 2;
    set_timer(link);
}

/* Only the last part of the path that the agent names is used: it must not make us create files elsewhere. */
static int make_proof(struct agentlink *link, const char *path) {
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    char file[PATH_MAX + 300];
    if (*name == 0 || *name == '.' || strlen(name) > 200)
        return -EINVAL;
    snprintf(file, sizeof file, "%s/proof/%s", link->state_folder, name);
    int descriptor = open(file, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0)
        return -errno;
    return close(descriptor) == 0 ? 0 : -errno;
}

static bool came_up(struct agentlink *link, struct agentlink_message *message) {
    link->state = IS_UP;
    link->hello_retry_ms = HELLO_RETRY_MS;
    message->kind = AGENTLINK_UP;
    for (int i = 0; i < AGENTLINK_MAX_REQUESTS; i++) {
        struct request *request = &link->requests[i];
        if (request->id == 0)
            continue;
        if (request->sent && !request->repeat)
            request->lost = true;
        else
            send_request(link, request);
    }
    set_timer(link);
    return true;
}

static bool refused(struct agentlink *link, struct agentlink_message *message) {
    link->state = IS_DENIED;
    link->hello_at_ms = now_ms() + DENIED_RETRY_MS;
    set_timer(link);
    message->kind = AGENTLINK_DENIED;
    return true;
}

/* The answer to our hello or prove. Returns whether the owner has something to see. */
static bool hello_answered(struct agentlink *link, bool accepted, struct agentlink_message *message) {
    if (!accepted)
        return refused(link, message);
    char path[PATH_MAX];
    if (link->state == PROVING || !mp_get_str(message->body, "proof", path, sizeof path))
        return came_up(link, message);
    int result = make_proof(link, path);
    if (result != 0) {
        snprintf(message->code, sizeof message->code, "proof");
        snprintf(message->text, sizeof message->text, "can't create the proof in %.150s/proof: %s", link->state_folder,
                 strerror(-result));
        return refused(link, message);
    }
    agentlink_begin(link, "prove");
    link->state = PROVING;
    link->hello_id = link->next_id++;
    int sent = send_begun(link, "id", link->hello_id);
    link->hello_at_ms = now_ms() + (sent == 0 ? link->hello_retry_ms : 1);
    set_timer(link);
    return false;
}

/* Looks at one message that was read into link->reader. Returns whether the owner has something to see. */
static bool judge(struct agentlink *link, struct agentlink_message *message) {
    const msgpack_object *body = &link->reader.root;
    uint64_t version = 0, answered = 0;
    memset(message, 0, sizeof *message);
    message->body = body;
    if (!mp_get_u64(body, "v", &version) || version != 1 || !mp_get_str(body, "t", message->type, sizeof message->type))
        return complain(link, "wrong version or type"), false;
    if (strcmp(message->type, "who") == 0) {
        if (link->state == IS_UP)
            say_hello(link);
        return false;
    }
    if (!mp_get_u64(body, "re", &answered)) {
        message->kind = mp_get_u64(body, "id", &message->id) ? AGENTLINK_REQUEST : AGENTLINK_EVENT;
        return true;
    }
    bool accepted = strcmp(message->type, "ok") == 0;
    if (!accepted && strcmp(message->type, "error") != 0)
        return complain(link, "answer of unknown type"), false;
    if (!accepted) {
        if (!mp_get_str(body, "code", message->code, sizeof message->code))
            strcpy(message->code, "failed");
        const void *text;
        size_t length;
        if (mp_get_bin(body, "message", &text, &length))
            snprintf(message->text, sizeof message->text, "%.*s", (int)(length < 255 ? length : 255),
                     (const char *)text);
    }
    if ((link->state == SAYING_HELLO || link->state == PROVING) && answered == link->hello_id)
        return hello_answered(link, accepted, message);
    for (int i = 0; i < AGENTLINK_MAX_REQUESTS; i++) {
        if (link->requests[i].id != answered || answered == 0)
            continue;
        free_request(&link->requests[i]);
        set_timer(link);
        message->id = answered;
        message->kind = accepted ? AGENTLINK_OK : AGENTLINK_ERROR;
        return true;
    }
    return false; /* late: it was given up */
}

/* 1: a message is in link->reader; 0: nothing there. Garbage is dropped on the way. */
static int receive(struct agentlink *link) {
    for (;;) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, link->socket, ZMQ_DONTWAIT) < 0) {
            int error = errno;
            zmq_msg_close(&frame);
            if (error == EINTR)
                continue;
            return 0;
        }
        if (zmq_msg_more(&frame)) {
            complain(link, "more than one frame");
            while (zmq_msg_more(&frame)) {
                if (zmq_msg_recv(&frame, link->socket, 0) < 0 && errno != EINTR)
                    break;
            }
            zmq_msg_close(&frame);
            continue;
        }
        mp_reader_free(&link->reader);
        int result = mp_read(&link->reader, zmq_msg_data(&frame), zmq_msg_size(&frame), AGENTLINK_MAX_BYTES);
        zmq_msg_close(&frame);
        if (result == 0)
            return 1;
        complain(link, strerror(-result));
    }
}

/* Deadlines. Returns whether one made something for the owner to see. */
static bool tick(struct agentlink *link, struct agentlink_message *message) {
    int64_t now = now_ms();
    if (link->state != IS_UP && now >= link->hello_at_ms)
        say_hello(link);
    for (int i = 0; i < AGENTLINK_MAX_REQUESTS; i++) {
        struct request *request = &link->requests[i];
        if (request->id == 0)
            continue;
        if (request->lost || now >= request->deadline_ms) {
            memset(message, 0, sizeof *message);
            message->kind = AGENTLINK_ERROR;
            message->id = request->id;
            strcpy(message->code, request->lost ? "agent-lost" : "timeout");
            strcpy(message->text, request->lost ? "the agent was started again" : "the agent does not answer");
            free_request(request);
            set_timer(link);
            return true;
        }
        if (link->state == IS_UP && (!request->sent || (request->repeat && now >= request->repeat_at_ms))) {
            request->repeat_at_ms = now + REPEAT_MS;
            send_request(link, request);
        }
    }
    set_timer(link);
    return false;
}

bool agentlink_next(struct agentlink *link, struct agentlink_message *message) {
    uint64_t count;
    /* Both only carry the wake-up: an empty one says EAGAIN. */
    if (read(link->input_known, &count, sizeof count) < 0)
        assert(errno == EAGAIN);
    if (read(link->timer, &count, sizeof count) < 0)
        assert(errno == EAGAIN);
    for (;;) {
        if (link->state == SAYING_HELLO && !link->hello_sent && socket_events(link, ZMQ_POLLOUT))
            say_hello(link);
        bool received = receive(link) == 1;
        if (received && judge(link, message))
            break;
        if (received)
            continue;
        if (tick(link, message))
            break;
        if (!socket_events(link, ZMQ_POLLIN))
            return false;
    }
    keep_wakeup(link);
    return true;
}

bool agentlink_wait(struct agentlink *link, struct agentlink_message *message, int timeout_ms) {
    int64_t deadline = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
    while (!agentlink_next(link, message)) {
        int64_t left = deadline == INT64_MAX ? -1 : deadline - now_ms();
        if (left < 0 && deadline != INT64_MAX)
            return false;
        struct pollfd item = {link->epoll, POLLIN, 0};
        if (poll(&item, 1, left > INT_MAX ? INT_MAX : (int)left) < 0 && errno != EINTR)
            return false;
    }
    return true;
}

int agentlink_fd(struct agentlink *link) {
    return link->epoll;
}

static int watch(struct agentlink *link, int descriptor) {
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(link->epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : -errno;
}

static int set_up(struct agentlink *link, void *context) {
    link->socket = zmq_socket(context, ZMQ_DEALER);
    link->epoll = epoll_create1(EPOLL_CLOEXEC);
    link->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    link->input_known = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (link->socket == NULL || link->epoll < 0 || link->timer < 0 || link->input_known < 0)
        return -errno;
    const struct {
        int option, value;
    } options[] = {{ZMQ_IMMEDIATE, 1},      {ZMQ_SNDHWM, HIGH_WATER},     {ZMQ_RCVHWM, HIGH_WATER},
                   {ZMQ_RECONNECT_IVL, 50}, {ZMQ_RECONNECT_IVL_MAX, 500}, {ZMQ_LINGER, 0}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (zmq_setsockopt(link->socket, options[i].option, &options[i].value, sizeof(int)) != 0)
            return -errno;
    }
    int64_t limit = AGENTLINK_MAX_BYTES;
    if (zmq_setsockopt(link->socket, ZMQ_MAXMSGSIZE, &limit, sizeof limit) != 0)
        return -errno;
    char endpoint[PATH_MAX + 32];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/agent.sock", link->state_folder);
    if (zmq_connect(link->socket, endpoint) != 0)
        return -errno;
    int descriptor;
    size_t size = sizeof descriptor;
    if (zmq_getsockopt(link->socket, ZMQ_FD, &descriptor, &size) != 0)
        return -errno;
    int result = watch(link, descriptor);
    if (result == 0)
        result = watch(link, link->timer);
    if (result == 0)
        result = watch(link, link->input_known);
    return result;
}

int agentlink_open(const struct agentlink_options *options, struct agentlink **out) {
    struct agentlink *link = calloc(1, sizeof *link);
    if (link == NULL)
        return -ENOMEM;
    link->epoll = link->timer = link->input_known = -1;
    link->next_id = 1;
    link->hello_retry_ms = HELLO_RETRY_MS;
    snprintf(link->state_folder, sizeof link->state_folder, "%s", options->state);
    snprintf(link->role, sizeof link->role, "%s", options->role);
    snprintf(link->task, sizeof link->task, "%s", options->task ? options->task : "");
    snprintf(link->token, sizeof link->token, "%s", options->token ? options->token : "");
    int result = set_up(link, options->context);
    if (result != 0) {
        agentlink_close(link, 0);
        return result;
    }
    say_hello(link);
    *out = link;
    return 0;
}

void agentlink_close(struct agentlink *link, int linger_ms) {
    if (link == NULL)
        return;
    if (link->socket) {
        zmq_setsockopt(link->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
        zmq_close(link->socket);
    }
    if (link->epoll >= 0)
        close(link->epoll);
    if (link->timer >= 0)
        close(link->timer);
    if (link->input_known >= 0)
        close(link->input_known);
    for (int i = 0; i < AGENTLINK_MAX_REQUESTS; i++)
        free_request(&link->requests[i]);
    if (link->packing)
        mp_free(&link->packer);
    mp_reader_free(&link->reader);
    free(link);
}
