/* SPDX-License-Identifier: Apache-2.0
 *
 * Sends homefs random requests: sensible ones, so that there is something to hit, and broken ones.
 *
 *   fuzz SEED MILLISECONDS
 *
 * Theory of operation. Built with the sanitizers, which end the program at the first wrong access; the helpers end it
 * when a reply is malformed. Runs in an empty folder, as a user who can do no harm elsewhere; files stay small by a
 * resource limit. Prints the seed, which repeats the run.
 */
#include "../../../native/common/protocol.h"
#include "asked.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KNOWN 64

struct fuzz {
    struct asked asked;
    uint64_t state, nodes[KNOWN], handles[KNOWN];
    unsigned done, good;
};

static uint64_t chance(struct fuzz *fuzz) {
    fuzz->state ^= fuzz->state << 13;
    fuzz->state ^= fuzz->state >> 7;
    fuzz->state ^= fuzz->state << 17;
    return fuzz->state * 0x2545f4914f6cdd1dull >> 11;
}

static uint64_t below(struct fuzz *fuzz, uint64_t limit) {
    return chance(fuzz) % limit;
}

static uint64_t number(struct fuzz *fuzz) {
    static const uint64_t edges[] = {
        0, 1, 2, 7, 255, 4095, 4096, 65536, 1u << 20, (1u << 20) + 1, UINT32_MAX, INT64_MAX, UINT64_MAX, 1ull << 63};
    switch (below(fuzz, 4)) {
    case 0:
        return edges[below(fuzz, sizeof edges / sizeof *edges)];
    case 1:
        return chance(fuzz);
    case 2:
        return fuzz->handles[below(fuzz, KNOWN)];
    default:
        return below(fuzz, 8192);
    }
}

static const char *name(struct fuzz *fuzz) {
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "..", ".", "x/y", "", "user.a"};
    static char long_name[300];
    if (below(fuzz, 50) == 0) {
        memset(long_name, 'n', sizeof long_name - 1);
        long_name[254 + below(fuzz, 3)] = 0;
        return long_name;
    }
    return names[below(fuzz, below(fuzz, 10) ? 8 : sizeof names / sizeof *names)];
}

static uint64_t node(struct fuzz *fuzz) {
    return below(fuzz, 3) ? fuzz->nodes[below(fuzz, KNOWN)] : FUSE_ROOT_ID;
}

static uint64_t handle(struct fuzz *fuzz) {
    return fuzz->handles[below(fuzz, KNOWN)];
}

static uint32_t open_flags(struct fuzz *fuzz) {
    return (uint32_t)(below(fuzz, 4) ? below(fuzz, 3) | (below(fuzz, 3) ? 0 : O_APPEND) : chance(fuzz)) &
           ~(uint32_t)O_DIRECT;
}

#define ADD(type, ...) ask_add(asked, &(const type){__VA_ARGS__}, sizeof(type))

/* Mostly as a kernel would. */
static void sensible(struct fuzz *fuzz, uint32_t opcode) {
    struct asked *asked = &fuzz->asked;
    static const char bytes[100000];
    ask_begin(asked, opcode, node(fuzz));
    switch (opcode) {
    case FUSE_LOOKUP:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_REMOVEXATTR:
        return ask_text(asked, name(fuzz));
    case FUSE_FORGET:
        return ADD(struct fuse_forget_in, .nlookup = below(fuzz, 3));
    case FUSE_SETATTR:
        return ADD(struct fuse_setattr_in, .valid = (uint32_t)chance(fuzz), .fh = handle(fuzz), .size = number(fuzz),
                   .atime = number(fuzz), .mtime = number(fuzz), .atimensec = (uint32_t)number(fuzz),
                   .mode = (uint32_t)chance(fuzz) | 0700, .uid = getuid(), .gid = getgid());
    case FUSE_SYMLINK:
        ask_text(asked, name(fuzz));
        return ask_text(asked, name(fuzz));
    case FUSE_MKNOD:
        ADD(struct fuse_mknod_in, .mode = (below(fuzz, 2) ? 0100000 : (uint32_t)chance(fuzz)) | 0700);
        return ask_text(asked, name(fuzz));
    case FUSE_MKDIR:
        ADD(struct fuse_mkdir_in, .mode = 0700);
        return ask_text(asked, name(fuzz));
    case FUSE_RENAME:
        ADD(struct fuse_rename_in, .newdir = node(fuzz));
        ask_text(asked, name(fuzz));
        return ask_text(asked, name(fuzz));
    case FUSE_RENAME2:
        ADD(struct fuse_rename2_in, .newdir = node(fuzz), .flags = (uint32_t)below(fuzz, 5));
        ask_text(asked, name(fuzz));
        return ask_text(asked, name(fuzz));
    case FUSE_LINK:
        ADD(struct fuse_link_in, .oldnodeid = node(fuzz));
        return ask_text(asked, name(fuzz));
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        return ADD(struct fuse_open_in, .flags = open_flags(fuzz));
    case FUSE_CREATE:
        ADD(struct fuse_create_in, .flags = open_flags(fuzz), .mode = (uint32_t)chance(fuzz) | 0600);
        return ask_text(asked, name(fuzz));
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        return ADD(struct fuse_read_in, .fh = handle(fuzz), .offset = number(fuzz), .size = (uint32_t)number(fuzz));
    case FUSE_WRITE: {
        uint32_t size = (uint32_t)below(fuzz, sizeof bytes);
        ADD(struct fuse_write_in, .fh = handle(fuzz), .offset = number(fuzz), .size = size,
            .write_flags = (uint32_t)below(fuzz, 4));
        return ask_add(asked, bytes, size);
    }
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        return ADD(struct fuse_release_in, .fh = handle(fuzz));
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
        return ADD(struct fuse_fsync_in, .fh = handle(fuzz), .fsync_flags = 1);
    case FUSE_SETXATTR: {
        const uint32_t in[2] = {(uint32_t)below(fuzz, 300), (uint32_t)below(fuzz, 3)};
        ask_add(asked, in, sizeof in);
        ask_text(asked, "user.a");
        return ask_add(asked, bytes, in[0]);
    }
    case FUSE_GETXATTR:
        ADD(struct fuse_getxattr_in, .size = (uint32_t)number(fuzz));
        return ask_text(asked, below(fuzz, 2) ? "user.a" : name(fuzz));
    case FUSE_LISTXATTR:
        return ADD(struct fuse_getxattr_in, .size = (uint32_t)number(fuzz));
    case FUSE_ACCESS:
        return ADD(struct fuse_access_in, .mask = (uint32_t)below(fuzz, 9));
    case FUSE_FALLOCATE:
        return ADD(struct fuse_fallocate_in, .fh = handle(fuzz), .offset = number(fuzz), .length = number(fuzz),
                   .mode = (uint32_t)below(fuzz, 64));
    case FUSE_LSEEK:
        return ADD(struct fuse_lseek_in, .fh = handle(fuzz), .offset = number(fuzz),
                   .whence = (uint32_t)below(fuzz, 6));
    case FUSE_COPY_FILE_RANGE:
        return ADD(struct fuse_copy_file_range_in, .fh_in = handle(fuzz), .off_in = number(fuzz),
                   .fh_out = handle(fuzz), .off_out = number(fuzz), .len = number(fuzz));
    case FUSE_BATCH_FORGET: {
        const struct fuse_forget_one one = {.nodeid = node(fuzz), .nlookup = below(fuzz, 3)};
        ADD(struct fuse_batch_forget_in, .count = (uint32_t)(below(fuzz, 2) ? 1 : chance(fuzz)));
        return ask_add(asked, &one, sizeof one);
    }
    case DP_FUSE_ADOPT:
        return ADD(struct dp_adopt, .fh = handle(fuzz));
    default:
        for (uint64_t i = below(fuzz, 12); i > 0; i--) {
            const uint64_t word = number(fuzz);
            ask_add(asked, &word, sizeof word);
        }
    }
}

static void mutate(struct fuzz *fuzz) {
    struct asked *asked = &fuzz->asked;
    const size_t header = sizeof(struct fuse_in_header);
    if (below(fuzz, 4) == 0)
        asked->length = header + below(fuzz, asked->length - header + 1); /* cut */
    for (uint64_t i = below(fuzz, 6); i > 0 && asked->length > header; i--)
        asked->request[header + below(fuzz, asked->length - header)] ^= (uint8_t)chance(fuzz);
}

/* Numbers to use later. */
static void learn(struct fuzz *fuzz, uint32_t opcode) {
    const uint8_t *body = asked_body(&fuzz->asked);
    struct fuse_entry_out entry;
    struct fuse_open_out open;
    bool has_entry = opcode == FUSE_LOOKUP || opcode == FUSE_MKDIR || opcode == FUSE_CREATE || opcode == FUSE_MKNOD ||
                     opcode == FUSE_SYMLINK || opcode == FUSE_LINK;
    if (has_entry && fuzz->asked.reply_length >= sizeof entry) {
        memcpy(&entry, body, sizeof entry);
        if (entry.nodeid)
            fuzz->nodes[below(fuzz, KNOWN)] = entry.nodeid;
        body += sizeof entry;
    }
    if (opcode == FUSE_OPEN || opcode == FUSE_OPENDIR || opcode == FUSE_CREATE) {
        memcpy(&open, body, sizeof open);
        fuzz->handles[below(fuzz, KNOWN)] = open.fh;
    }
}

static void one(struct fuzz *fuzz) {
    static const uint32_t common[] = {FUSE_LOOKUP, FUSE_CREATE, FUSE_OPEN,    FUSE_OPENDIR,     FUSE_MKDIR,
                                      FUSE_WRITE,  FUSE_READ,   FUSE_READDIR, FUSE_READDIRPLUS, DP_FUSE_ADOPT};
    uint32_t opcode = below(fuzz, 2) ? common[below(fuzz, sizeof common / sizeof *common)] : (uint32_t)below(fuzz, 56);
    int slot = below(fuzz, 4) == 0;
    sensible(fuzz, opcode);
    if (below(fuzz, 3) == 0)
        mutate(fuzz);
    if (ask(&fuzz->asked, slot) == 0) {
        learn(fuzz, opcode);
        fuzz->good++;
    }
    fuzz->done++;
    if (below(fuzz, 5000) == 0) {
        homefs_session_end(fuzz->asked.homefs, slot);
        homefs_session_begin(fuzz->asked.homefs, slot);
        homefs_session_writable(fuzz->asked.homefs, slot, below(fuzz, 2));
    }
    if (below(fuzz, 100) == 0)
        homefs_poll(fuzz->asked.homefs);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int count, char **arguments) {
    static struct fuzz fuzz;
    char folder[4096];
    if (count != 3 || !getcwd(folder, sizeof folder))
        return 99;
    fuzz.state = strtoull(arguments[1], NULL, 10) * 2 + 1;
    const struct rlimit small = {16 << 20, 16 << 20};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &small))
        return 99;
    umask(0);
    fprintf(stderr, "fuzz: seed %s\n", arguments[1]);
    asked_begin(&fuzz.asked, folder);
    int64_t end_ms = now_ms() + atoll(arguments[2]);
    while (now_ms() < end_ms)
        one(&fuzz);
    asked_end(&fuzz.asked);
    fprintf(stderr, "fuzz: %u requests, %u of them done\n", fuzz.done, fuzz.good);
    return fuzz.good > 0 ? 0 : 1;
}
