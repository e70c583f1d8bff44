/* SPDX-License-Identifier: Apache-2.0
 *
 * What a task's standard streams hold besides the relay's offsets: a pipe's or a terminal's unread input, and the
 * terminal's settings. Carried in the image.
 */
#ifndef SKEIN_TERMINAL_H
#define SKEIN_TERMINAL_H

#include "../engine/image.h"
#include "relay.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <termios.h>

#define STREAM_INPUT_MAX (1u << 20)

struct held_input {
    bool terminal;
    struct termios settings;
    struct winsize size;
    uint8_t *bytes; /* unread input */
    size_t length;
};

/* The unread bytes of the standard input pipe (an O_PATH descriptor of it); nothing is taken out. */
int input_of_pipe(int path_fd, struct held_input *input);
/* Settings and unread input of the terminal with this master. The input is taken out. */
int input_of_terminal(int master, struct held_input *input);
/* Put them (back). The terminal has no reader meanwhile. */
int input_to_terminal(int master, const struct held_input *input);
void input_free(struct held_input *input);

void streams_pack(struct image_writer *writer, const struct relay_streams *streams, const struct held_input *input);
int streams_unpack(struct image_reader *reader, struct relay_streams *streams, struct held_input *input);

#endif
