/* SPDX-License-Identifier: Apache-2.0
 *
 * Home's file system, served to a task elsewhere: answers raw FUSE requests.
 */
#ifndef SKEIN_HOMEFS_H
#define SKEIN_HOMEFS_H

#include "init.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOMEFS_SESSIONS 2
#define HOMEFS_REPLY_MAX (HOMEFS_MAX_TRANSFER + 4096u)

struct homefs;

struct homefs_config {
    int proc;                      /* a /proc that shows this process */
    int root;                      /* O_PATH descriptor of what the mount shows as its root; homefs keeps a copy */
    uint32_t shown_uid, shown_gid; /* single_id: every other id is shown as these */
    bool single_id;                /* the capsule maps one uid and gid only */
    /* A raw FUSE notification (unique 0) for the session's kernel; called from homefs_handle and homefs_poll only. */
    void (*notify)(void *arg, int slot, const void *bytes, size_t length);
    void *arg;
};

/* 0 or -errno. The working directory becomes config->proc: some calls on open files take only paths. */
int homefs_new(const struct homefs_config *config, struct homefs **homefs);
void homefs_free(struct homefs *homefs);

/* A session is one shepherd's mount; two at most: the host of the task and the next one. */
void homefs_session_begin(struct homefs *homefs, int slot);
/* Releases the handles that it alone holds, forgets what it looked up. */
void homefs_session_end(struct homefs *homefs, int slot);
/* A candidate's mount may look, open for reading and adopt; whatever changes home is refused (EROFS) until its claim
 * is granted. */
void homefs_session_writable(struct homefs *homefs, int slot, bool writable);

/* Write down what the task has open, so that a deputy that is started again knows; and first take up what the one
 * before has left there, for the session of this slot. 0 or -errno. */
int homefs_journal(struct homefs *homefs, const char *path, int slot);
/* Notifications for this session may have been lost: everything that its kernel was told is to be asked for again. */
void homefs_session_recall(struct homefs *homefs, int slot);

/* One raw request. The length of the raw reply, 0 when the request has none. Never blocks on anything but the disk. */
size_t homefs_handle(struct homefs *homefs, int slot, const void *request, size_t length, void *reply, size_t capacity);

/* Readable when homefs_poll has something to do, or -1. */
int homefs_poll_fd(struct homefs *homefs);
void homefs_poll(struct homefs *homefs);

#endif
