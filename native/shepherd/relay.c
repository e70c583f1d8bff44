/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay: its thread, and the calls that the shepherd's main thread makes.
 *
 * Theory of operation. All state belongs to the relay's thread, which sleeps in epoll on the link, /dev/fuse, the
 * streams, a tick each second and an eventfd. A call from main is a function run on that thread (relay_call): main
 * puts it into the one call slot, pokes the eventfd and waits. What needs the deputy's answer is a relay_reply that
 * main waits for with a deadline. What happens by itself goes into a small ring of events with its own eventfd.
 *
 * libzmq's descriptors are edge-triggered, so the loop asks the sockets themselves before each sleep.
 */
#include "relay.h"
#include "../common/log.h"
#include "relay_private.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int64_t relay_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void poke(int descriptor) {
    uint64_t one = 1;
    ssize_t written = write(descriptor, &one, sizeof one);
    assert(written == sizeof one || errno == EAGAIN);
    (void)written;
}

static void unpoke(int descriptor) {
    uint64_t count;
    ssize_t got = read(descriptor, &count, sizeof count);
    assert(got == sizeof count || errno == EAGAIN);
    (void)got;
}

int relay_watch(struct relay *relay, int descriptor, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = descriptor};
    if (epoll_ctl(relay->epoll, EPOLL_CTL_ADD, descriptor, &event) == 0)
        return 0;
    if (errno == EEXIST && epoll_ctl(relay->epoll, EPOLL_CTL_MOD, descriptor, &event) == 0)
        return 0;
    return -errno;
}

void relay_unwatch(struct relay *relay, int descriptor) {
    if (epoll_ctl(relay->epoll, EPOLL_CTL_DEL, descriptor, NULL) != 0)
        assert(errno == ENOENT || errno == EBADF);
}

/* --- between the two threads -------------------------------------------------------------------------------------- */

int relay_call(struct relay *relay, int (*function)(struct relay *relay, void *argument), void *argument) {
    pthread_mutex_lock(&relay->lock);
    assert(!relay->call.pending); /* one caller */
    relay->call.function = function;
    relay->call.argument = argument;
    relay->call.pending = true;
    relay->call.done = false;
    poke(relay->wake);
    while (!relay->call.done)
        pthread_cond_wait(&relay->changed, &relay->lock);
    int result = relay->call.result;
    pthread_mutex_unlock(&relay->lock);
    return result;
}

static void serve_call(struct relay *relay) {
    pthread_mutex_lock(&relay->lock);
    bool pending = relay->call.pending;
    pthread_mutex_unlock(&relay->lock);
    if (!pending)
        return;
    int result = relay->call.function(relay, relay->call.argument);
    pthread_mutex_lock(&relay->lock);
    relay->call.result = result;
    relay->call.pending = false;
    relay->call.done = true;
    pthread_cond_broadcast(&relay->changed);
    pthread_mutex_unlock(&relay->lock);
}

bool relay_reply_wait(struct relay *relay, struct relay_reply *reply, int timeout_ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nanoseconds = until.tv_nsec + (int64_t)(timeout_ms % 1000) * 1000000;
    until.tv_sec += timeout_ms / 1000 + nanoseconds / 1000000000;
    until.tv_nsec = nanoseconds % 1000000000;
    pthread_mutex_lock(&relay->lock);
    int error = 0;
    while (!reply->done && error == 0)
        error = pthread_cond_timedwait(&relay->changed, &relay->lock, &until);
    bool done = reply->done;
    reply->wanted = reply->done = false;
    pthread_mutex_unlock(&relay->lock);
    return done;
}

void relay_reply_set(struct relay *relay, struct relay_reply *reply, int value, uint32_t epoch) {
    pthread_mutex_lock(&relay->lock);
    if (reply->wanted && !reply->done) {
        reply->done = true;
        reply->value = value;
        reply->epoch = epoch;
        pthread_cond_broadcast(&relay->changed);
    }
    pthread_mutex_unlock(&relay->lock);
}

void relay_post(struct relay *relay, enum relay_event_type type, int value) {
    pthread_mutex_lock(&relay->lock);
    unsigned last = (relay->event_first + relay->event_count + RELAY_EVENTS - 1) % RELAY_EVENTS;
    if (relay->event_count > 0 && relay->events[last].type == type && type == RELAY_LINK_DOWN) {
        relay->events[last].value = value;
    } else if (relay->event_count == RELAY_EVENTS) {
        log_line("too many events wait for the shepherd: dropped one of type %d", type);
    } else {
        relay->events[(relay->event_first + relay->event_count) % RELAY_EVENTS] = (struct relay_event){type, value};
        relay->event_count++;
    }
    pthread_mutex_unlock(&relay->lock);
    poke(relay->events_ready);
}

int relay_event_fd(struct relay *relay) {
    return relay->events_ready;
}

bool relay_next_event(struct relay *relay, struct relay_event *event) {
    pthread_mutex_lock(&relay->lock);
    bool any = relay->event_count > 0;
    if (any) {
        *event = relay->events[relay->event_first];
        relay->event_first = (relay->event_first + 1) % RELAY_EVENTS;
        relay->event_count--;
    }
    if (relay->event_count == 0)
        unpoke(relay->events_ready);
    pthread_mutex_unlock(&relay->lock);
    return any;
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static void dispatch(struct relay *relay, const struct epoll_event *event) {
    int descriptor = event->data.fd;
    if (descriptor == relay->wake) {
        unpoke(relay->wake);
        serve_call(relay);
    } else if (descriptor == relay->timer) {
        unpoke(relay->timer);
        relay_link_tick(relay);
        relay_streams_tick(relay);
    } else if (descriptor == relay->fuse.descriptor) {
        relay_fuse_readable(relay);
    } else if (descriptor != relay->socket_descriptor && descriptor != relay->monitor_descriptor) {
        relay_streams_ready(relay, descriptor, event->events);
    }
}

static void *relay_main(void *argument) {
    struct relay *relay = argument;
    while (!relay->stopping) {
        relay_link_receive(relay);
        if (relay->blocked)
            relay_flush(relay);
        struct epoll_event events[16];
        int count = epoll_wait(relay->epoll, events, 16, relay_link_has_input(relay) ? 0 : -1);
        assert(count >= 0 || errno == EINTR);
        for (int i = 0; i < count && !relay->stopping; i++)
            dispatch(relay, &events[i]);
    }
    return NULL;
}

static int call_stop(struct relay *relay, void *argument) {
    (void)argument;
    relay->stopping = true;
    return 0;
}

static void release(struct relay *relay) {
    relay_fuse_close(relay);
    relay_streams_close(relay);
    relay_hang_up(relay);
    if (relay->context)
        zmq_ctx_term(relay->context);
    int descriptors[] = {relay->epoll, relay->wake, relay->timer, relay->events_ready};
    for (size_t i = 0; i < 4; i++) {
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    }
    pthread_mutex_destroy(&relay->lock);
    pthread_cond_destroy(&relay->changed);
    free(relay->spec);
    explicit_bzero(relay->client_secret, sizeof relay->client_secret);
    free(relay);
}

void relay_stop(struct relay *relay) {
    if (relay == NULL)
        return;
    relay_call(relay, call_stop, NULL);
    pthread_join(relay->thread, NULL);
    release(relay);
}

static int prepare(struct relay *relay, const struct relay_config *config) {
    if (!keys_decode(config->server_key, NULL) || !keys_decode(config->client_public, NULL) ||
        !keys_decode(config->client_secret, NULL) || strlen(config->endpoint) >= sizeof relay->endpoint ||
        strlen(config->task) >= sizeof relay->task)
        return -EINVAL;
    strcpy(relay->endpoint, config->endpoint);
    strcpy(relay->server_key, config->server_key);
    strcpy(relay->client_public, config->client_public);
    strcpy(relay->client_secret, config->client_secret);
    strcpy(relay->task, config->task);
    memcpy(relay->claimant, config->claimant, DP_CLAIMANT);
    relay->epoch = config->epoch;
    relay->epoll = epoll_create1(EPOLL_CLOEXEC);
    relay->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->events_ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (relay->epoll < 0 || relay->wake < 0 || relay->events_ready < 0 || relay->timer < 0)
        return -errno;
    const struct timespec second = {RELAY_TICK_MS / 1000, RELAY_TICK_MS % 1000 * 1000000};
    const struct itimerspec each_second = {second, second};
    if (timerfd_settime(relay->timer, 0, &each_second, NULL) != 0)
        return -errno;
    int result = relay_watch(relay, relay->wake, EPOLLIN);
    if (result == 0)
        result = relay_watch(relay, relay->timer, EPOLLIN);
    relay->context = zmq_ctx_new();
    if (relay->context == NULL)
        return -errno;
    return result;
}

static int start_thread(struct relay *relay) {
    sigset_t all, before;
    sigfillset(&all);
    /* Inherited by libzmq's threads, which the first socket starts. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = relay_dial(relay);
    if (result == 0)
        result = -pthread_create(&relay->thread, NULL, relay_main, relay);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

int relay_start(const struct relay_config *config, struct relay **out, int timeout_ms) {
    struct relay *relay = calloc(1, sizeof *relay);
    if (relay == NULL)
        return -ENOMEM;
    relay->epoll = relay->wake = relay->timer = relay->events_ready = -1;
    relay->socket_descriptor = relay->monitor_descriptor = relay->fuse.descriptor = -1;
    relay_streams_init(relay);
    relay_fuse_init(relay);
    pthread_mutex_init(&relay->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&relay->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    relay->welcome.wanted = true;
    int result = prepare(relay, config);
    if (result == 0)
        result = start_thread(relay);
    if (result != 0) {
        release(relay);
        return result;
    }
    result = relay_reply_wait(relay, &relay->welcome, timeout_ms) ? relay->welcome.value : -ETIMEDOUT;
    if (result != 0) {
        relay_stop(relay);
        return result;
    }
    *out = relay;
    return 0;
}

const void *relay_spec(struct relay *relay, size_t *length) {
    pthread_mutex_lock(&relay->lock);
    *length = relay->spec_length;
    const void *spec = relay->spec;
    pthread_mutex_unlock(&relay->lock);
    return spec;
}
