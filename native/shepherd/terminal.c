/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. tee(2) copies a pipe without emptying it. A terminal's input can only be read, from the slave,
 * which TIOCGPTPEER opens from the master whatever mounts there are; in non-canonical mode with VMIN 0 everything
 * comes, a line that is not finished too. Writing it to another master puts it back: with echo, signals, flow control
 * and translation off, so that nothing happens twice, and in the task's canonical or raw mode, because switching that
 * mode over existing input would make a half-typed line a whole one.
 */
#include "terminal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void input_free(struct held_input *input) {
    free(input->bytes);
    *input = (struct held_input){0};
}

int input_of_pipe(int path_fd, struct held_input *input) {
    char path[40];
    int ends[2] = {-1, -1}, result = 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", path_fd);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (reader < 0)
        return -errno;
    long size = fcntl(reader, F_GETPIPE_SZ);
    if (size <= 0 || size > (long)STREAM_INPUT_MAX)
        size = STREAM_INPUT_MAX;
    input->bytes = malloc((size_t)size);
    if (!input->bytes)
        result = -ENOMEM;
    else if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) || fcntl(ends[1], F_SETPIPE_SZ, (int)size) < 0)
        result = -errno;
    if (!result) {
        ssize_t copied = tee(reader, ends[1], (size_t)size, SPLICE_F_NONBLOCK);
        ssize_t got = copied > 0 ? read(ends[0], input->bytes, (size_t)size) : 0;
        input->length = got > 0 ? (size_t)got : 0;
        if (copied < 0 && errno != EAGAIN)
            result = -errno;
        else if (copied > 0 && got != copied)
            result = -EIO;
    }
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    close(reader);
    return result;
}

int input_of_terminal(int master, struct held_input *input) {
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    int result = 0;
    input->terminal = true;
    input->bytes = malloc(STREAM_INPUT_MAX);
    if (!input->bytes)
        result = -ENOMEM;
    else if (tcgetattr(slave, &input->settings) || ioctl(slave, TIOCGWINSZ, &input->size))
        result = -errno;
    if (!result) {
        struct termios raw = input->settings;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ECHOE | ECHOK | ECHONL | ISIG | IEXTEN);
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        if (tcsetattr(slave, TCSANOW, &raw))
            result = -errno;
    }
    while (!result && input->length < STREAM_INPUT_MAX) {
        ssize_t got = read(slave, input->bytes + input->length, STREAM_INPUT_MAX - input->length);
        if (got <= 0)
            break;
        input->length += (size_t)got;
    }
    if (!result && tcsetattr(slave, TCSANOW, &input->settings))
        result = -errno;
    close(slave);
    return result;
}

int input_to_terminal(int master, const struct held_input *input) {
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    struct termios quiet = input->settings;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL | ISIG | IEXTEN);
    quiet.c_iflag &= ~(tcflag_t)(IXON | IXOFF | ICRNL | INLCR | IGNCR | ISTRIP | IUCLC | IXANY);
    int result = tcsetattr(slave, TCSANOW, &quiet) || ioctl(slave, TIOCSWINSZ, &input->size) ? -errno : 0;
    for (size_t done = 0; done < input->length && !result;) {
        ssize_t put = write(master, input->bytes + done, input->length - done);
        if (put <= 0)
            result = put < 0 ? -errno : -EIO;
        else
            done += (size_t)put;
    }
    if (!result && tcsetattr(slave, TCSANOW, &input->settings))
        result = -errno;
    close(slave);
    return result;
}

void streams_pack(struct image_writer *writer, const struct relay_streams *streams, const struct held_input *input) {
    image_put_u64(writer, streams->in_offset);
    image_put_u32(writer, streams->in_eof);
    for (int i = 0; i < 2; i++) {
        image_put_u64(writer, streams->out_offset[i]);
        image_put_u32(writer, streams->out_eof[i]);
        image_put_bytes(writer, streams->out_unacked[i], streams->out_unacked_length[i]);
    }
    image_put_u32(writer, input->terminal);
    image_put_bytes(writer, &input->settings, sizeof input->settings);
    image_put_bytes(writer, &input->size, sizeof input->size);
    image_put_bytes(writer, input->bytes, input->length);
}

/* Fresh memory with a copy. */
static uint8_t *copy_bytes(struct image_reader *reader, size_t limit, size_t *length) {
    const uint8_t *bytes = image_get_bytes(reader, limit, length);
    uint8_t *copy = bytes ? malloc(*length ? *length : 1) : NULL;
    if (!copy)
        image_fail(reader);
    else
        memcpy(copy, bytes, *length);
    return copy;
}

static void copy_fixed(struct image_reader *reader, void *to, size_t size) {
    size_t length;
    const uint8_t *bytes = image_get_bytes(reader, size, &length);
    if (bytes && length == size)
        memcpy(to, bytes, size);
    else
        image_fail(reader);
}

int streams_unpack(struct image_reader *reader, struct relay_streams *streams, struct held_input *input) {
    *streams = (struct relay_streams){0};
    *input = (struct held_input){0};
    streams->in_offset = image_get_u64(reader);
    streams->in_eof = image_get_u32(reader) != 0;
    for (int i = 0; i < 2; i++) {
        streams->out_offset[i] = image_get_u64(reader);
        streams->out_eof[i] = image_get_u32(reader) != 0;
        streams->out_unacked[i] = copy_bytes(reader, 64u << 20, &streams->out_unacked_length[i]);
    }
    input->terminal = image_get_u32(reader) != 0;
    copy_fixed(reader, &input->settings, sizeof input->settings);
    copy_fixed(reader, &input->size, sizeof input->size);
    input->bytes = copy_bytes(reader, STREAM_INPUT_MAX, &input->length);
    return image_reader_ok(reader) ? 0 : -EBADMSG;
}
