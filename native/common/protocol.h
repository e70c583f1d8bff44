/* SPDX-License-Identifier: Apache-2.0
 *
 * The data plane between a task's deputy (home) and its shepherd (host).
 *
 * Theory of operation. One ZeroMQ DEALER per shepherd, one ROUTER at the deputy, CURVE. A message is two frames:
 * struct dp_header, then a payload of at most DP_MAX_PAYLOAD bytes. Every shepherd message carries the epoch it
 * acts for; the deputy serves a session by the epoch its key was made for: the *current* one fully, the *candidate*
 * (the shepherd that will claim the next epoch) for reading and for taking over open handles only, any other not at
 * all (DP_FENCED). Standard streams carry offsets counted from the start of the task, so that nothing is lost or
 * written twice across migrations: who receives drops what it already has, who sends keeps what is not acknowledged.
 */
#ifndef SKEIN_PROTOCOL_H
#define SKEIN_PROTOCOL_H

#include <stdint.h>

#define DP_MAGIC 0x314e4b53u /* "SKN1" */
#define DP_MAX_PAYLOAD (2u << 20)
#define DP_CLAIMANT 16
/* Credit of the standard streams: unacknowledged bytes under way, which their sender keeps. Output gets more, for
 * throughput; input that was read ahead is gone for whoever reads it after the task. */
#define DP_OUT_WINDOW (1u << 20)
#define DP_IN_WINDOW (256u << 10)

struct dp_header {
    uint32_t magic;
    uint16_t type;
    uint16_t flags;  /* DP_OUT/DP_OUT_ACK/DP_OUT_EOF: the descriptor, 1 or 2; DP_IN, DP_IN_ACK: DP_EOF */
    uint32_t epoch;  /* shepherd → deputy: the epoch it acts for */
    int32_t value;   /* errno, signal, wait status: by type */
    uint64_t offset; /* streams: offset of the first byte; acks: bytes taken so far */
};

/* DP_IN: nothing follows. DP_IN_ACK: nobody reads any more. */
#define DP_EOF 1u
#define DP_ASLEEP 1u

/* DP_WELCOME's map. argv, env: [bin]. cwd: bin. umask, nice, uid, gid: numbers; groups: [number].
 * rlimits: [[soft, hard] …] in the order of RLIMIT_*, RLIM_INFINITY as 2^64-1. hostname: bin (home's nodename).
 * tty: bool, the task gets a terminal; terminals: bits 0..2, the descriptors that are that terminal; closed: bits 0..2,
 * the descriptors that are closed at home; the rest are pipes. termios, winsize: bin, as the kernel's structs of home.
 */

enum dp_type {
    /* shepherd → deputy */
    DP_HELLO = 1,   /* payload: claimant[16], task id text. Answer: DP_WELCOME or DP_FENCED */
    DP_FUSE,        /* payload: one raw FUSE request */
    DP_OUT,         /* flags: 1|2, offset; payload: bytes that the task wrote */
    DP_IN_ACK,      /* offset: bytes of standard input that reached the task's pipe or terminal */
    DP_CLAIM,       /* epoch: the one wanted; payload: struct dp_claim. Answer: DP_CLAIMED */
    DP_EXIT,        /* value: wait status; payload: struct dp_usage. Answer: DP_EXIT_ACK */
    DP_STATE,       /* value: signal that stopped it, or 0 when it goes on */
    DP_STARTED,     /* the task's first process runs */
    DP_EXEC_FAILED, /* value: errno; payload: which step ("exec": the command itself). Answer: DP_EXIT_ACK */
    DP_PING,        /* each second; answered by DP_PONG. flags DP_ASLEEP: the answer to DP_SLEEP, itself unanswered */
    DP_OUT_EOF,     /* flags: 1|2: the task closed it (all writers) */
    /* deputy → shepherd */
    DP_WELCOME = 64, /* payload: msgpack map: the task's spec, see below */
    DP_FUSE_REPLY,   /* payload: one raw FUSE reply, for /dev/fuse as it is */
    DP_FUSE_NOTIFY,  /* payload: one raw FUSE notification (unique 0) */
    DP_IN,           /* offset; payload: bytes of standard input; flags DP_EOF: nothing follows */
    DP_OUT_ACK,      /* flags: 1|2, offset: bytes safely written at home; value EPIPE: nobody reads any more */
    DP_CLAIMED,      /* value: 0 granted, else -EBUSY/-ESTALE; epoch: the current one; payload: current claimant[16] */
    DP_SIGNAL,       /* value: signal for the task (its foreground group on a terminal, else its first process) */
    DP_WINSIZE,      /* payload: struct winsize */
    DP_FENCED,       /* epoch: the current one: this session no longer runs the task */
    DP_KILL,         /* the deputy ends: kill the task, report nothing */
    DP_EXIT_ACK,
    DP_PONG,
    DP_SLEEP, /* the deputy is about to be stopped (Ctrl-Z): its silence means nothing until it speaks again */
};

struct dp_claim {
    uint8_t claimant[DP_CLAIMANT]; /* random per shepherd; repeating a granted claim is granted again */
    uint64_t in_offset;            /* standard input already in the task's pipe/terminal or in the image */
    uint64_t out_offset[2];        /* where this shepherd's DP_OUT for 1 and 2 will start */
};

struct dp_usage {
    uint64_t user_us, system_us, max_rss_kib;
};

/* How a restored process gets back an open file of home, instead of opening it anew: before the OPEN (or OPENDIR) of
 * node N the shepherd sends DP_FUSE with a request of this opcode: nodeid = the handle's node, payload struct dp_adopt.
 * Answered like any other. The next OPEN/OPENDIR of this session on that node is answered with handle `fh`, whatever
 * its flags, and both sessions then hold the handle; it is closed when the last holder releases it or ends.
 * -ENOENT when there is no such handle. Which handle a descriptor has, the source learns by letting the frozen task
 * call fsync(2) on it: the relay, in probe mode, notes nodeid and fh of the FUSE_FSYNC/FUSE_FSYNCDIR request and
 * answers 0. */
#define DP_FUSE_ADOPT 8001u
struct dp_adopt {
    uint64_t fh;
};

#endif
