/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay's half of a task's standard input, output, error and terminal.
 *
 * Theory of operation. Offsets count bytes from the start of the task. Output is read as long as less than a window is
 * unacknowledged, and kept until the deputy acknowledged it as written at home: after a reconnection or a migration
 * the rest is sent again, and the deputy drops what it has. Input comes with its offset; what is already there is
 * dropped, and "handed" (written into the pipe or terminal, so part of the task's own state) is acknowledged.
 *
 * A descriptor is watched only for what can be done with it now: epoll reports hang-ups of any watched one for ever.
 * While frozen nothing is moved, but acknowledgements count.
 */
#include "../common/log.h"
#include "relay_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CHUNK (512u << 10)
/* What a freeze may add: a full pipe (at most 1 MiB unless someone raised the limit) behind a full window. */
#define OUT_LIMIT (DP_OUT_WINDOW + (4u << 20))

void relay_streams_init(struct relay *relay) {
    struct relay_stdio_state *stdio = &relay->stdio;
    stdio->master = stdio->in.descriptor = stdio->out[0].descriptor = stdio->out[1].descriptor = -1;
    for (int i = 0; i < 4; i++)
        stdio->watches[i].descriptor = -1;
}

/* --- which descriptors are watched -------------------------------------------------------------------------------- */

static bool wants_output(const struct relay_stdio_state *stdio, int stream) {
    const struct relay_out *out = &stdio->out[stream];
    return stdio->attached && !stdio->frozen && !out->eof && out->length < DP_OUT_WINDOW;
}

static void set_watch(struct relay *relay, int slot, int descriptor, uint32_t events) {
    struct relay_stdio_state *stdio = &relay->stdio;
    if (descriptor < 0)
        events = 0;
    if (stdio->watches[slot].events == events && (events == 0 || stdio->watches[slot].descriptor == descriptor))
        return;
    if (stdio->watches[slot].events != 0 && (events == 0 || stdio->watches[slot].descriptor != descriptor))
        relay_unwatch(relay, stdio->watches[slot].descriptor);
    stdio->watches[slot].events = events;
    stdio->watches[slot].descriptor = descriptor;
    if (events != 0 && relay_watch(relay, descriptor, events) != 0)
        log_line("can't watch a stream of the task: %m");
}

static void update_watches(struct relay *relay) {
    struct relay_stdio_state *stdio = &relay->stdio;
    bool input = stdio->attached && !stdio->frozen && stdio->in.length > 0;
    bool to_master = stdio->in.descriptor < 0;
    uint32_t master = 0;
    if (stdio->master >= 0 && !stdio->master_idle)
        master = (wants_output(stdio, stdio->master_out) ? EPOLLIN : 0u) | (input && to_master ? EPOLLOUT : 0u);
    set_watch(relay, 0, stdio->master, master);
    set_watch(relay, 1, stdio->in.descriptor, input && !to_master ? EPOLLOUT : 0);
    for (int i = 0; i < 2; i++)
        set_watch(relay, 2 + i, stdio->out[i].descriptor, wants_output(stdio, i) ? EPOLLIN : 0);
}

/* --- output ------------------------------------------------------------------------------------------------------- */

static int make_room(struct relay_out *out, size_t wanted) {
    if (out->room - out->first - out->length >= wanted)
        return 0;
    if (out->first > 0) {
        memmove(out->bytes, out->bytes + out->first, out->length);
        out->first = 0;
    }
    if (out->room - out->length >= wanted)
        return 0;
    if (out->length + wanted > OUT_LIMIT)
        return -ENOBUFS;
    /* With as much again, what is there is seldom moved to make room. */
    size_t room = 2 * (out->length + wanted);
    uint8_t *bytes = realloc(out->bytes, room);
    if (bytes == NULL)
        return -ENOMEM;
    out->bytes = bytes;
    out->room = room;
    return 0;
}

static void send_output(struct relay *relay, int stream) {
    struct relay_out *out = &relay->stdio.out[stream];
    while (relay->holds && out->sent < out->length) {
        size_t length = out->length - out->sent < CHUNK ? out->length - out->sent : CHUNK;
        if (!relay_send(relay, DP_OUT, (uint16_t)(stream + 1), 0, out->offset + out->sent,
                        out->bytes + out->first + out->sent, length))
            return;
        out->sent += length;
    }
    if (relay->holds && out->eof && !out->eof_sent)
        out->eof_sent = relay_send(relay, DP_OUT_EOF, (uint16_t)(stream + 1), 0, out->offset + out->length, NULL, 0);
}

static void end_output(struct relay *relay, int stream) {
    struct relay_out *out = &relay->stdio.out[stream];
    if (out->descriptor >= 0) {
        set_watch(relay, 2 + stream, -1, 0);
        close(out->descriptor);
        out->descriptor = -1;
    }
    out->eof = true;
}

/* Reads until nothing is there or `limit` bytes wait. True when nothing is there. */
static bool read_output(struct relay *relay, int stream, size_t limit) {
    struct relay_stdio_state *stdio = &relay->stdio;
    struct relay_out *out = &stdio->out[stream];
    bool terminal = stdio->master >= 0 && stdio->master_out == stream && out->descriptor < 0;
    int descriptor = terminal ? stdio->master : out->descriptor;
    while (!out->eof && descriptor >= 0) {
        if (out->length >= limit || make_room(out, CHUNK / 2) != 0)
            return false;
        ssize_t got = read(descriptor, out->bytes + out->first + out->length, CHUNK / 2);
        if (got > 0) {
            out->length += (size_t)got;
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if (got < 0 && errno == EAGAIN) {
            return true;
        } else if (terminal) {
            /* EIO: no process has the terminal open now; one may open it again. */
            stdio->master_idle = true;
            return true;
        } else {
            end_output(relay, stream);
        }
    }
    return true;
}

void relay_streams_acked(struct relay *relay, int stream, uint64_t offset, bool broken) {
    if (stream != 1 && stream != 2)
        return;
    struct relay_out *out = &relay->stdio.out[stream - 1];
    if (broken && out->descriptor >= 0) {
        end_output(relay, stream - 1);
        out->eof_sent = true;
    }
    if (offset < out->offset || offset - out->offset > out->length)
        return; /* of before a migration, or nonsense */
    size_t taken = (size_t)(offset - out->offset);
    out->offset += taken;
    out->first += taken;
    out->length -= taken;
    out->sent = out->sent > taken ? out->sent - taken : 0;
    if (out->length == 0)
        out->first = 0;
    relay_reports_flush(relay);
    update_watches(relay);
}

/* --- input -------------------------------------------------------------------------------------------------------- */

static void acknowledge(struct relay *relay, bool now) {
    struct relay_in *in = &relay->stdio.in;
    bool said = !in->broken || in->broken_said;
    if (said && (in->handed == in->acked || (!now && in->handed - in->acked < DP_IN_WINDOW / 4)))
        return;
    if (!relay_send(relay, DP_IN_ACK, in->broken ? DP_EOF : 0, 0, in->handed, NULL, 0))
        return;
    in->acked = in->handed;
    in->broken_said = in->broken;
}

/* The task's pipe has no writer any more. */
static void end_input(struct relay *relay) {
    struct relay_in *in = &relay->stdio.in;
    if (in->descriptor < 0)
        return;
    set_watch(relay, 1, -1, 0);
    close(in->descriptor);
    in->descriptor = -1;
    in->broken = true; /* what follows the end is not for the terminal */
    in->broken_said = true;
}

static void hand_on(struct relay *relay) {
    struct relay_stdio_state *stdio = &relay->stdio;
    struct relay_in *in = &stdio->in;
    if (!stdio->attached || stdio->frozen)
        return;
    int descriptor = in->descriptor >= 0 ? in->descriptor : stdio->master;
    while (in->length > 0) {
        ssize_t written =
            in->broken || descriptor < 0 ? (ssize_t)in->length : write(descriptor, in->bytes + in->first, in->length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN)
            break;
        if (written < 0) {
            /* A terminal that nobody has open swallows what is typed; a pipe without reader is over for good. */
            in->broken = in->descriptor >= 0;
            written = (ssize_t)in->length;
        }
        in->first += (size_t)written;
        in->length -= (size_t)written;
        in->handed += (uint64_t)written;
    }
    if (in->length == 0)
        in->first = 0;
    if (in->length == 0 && in->eof && !in->eof_handed) {
        in->eof_handed = true;
        end_input(relay);
    }
    acknowledge(relay, in->length == 0);
}

void relay_streams_input(struct relay *relay, uint64_t offset, bool eof, const void *bytes, size_t length) {
    struct relay_in *in = &relay->stdio.in;
    uint64_t have = in->handed + in->length;
    if (!relay->holds || in->eof || offset > have || have - offset > length)
        return; /* a gap is filled by the deputy, which sends again from what was acknowledged */
    size_t known = (size_t)(have - offset);
    bytes = (const uint8_t *)bytes + known;
    length -= known;
    if (in->bytes == NULL)
        in->bytes = malloc(DP_IN_WINDOW);
    if (in->bytes == NULL || length > DP_IN_WINDOW - in->length) {
        log_line("dropped input beyond the window");
        return;
    }
    if (length > DP_IN_WINDOW - in->first - in->length) {
        memmove(in->bytes, in->bytes + in->first, in->length);
        in->first = 0;
    }
    if (length > 0)
        memcpy(in->bytes + in->first + in->length, bytes, length);
    in->length += length;
    in->eof = eof;
    hand_on(relay);
    update_watches(relay);
}

/* --- called by the loop and the link ------------------------------------------------------------------------------ */

void relay_streams_ready(struct relay *relay, int descriptor, uint32_t events) {
    struct relay_stdio_state *stdio = &relay->stdio;
    bool terminal = descriptor == stdio->master;
    if (descriptor == stdio->in.descriptor || (terminal && (events & EPOLLOUT)))
        hand_on(relay);
    for (int i = 0; i < 2; i++) {
        bool here = descriptor == stdio->out[i].descriptor || (terminal && i == stdio->master_out);
        if (!here || !wants_output(stdio, i))
            continue;
        read_output(relay, i, DP_OUT_WINDOW);
        send_output(relay, i);
    }
    if (relay->exiting)
        relay_reports_flush(relay);
    update_watches(relay);
}

bool relay_streams_drain(struct relay *relay) {
    bool empty = true;
    for (int i = 0; i < 2; i++) {
        struct relay_out *out = &relay->stdio.out[i];
        bool drained = !relay->stdio.attached || relay->stdio.frozen || read_output(relay, i, DP_OUT_WINDOW);
        send_output(relay, i);
        empty = empty && drained && out->sent == out->length;
    }
    return empty;
}

void relay_streams_flush(struct relay *relay) {
    send_output(relay, 0);
    send_output(relay, 1);
    acknowledge(relay, relay->stdio.in.length == 0);
    update_watches(relay);
}

void relay_streams_unsend(struct relay *relay) {
    struct relay_stdio_state *stdio = &relay->stdio;
    for (int i = 0; i < 2; i++) {
        stdio->out[i].sent = 0;
        stdio->out[i].eof_sent = false;
    }
    stdio->in.acked = 0; /* said again, for the deputy to go on from there */
    stdio->in.broken_said = stdio->in.eof_handed;
}

void relay_streams_tick(struct relay *relay) {
    if (!relay->stdio.master_idle)
        return;
    relay->stdio.master_idle = false;
    update_watches(relay);
}

void relay_streams_winsize(struct relay *relay, const void *bytes, size_t length) {
    struct relay_stdio_state *stdio = &relay->stdio;
    if (length != sizeof stdio->winsize)
        return;
    memcpy(&stdio->winsize, bytes, length);
    stdio->winsize_known = true;
    if (stdio->master >= 0 && ioctl(stdio->master, TIOCSWINSZ, &stdio->winsize) != 0)
        log_line("can't set the terminal's size: %m");
    relay_post(relay, RELAY_WINSIZE, 0);
}

void relay_streams_claim(const struct relay *relay, struct dp_claim *claim) {
    memcpy(claim->claimant, relay->claimant, DP_CLAIMANT);
    claim->in_offset = relay->stdio.in.handed;
    for (int i = 0; i < 2; i++)
        claim->out_offset[i] = relay->stdio.out[i].offset;
}

void relay_streams_close(struct relay *relay) {
    struct relay_stdio_state *stdio = &relay->stdio;
    int descriptors[] = {stdio->master, stdio->in.descriptor, stdio->out[0].descriptor, stdio->out[1].descriptor};
    for (int i = 0; i < 4; i++) {
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    }
    free(stdio->in.bytes);
    free(stdio->out[0].bytes);
    free(stdio->out[1].bytes);
}

/* --- calls from main ---------------------------------------------------------------------------------------------- */

struct attach {
    const struct relay_stdio *stdio;
    const struct relay_streams *resume;
};

static int unblock(int descriptor) {
    if (descriptor < 0)
        return 0;
    int flags = fcntl(descriptor, F_GETFL);
    return flags >= 0 && fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -errno;
}

static int continue_streams(struct relay_stdio_state *stdio, const struct relay_streams *resume) {
    stdio->in.handed = stdio->in.acked = resume->in_offset;
    stdio->in.eof = stdio->in.eof_handed = resume->in_eof;
    for (int i = 0; i < 2; i++) {
        struct relay_out *out = &stdio->out[i];
        size_t length = resume->out_unacked_length[i];
        out->offset = resume->out_offset[i];
        out->eof = resume->out_eof[i];
        out->first = out->length = 0;
        int result = make_room(out, length);
        if (result != 0)
            return result;
        if (length > 0)
            memcpy(out->bytes, resume->out_unacked[i], length);
        out->length = length;
    }
    return 0;
}

static int call_attach(struct relay *relay, void *argument) {
    const struct attach *attach = argument;
    const struct relay_stdio *given = attach->stdio;
    struct relay_stdio_state *stdio = &relay->stdio;
    if (stdio->attached)
        return -EBUSY;
    int descriptors[] = {given->master, given->in, given->out[0], given->out[1]};
    for (int i = 0; i < 4; i++) {
        int result = unblock(descriptors[i]);
        if (result != 0)
            return result;
    }
    int result = attach->resume ? continue_streams(stdio, attach->resume) : 0;
    if (result != 0)
        return result;
    stdio->master = given->master;
    stdio->in.descriptor = given->in;
    stdio->out[0].descriptor = given->out[0];
    stdio->out[1].descriptor = given->out[1];
    stdio->master_out = given->out[0] < 0 ? 0 : 1;
    /* The terminal's stream has no end; one without any source has ended, but is not told so: it never was open. */
    for (int i = 0; i < 2; i++) {
        bool terminal = given->master >= 0 && i == stdio->master_out;
        if (descriptors[2 + i] < 0 && !terminal && !stdio->out[i].eof)
            stdio->out[i].eof = stdio->out[i].eof_sent = true;
    }
    if (stdio->in.eof_handed)
        end_input(relay);
    /* One that had ended before the move: whoever writes to it must be told so here too. */
    for (int i = 0; i < 2; i++)
        if (stdio->out[i].eof && stdio->out[i].descriptor >= 0)
            end_output(relay, i);
    stdio->attached = true;
    if (stdio->winsize_known && stdio->master >= 0 && ioctl(stdio->master, TIOCSWINSZ, &stdio->winsize) != 0)
        log_line("can't set the terminal's size: %m");
    hand_on(relay);
    relay_streams_flush(relay);
    return 0;
}

int relay_attach_stdio(struct relay *relay, const struct relay_stdio *stdio, const struct relay_streams *resume) {
    struct attach attach = {stdio, resume};
    return relay_call(relay, call_attach, &attach);
}

static int call_freeze(struct relay *relay, void *argument) {
    struct relay_streams *streams = argument;
    struct relay_stdio_state *stdio = &relay->stdio;
    memset(streams, 0, sizeof *streams);
    bool drained = true;
    for (int i = 0; i < 2; i++)
        drained = (!stdio->attached || read_output(relay, i, OUT_LIMIT)) && drained;
    stdio->frozen = true;
    update_watches(relay);
    if (!drained)
        return -ENOBUFS;
    streams->in_offset = stdio->in.handed;
    streams->in_eof = stdio->in.eof_handed;
    for (int i = 0; i < 2; i++) {
        struct relay_out *out = &stdio->out[i];
        send_output(relay, i);
        streams->out_offset[i] = out->offset;
        streams->out_eof[i] = out->eof;
        streams->out_unacked[i] = malloc(out->length + 1);
        if (streams->out_unacked[i] == NULL)
            return -ENOMEM;
        if (out->length > 0)
            memcpy(streams->out_unacked[i], out->bytes + out->first, out->length);
        streams->out_unacked_length[i] = out->length;
    }
    return 0;
}

int relay_freeze_stdio(struct relay *relay, struct relay_streams *streams) {
    int result = relay_call(relay, call_freeze, streams);
    if (result != 0)
        relay_streams_free(streams);
    return result;
}

static int call_thaw(struct relay *relay, void *argument) {
    (void)argument;
    relay->stdio.frozen = false;
    hand_on(relay);
    relay_streams_flush(relay);
    if (relay->exiting)
        relay_reports_flush(relay);
    return 0;
}

int relay_thaw_stdio(struct relay *relay) {
    return relay_call(relay, call_thaw, NULL);
}

void relay_streams_free(struct relay_streams *streams) {
    for (int i = 0; i < 2; i++) {
        free(streams->out_unacked[i]);
        streams->out_unacked[i] = NULL;
        streams->out_unacked_length[i] = 0;
    }
}
