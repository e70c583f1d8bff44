/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay: the shepherd's second thread. It owns the link to the deputy, the capsule's /dev/fuse descriptor and the
 * host ends of the task's standard streams, and never blocks on anything but poll. The shepherd's main thread drives
 * the task (ptrace, init) and talks to the relay only through these functions, from one thread.
 *
 * FUSE requests go to the deputy as they are and answers come back as they are (FUSE_INIT is answered here; a FORGET
 * has no answer). Requests that are not answered yet are kept, and sent again when the deputy came back.
 */
#ifndef SKEIN_RELAY_H
#define SKEIN_RELAY_H

#include "../common/protocol.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <termios.h>

struct relay;

struct relay_config {
    const char *endpoint, *server_key, *client_public, *client_secret; /* Z85 keys */
    const char *task;
    uint32_t epoch; /* the epoch that this shepherd's key was made for: candidate until relay_claim */
    uint8_t claimant[DP_CLAIMANT];
};

enum relay_event_type {
    RELAY_SIGNAL = 1, /* value: signal for the task. With a terminal: to its foreground group */
    RELAY_WINSIZE,    /* already set on the terminal by the relay; main need do nothing (the kernel sends SIGWINCH) */
    RELAY_FENCED,     /* another shepherd holds the task's epoch: kill the copy here */
    RELAY_KILL,       /* the deputy ends: kill the task and end */
    RELAY_LINK_DOWN,  /* no PONG for 5 s: value: seconds of silence, repeated each second */
    RELAY_LINK_UP,
    RELAY_EXIT_ACKED,
    RELAY_FUSE_GONE, /* the mount's connection ended */
};
struct relay_event {
    enum relay_event_type type;
    int value;
};

/* Start the thread and say DP_HELLO. Waits up to timeout_ms for DP_WELCOME. 0, or -errno (-EKEYREJECTED: fenced or key
 * refused, -ETIMEDOUT). Must be called after the capsule's init was forked (libzmq does not survive fork). All signals
 * are blocked in the relay's and libzmq's threads. */
int relay_start(const struct relay_config *config, struct relay **relay, int timeout_ms);
/* The spec that DP_WELCOME carried (msgpack). Valid as long as the relay lives. */
const void *relay_spec(struct relay *relay, size_t *length);
/* Readable when relay_next_event has something. */
int relay_event_fd(struct relay *relay);
bool relay_next_event(struct relay *relay, struct relay_event *event);

/* Serve the capsule's mount from this descriptor (non-blocking is set here). The relay owns it from now on. */
int relay_attach_fuse(struct relay *relay, int fuse_fd);

/* Where a stream stands: carried in the image when the task moves. */
struct relay_streams {
    uint64_t in_offset;     /* standard input handed to the pipe/terminal so far, including what is `in_buffered` */
    uint64_t out_offset[2]; /* first byte of out_unacked[i] */
    bool in_eof;            /* end of input was reached and handed on */
    uint8_t *out_unacked[2];
    size_t out_unacked_length[2];
    bool out_eof[2];
};
/* Host ends of the task's streams; -1 where absent. With a terminal, `master` serves each descriptor that is a terminal
 * (spec: `terminals`), and pipes are given only for the others. The relay owns them from now on. `resume` (may be NULL
 * at a start) continues the offsets and sends out_unacked again after the claim. */
struct relay_stdio {
    int master;
    int in, out[2]; /* write end of standard input; read ends of 1 and 2 */
};
int relay_attach_stdio(struct relay *relay, const struct relay_stdio *stdio, const struct relay_streams *resume);
/* Stop moving stream bytes in both directions, drain what the task has already written (non-blocking reads of the pipes
 * or the master until EAGAIN) into the unacknowledged buffers, which are sent on as well, and report where everything
 * stands. The task must be frozen. relay_streams_free frees what it allocated. */
int relay_freeze_stdio(struct relay *relay, struct relay_streams *streams);
int relay_thaw_stdio(struct relay *relay);
void relay_streams_free(struct relay_streams *streams);

/* FSYNC probe, see protocol.h. The last probed handle, or -ENODATA. */
int relay_probe(struct relay *relay, bool on);
int relay_probe_take(struct relay *relay, uint64_t *nodeid, uint64_t *fh);
/* Send DP_FUSE_ADOPT and wait for the answer. 0 or -errno. */
int relay_adopt(struct relay *relay, uint64_t nodeid, uint64_t fh, int timeout_ms);

/* Claim `epoch` at the deputy. 0: granted (idempotent). -EBUSY/-ESTALE: refused, *current_epoch says who has it.
 * -ETIMEDOUT: no answer (ask again: the outcome is open). */
int relay_claim(struct relay *relay, uint32_t epoch, uint32_t *current_epoch, int timeout_ms);

/* Reports to the deputy; RELAY_EXIT_ACKED follows exec_failed and exit. relay_exit first drains both output streams to
 * the end, then sends DP_EXIT. */
int relay_started(struct relay *relay);
int relay_exec_failed(struct relay *relay, int error, const char *step);
int relay_state(struct relay *relay, int stop_signal);
int relay_exit(struct relay *relay, int wait_status, const struct dp_usage *usage);

/* As if the deputy had said that another has the task: from now on every request to a file fails at once. Who waits for
 * a file can't be killed before the answer. */
int relay_fence(struct relay *relay);

/* Ends the thread, closes everything the relay owns. */
void relay_stop(struct relay *relay);

#endif
