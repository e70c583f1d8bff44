/* SPDX-License-Identifier: Apache-2.0 */
#include "asked.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void need(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(99);
}

static void count_notice(void *arg, int slot, const void *bytes, size_t length) {
    struct asked *asked = arg;
    struct fuse_out_header header;
    need((slot == 0 || slot == 1) && length >= sizeof header, "a notification");
    memcpy(&header, bytes, sizeof header);
    errno = EPROTO;
    need(header.len == length && header.unique == 0 && header.error > 0, "a notification");
    asked->notices++;
}

void asked_begin(struct asked *asked, const char *folder) {
    *asked = (struct asked){.request = malloc(HOMEFS_REPLY_MAX), .reply = malloc(HOMEFS_REPLY_MAX)};
    struct homefs_config config = {.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC),
                                   .root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC),
                                   .shown_uid = getuid(),
                                   .shown_gid = getgid(),
                                   .single_id = true,
                                   .notify = count_notice,
                                   .arg = asked};
    need(asked->request && asked->reply && config.proc >= 0 && config.root >= 0, folder);
    errno = -homefs_new(&config, &asked->homefs);
    need(errno == 0, "homefs");
    close(config.proc);
    close(config.root);
    homefs_session_begin(asked->homefs, 0);
    homefs_session_writable(asked->homefs, 0, true);
    homefs_session_begin(asked->homefs, 1);
}

void asked_end(struct asked *asked) {
    homefs_free(asked->homefs);
    free(asked->request);
    free(asked->reply);
}

void ask_begin(struct asked *asked, uint32_t opcode, uint64_t nodeid) {
    const struct fuse_in_header header = {
        .opcode = opcode, .nodeid = nodeid, .unique = asked->unique += 2, .uid = getuid(), .gid = getgid()};
    memcpy(asked->request, &header, sizeof header);
    asked->length = sizeof header;
}

void ask_add(struct asked *asked, const void *bytes, size_t length) {
    need(asked->length + length <= HOMEFS_REPLY_MAX, "request too long");
    memcpy(asked->request + asked->length, bytes, length);
    asked->length += length;
}

void ask_text(struct asked *asked, const char *text) {
    ask_add(asked, text, strlen(text) + 1);
}

int ask(struct asked *asked, int slot) {
    struct fuse_in_header in;
    struct fuse_out_header out;
    memcpy(&in, asked->request, sizeof in);
    in.len = (uint32_t)asked->length;
    memcpy(asked->request, &in, sizeof in);
    size_t length = homefs_handle(asked->homefs, slot, asked->request, asked->length, asked->reply, HOMEFS_REPLY_MAX);
    if (length == 0)
        return 1;
    memcpy(&out, asked->reply, sizeof out);
    errno = EPROTO;
    need(out.len == length && length <= HOMEFS_REPLY_MAX && out.unique == in.unique, "a reply's header");
    need(out.error <= 0 && out.error > -4096 && (out.error == 0 || length == sizeof out), "a reply's error");
    asked->reply_length = length - sizeof out;
    return out.error;
}

const void *asked_body(const struct asked *asked) {
    return asked->reply + sizeof(struct fuse_out_header);
}
