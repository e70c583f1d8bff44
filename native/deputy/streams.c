/* SPDX-License-Identifier: Apache-2.0
 *
 * The task's standard streams at home.
 *
 * Theory of operation. Offsets count bytes from the start of the task, so that a byte that is sent again, by the host
 * after a broken connection or by the next host, is known and dropped. Output is acknowledged once it is written, and
 * the host keeps what is not acknowledged; so what waits here is bounded by its window. Input is read ahead as far as
 * the window, and kept until the host's pipe or terminal has it.
 *
 * The descriptors are shared with other processes (the shell), so O_NONBLOCK must not be set on them. RWF_NOWAIT does
 * it for one call; where a file knows no such thing, poll says that a small piece fits.
 */
#include "../common/log.h"
#include "deputy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SMALL_PIECE 4096
#define OUT_LIMIT ((size_t)DP_OUT_WINDOW + (8u << 20)) /* the window, and what a freeze may add */

void streams_begin(struct deputy *deputy) {
    for (int i = 0; i < 2; i++) {
        struct output *output = &deputy->output[i];
        struct stat status;
        output->descriptor = i + 1;
        output->plain = fstat(i + 1, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
    }
}

/* --- output ------------------------------------------------------------------------------------------------------- */

static void acknowledge(struct deputy *deputy, int stream) {
    struct output *output = &deputy->output[stream - 1];
    struct session *session = sessions_current(deputy);
    if (session)
        session_send(deputy, session, DP_OUT_ACK, (uint16_t)stream, output->broken ? EPIPE : 0, output->written, NULL,
                     0);
}

static ssize_t write_some(const struct output *output, const uint8_t *bytes, size_t length) {
    if (output->plain)
        return write(output->descriptor, bytes, length);
    const struct iovec piece = {(void *)(uintptr_t)bytes, length};
    ssize_t written = pwritev2(output->descriptor, &piece, 1, -1, RWF_NOWAIT);
    if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
        return written;
    written = send(output->descriptor, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written >= 0 || errno != ENOTSOCK)
        return written;
    struct pollfd wait = {.fd = output->descriptor, .events = POLLOUT};
    if (poll(&wait, 1, 0) <= 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(output->descriptor, bytes, length < SMALL_PIECE ? length : SMALL_PIECE);
}

/* Give our end up, so that whoever reads it sees the end; the number stays taken. */
static void close_output(struct output *output) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0)
        return;
    if (dup2(null, output->descriptor) >= 0)
        output->closed = true;
    close(null);
}

/* How much of bytes[0 .. length) left; the rest waits. */
static size_t push(struct output *output, const uint8_t *bytes, size_t length) {
    size_t done = 0;
    while (done < length) {
        ssize_t written = output->broken ? (ssize_t)(length - done) : write_some(output, bytes + done, length - done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN) {
            output->blocked = true;
            break;
        }
        if (written < 0) {
            /* EPIPE: nobody reads. EIO: the terminal is gone. ENOSPC and the like: the bytes can't be kept, which the
             * task's own write would have been told at home; here it is told by a closed pipe. */
            if (errno != EPIPE && errno != EIO)
                log_line("can't write the task's output: %s", strerror(errno));
            output->broken = true;
            continue;
        }
        done += (size_t)written;
    }
    output->written += done;
    return done;
}

static bool keep(struct output *output, const uint8_t *bytes, size_t length) {
    if (output->first + output->length + length > output->room) {
        if (output->length)
            memmove(output->bytes, output->bytes + output->first, output->length);
        output->first = 0;
    }
    if (output->length + length > output->room) {
        if (output->length + length > OUT_LIMIT)
            return false;
        uint8_t *more = realloc(output->bytes, output->length + length);
        if (!more)
            return false;
        output->bytes = more;
        output->room = output->length + length;
    }
    memcpy(output->bytes + output->first + output->length, bytes, length);
    output->length += length;
    return true;
}

void output_received(struct deputy *deputy, int stream, uint64_t offset, const void *payload, size_t length) {
    struct output *output = &deputy->output[stream - 1];
    const uint8_t *bytes = payload;
    if (offset > output->received || offset + length < offset)
        return; /* a gap: the host sends again from what is acknowledged */
    if (offset + length <= output->received)
        return acknowledge(deputy, stream); /* known, and our acknowledgement may have been lost */
    size_t known = (size_t)(output->received - offset);
    bytes += known;
    length -= known;
    size_t done = output->length == 0 ? push(output, bytes, length) : 0;
    if (done < length && !keep(output, bytes + done, length - done))
        length = done; /* more than the window: sent again later */
    output->received += length;
    if (done > 0)
        acknowledge(deputy, stream);
}

void output_write(struct deputy *deputy, int stream) {
    struct output *output = &deputy->output[stream - 1];
    output->blocked = false;
    if (output->length > 0) {
        size_t done = push(output, output->bytes + output->first, output->length);
        output->first += done;
        output->length -= done;
        if (output->length == 0)
            output->first = 0;
        if (done > 0)
            acknowledge(deputy, stream);
    }
    /* Not before the command runs: that it does not is said there. */
    if (output->length == 0 && output->ended && !output->closed && deputy->started &&
        !(deputy->terminal.terminals & (1u << stream)))
        close_output(output);
    task_try_end(deputy);
}

void output_ended(struct deputy *deputy, int stream) {
    deputy->output[stream - 1].ended = true;
    output_write(deputy, stream);
}

bool output_done(const struct deputy *deputy) {
    return deputy->output[0].length == 0 && deputy->output[1].length == 0;
}

/* --- input -------------------------------------------------------------------------------------------------------- */

static void send_input(struct deputy *deputy) {
    struct input *input = &deputy->input;
    struct session *session = sessions_current(deputy);
    if (!session || !session->route_length || input->broken)
        return;
    while (input->sent < input->read) {
        size_t at = (size_t)(input->sent % DP_IN_WINDOW);
        size_t length = (size_t)(input->read - input->sent);
        if (length > DP_IN_WINDOW - at)
            length = DP_IN_WINDOW - at;
        if (!session_send(deputy, session, DP_IN, 0, 0, input->sent, input->bytes + at, length))
            return;
        input->sent += length;
    }
    if (input->eof && !input->eof_sent)
        input->eof_sent = session_send(deputy, session, DP_IN, DP_EOF, 0, input->read, NULL, 0);
}

bool input_wanted(const struct deputy *deputy) {
    const struct input *input = &deputy->input;
    return deputy->started && !input->eof && !input->broken && !deputy->ending && !deputy->stopped_by &&
           input->read - input->acked < DP_IN_WINDOW &&
           (deputy->terminal.interactive ? deputy->terminal.raw : terminal_is_foreground(&deputy->terminal));
}

void input_read(struct deputy *deputy) {
    struct input *input = &deputy->input;
    if (!input->bytes && !(input->bytes = malloc(DP_IN_WINDOW))) {
        input->eof = true;
        return;
    }
    size_t at = (size_t)(input->read % DP_IN_WINDOW);
    size_t room = DP_IN_WINDOW - (size_t)(input->read - input->acked);
    if (room > DP_IN_WINDOW - at)
        room = DP_IN_WINDOW - at;
    ssize_t got = read(0, input->bytes + at, room);
    if (got > 0)
        input->read += (uint64_t)got;
    else if (got == 0 || (errno != EINTR && errno != EAGAIN))
        input->eof = true;
    send_input(deputy);
}

void input_acked(struct deputy *deputy, uint64_t offset, bool broken) {
    struct input *input = &deputy->input;
    if (offset > input->read || offset < input->acked)
        return;
    input->acked = offset;
    if (input->sent < offset)
        input->sent = offset;
    if (broken)
        input->broken = true;
}

void input_restart(struct deputy *deputy, uint64_t offset) {
    struct input *input = &deputy->input;
    if (offset >= input->acked && offset <= input->read)
        input->sent = offset;
    input->eof_sent = false;
    send_input(deputy);
}
