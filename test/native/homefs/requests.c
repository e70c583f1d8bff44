/* SPDX-License-Identifier: Apache-2.0
 *
 * What can't be seen through one mount: two sessions, taking over open files, refusals of what a kernel never sends.
 * Runs in an empty folder; prints what is not as it should be.
 */
#include "../../../native/common/protocol.h"
#include "asked.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOT FUSE_ROOT_ID

static char folder[4096]; /* the server's working directory is /proc */

static void fail(int line, const char *what, long got, long wanted) {
    fprintf(stderr, "requests.c:%d: %s is %ld, not %ld\n", line, what, got, wanted);
    exit(1);
}

#define EXPECT(value, wanted)                                                                                          \
    do {                                                                                                               \
        long got_ = (long)(value), wanted_ = (long)(wanted);                                                           \
        if (got_ != wanted_)                                                                                           \
            fail(__LINE__, #value, got_, wanted_);                                                                     \
    } while (0)

/* --- requests ----------------------------------------------------------------------------------------------------- */

static int lookup(struct asked *asked, int slot, uint64_t parent, const char *name, uint64_t *nodeid) {
    struct fuse_entry_out entry;
    ask_begin(asked, FUSE_LOOKUP, parent);
    ask_text(asked, name);
    int result = ask(asked, slot);
    if (result)
        return result;
    memcpy(&entry, asked_body(asked), sizeof entry);
    *nodeid = entry.nodeid;
    return entry.nodeid ? 0 : -ENOENT;
}

static int create(struct asked *asked, int slot, const char *name, uint32_t flags, uint64_t *nodeid, uint64_t *fh) {
    const struct fuse_create_in in = {.flags = flags | O_CREAT, .mode = S_IFREG | 0644};
    struct fuse_entry_out entry;
    struct fuse_open_out open;
    ask_begin(asked, FUSE_CREATE, ROOT);
    ask_add(asked, &in, sizeof in);
    ask_text(asked, name);
    int result = ask(asked, slot);
    if (result)
        return result;
    EXPECT(asked->reply_length, sizeof entry + sizeof open);
    memcpy(&entry, asked_body(asked), sizeof entry);
    memcpy(&open, (const char *)asked_body(asked) + sizeof entry, sizeof open);
    *nodeid = entry.nodeid;
    *fh = open.fh;
    return 0;
}

static int open_node(struct asked *asked, int slot, uint32_t opcode, uint64_t nodeid, uint32_t flags, uint64_t *fh) {
    const struct fuse_open_in in = {.flags = flags};
    struct fuse_open_out out;
    ask_begin(asked, opcode, nodeid);
    ask_add(asked, &in, sizeof in);
    int result = ask(asked, slot);
    if (result)
        return result;
    memcpy(&out, asked_body(asked), sizeof out);
    *fh = out.fh;
    return 0;
}

static int release(struct asked *asked, int slot, uint32_t opcode, uint64_t nodeid, uint64_t fh) {
    const struct fuse_release_in in = {.fh = fh};
    ask_begin(asked, opcode, nodeid);
    ask_add(asked, &in, sizeof in);
    return ask(asked, slot);
}

static int adopt(struct asked *asked, int slot, uint64_t nodeid, uint64_t fh) {
    const struct dp_adopt in = {.fh = fh};
    ask_begin(asked, DP_FUSE_ADOPT, nodeid);
    ask_add(asked, &in, sizeof in);
    return ask(asked, slot);
}

static int write_text(struct asked *asked, int slot, uint64_t nodeid, uint64_t fh, uint64_t at, const char *text) {
    const struct fuse_write_in in = {.fh = fh, .offset = at, .size = (uint32_t)strlen(text)};
    ask_begin(asked, FUSE_WRITE, nodeid);
    ask_add(asked, &in, sizeof in);
    ask_add(asked, text, strlen(text));
    return ask(asked, slot);
}

static int read_some(struct asked *asked, int slot, uint32_t opcode, uint64_t nodeid, uint64_t fh, uint64_t at,
                     uint32_t size) {
    const struct fuse_read_in in = {.fh = fh, .offset = at, .size = size};
    ask_begin(asked, opcode, nodeid);
    ask_add(asked, &in, sizeof in);
    return ask(asked, slot);
}

static void expect_text(struct asked *asked, int slot, uint64_t nodeid, uint64_t fh, const char *text) {
    EXPECT(read_some(asked, slot, FUSE_READ, nodeid, fh, 0, 4096), 0);
    EXPECT(asked->reply_length, strlen(text));
    EXPECT(memcmp(asked_body(asked), text, strlen(text)), 0);
}

static int getattr(struct asked *asked, int slot, uint64_t nodeid, struct fuse_attr *attr) {
    const struct fuse_getattr_in in = {0};
    struct fuse_attr_out out;
    ask_begin(asked, FUSE_GETATTR, nodeid);
    ask_add(asked, &in, sizeof in);
    int result = ask(asked, slot);
    if (result)
        return result;
    memcpy(&out, asked_body(asked), sizeof out);
    *attr = out.attr;
    return 0;
}

static int set_size(struct asked *asked, int slot, uint64_t nodeid, uint64_t size) {
    const struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size};
    ask_begin(asked, FUSE_SETATTR, nodeid);
    ask_add(asked, &in, sizeof in);
    return ask(asked, slot);
}

static int named(struct asked *asked, int slot, uint32_t opcode, uint64_t parent, const char *name) {
    ask_begin(asked, opcode, parent);
    ask_text(asked, name);
    return ask(asked, slot);
}

static void forget(struct asked *asked, int slot, uint64_t nodeid, uint64_t count) {
    const struct fuse_forget_in in = {.nlookup = count};
    ask_begin(asked, FUSE_FORGET, nodeid);
    ask_add(asked, &in, sizeof in);
    EXPECT(ask(asked, slot), 1);
}

/* --- home --------------------------------------------------------------------------------------------------------- */

static const char *at_home(const char *name) {
    static char path[8192];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text) {
    int fd = open(at_home(name), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    EXPECT(fd >= 0, 1);
    EXPECT(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int open_count(void) {
    DIR *directory = opendir("/proc/self/fd");
    EXPECT(directory != NULL, 1);
    int count = 0;
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void a_candidate_only_looks(struct asked *asked) {
    uint64_t node, fh, other;
    put("looked", "text");
    EXPECT(lookup(asked, 1, ROOT, "looked", &node), 0);
    EXPECT(open_node(asked, 1, FUSE_OPEN, node, O_RDWR, &fh), -EROFS);
    EXPECT(open_node(asked, 1, FUSE_OPEN, node, O_RDONLY | O_TRUNC, &fh), -EROFS);
    EXPECT(open_node(asked, 1, FUSE_OPEN, node, O_RDONLY, &fh), 0);
    expect_text(asked, 1, node, fh, "text");
    EXPECT(write_text(asked, 1, node, fh, 0, "x"), -EROFS);
    EXPECT(set_size(asked, 1, node, 0), -EROFS);
    EXPECT(create(asked, 1, "made", O_WRONLY, &other, &other), -EROFS);
    EXPECT(named(asked, 1, FUSE_UNLINK, ROOT, "looked"), -EROFS);
    EXPECT(named(asked, 1, FUSE_RMDIR, ROOT, "looked"), -EROFS);
    homefs_session_writable(asked->homefs, 1, true);
    EXPECT(write_text(asked, 1, node, fh, 0, "x"), -EBADF); /* opened for reading */
    EXPECT(set_size(asked, 1, node, 2), 0);
    homefs_session_writable(asked->homefs, 1, false);
    EXPECT(set_size(asked, 1, node, 0), -EROFS);
    EXPECT(release(asked, 1, FUSE_RELEASE, node, fh), 0);
    EXPECT(release(asked, 1, FUSE_RELEASE, node, fh), -EBADF);
}

static void handles_are_taken_over(struct asked *asked) {
    uint64_t node, fh, adopted, other;
    int before = open_count();
    EXPECT(create(asked, 0, "moving", O_RDWR | O_APPEND, &node, &fh), 0);
    EXPECT(write_text(asked, 0, node, fh, 0, "before "), 0);
    EXPECT(read_some(asked, 1, FUSE_READ, node, fh, 0, 10), -EBADF); /* another's, as yet */
    EXPECT(adopt(asked, 1, node, fh + 1), -ENOENT);
    EXPECT(adopt(asked, 1, ROOT, fh), -ENOENT);
    EXPECT(adopt(asked, 1, node, fh), 0);
    EXPECT(adopt(asked, 1, node, fh), 0); /* again: one hold */
    EXPECT(open_node(asked, 1, FUSE_OPEN, node, O_RDWR, &adopted), 0);
    EXPECT(adopted, fh);
    /* Deleted: it goes on, through both. */
    EXPECT(named(asked, 0, FUSE_UNLINK, ROOT, "moving"), 0);
    EXPECT(write_text(asked, 1, node, fh, 0, "refused"), -EROFS);
    homefs_session_end(asked->homefs, 0);
    homefs_session_writable(asked->homefs, 1, true);
    EXPECT(write_text(asked, 1, node, fh, 0, "after"), 0); /* appends still */
    expect_text(asked, 1, node, fh, "before after");
    struct fuse_attr attr;
    EXPECT(getattr(asked, 1, node, &attr), 0);
    EXPECT(attr.size, 12);
    EXPECT(attr.nlink, 0);
    homefs_session_begin(asked->homefs, 0);
    homefs_session_writable(asked->homefs, 0, true);
    EXPECT(read_some(asked, 0, FUSE_READ, node, fh, 0, 10), -EBADF);
    /* And back, where it is opened twice. */
    EXPECT(adopt(asked, 0, node, fh), 0);
    EXPECT(open_node(asked, 0, FUSE_OPEN, node, O_RDWR, &other), 0);
    EXPECT(adopt(asked, 0, node, fh), 0);
    EXPECT(open_node(asked, 0, FUSE_OPEN, node, O_RDWR, &other), 0);
    EXPECT(other, fh);
    EXPECT(release(asked, 1, FUSE_RELEASE, node, fh), 0);
    EXPECT(release(asked, 0, FUSE_RELEASE, node, fh), 0);
    expect_text(asked, 0, node, fh, "before after");
    EXPECT(release(asked, 0, FUSE_RELEASE, node, fh), 0);
    EXPECT(read_some(asked, 0, FUSE_READ, node, fh, 0, 10), -ESTALE); /* nothing knows it any more */
    homefs_session_writable(asked->homefs, 1, false);
    EXPECT(open_count() <= before + 1, 1); /* but for the root's, perhaps */
}

static void an_adoption_is_given_up(struct asked *asked) {
    uint64_t node, fh, other, other_fh;
    int before = open_count();
    EXPECT(create(asked, 0, "one", O_RDWR, &node, &fh), 0);
    EXPECT(create(asked, 0, "two", O_RDWR, &other, &other_fh), 0);
    EXPECT(adopt(asked, 1, node, fh), 0);
    EXPECT(adopt(asked, 1, other, other_fh), 0); /* the first is not wanted any more */
    EXPECT(release(asked, 0, FUSE_RELEASE, node, fh), 0);
    EXPECT(adopt(asked, 1, node, fh), -ENOENT);
    EXPECT(release(asked, 0, FUSE_RELEASE, other, other_fh), 0);
    EXPECT(adopt(asked, 0, other, other_fh), 0); /* held by the adoption */
    homefs_session_end(asked->homefs, 0);
    homefs_session_end(asked->homefs, 1);
    EXPECT(open_count() <= before, 1);
    for (int slot = 0; slot < 2; slot++)
        homefs_session_begin(asked->homefs, slot);
    homefs_session_writable(asked->homefs, 0, true);
}

static uint64_t read_names(struct asked *asked, int slot, uint64_t node, uint64_t fh, uint64_t at, int *count) {
    EXPECT(read_some(asked, slot, FUSE_READDIR, node, fh, at, 4096), 0);
    const char *bytes = asked_body(asked);
    for (size_t place = 0; place < asked->reply_length;) {
        struct fuse_dirent entry;
        memcpy(&entry, bytes + place, sizeof entry);
        at = entry.off;
        place += FUSE_DIRENT_ALIGN(sizeof entry + entry.namelen);
        ++*count;
    }
    return asked->reply_length ? at : 0;
}

static void a_listing_goes_on_elsewhere(struct asked *asked) {
    uint64_t node, fh, adopted;
    char name[64];
    int count = 0;
    EXPECT(mkdir(at_home("listed"), 0755), 0);
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "listed/file%d", i);
        put(name, "");
    }
    EXPECT(lookup(asked, 0, ROOT, "listed", &node), 0);
    EXPECT(open_node(asked, 0, FUSE_OPENDIR, node, 0, &fh), 0);
    EXPECT(read_some(asked, 0, FUSE_READ, node, fh, 0, 10), -EBADF);
    EXPECT(write_text(asked, 0, node, fh, 0, "x"), -EBADF);
    uint64_t at = read_names(asked, 0, node, fh, 0, &count);
    EXPECT(adopt(asked, 1, node, fh), 0);
    EXPECT(open_node(asked, 1, FUSE_OPENDIR, node, 0, &adopted), 0);
    EXPECT(adopted, fh);
    homefs_session_end(asked->homefs, 0);
    while (at)
        at = read_names(asked, 1, node, fh, at, &count);
    EXPECT(count, 502);
    EXPECT(release(asked, 1, FUSE_RELEASEDIR, node, fh), 0);
    homefs_session_begin(asked->homefs, 0);
    homefs_session_writable(asked->homefs, 0, true);
}

static void nonsense_is_refused(struct asked *asked) {
    uint64_t node, fh;
    char name[300];
    struct fuse_attr attr;
    EXPECT(lookup(asked, 0, ROOT, "..", &node), -EINVAL);
    EXPECT(lookup(asked, 0, ROOT, ".", &node), -EINVAL);
    EXPECT(lookup(asked, 0, ROOT, "", &node), -EINVAL);
    EXPECT(lookup(asked, 0, ROOT, "../passwd", &node), -EINVAL);
    EXPECT(named(asked, 0, FUSE_MKDIR, ROOT, "short"), -EINVAL);
    memset(name, 'x', sizeof name);
    name[256] = 0;
    EXPECT(lookup(asked, 0, ROOT, name, &node), -ENAMETOOLONG);
    ask_begin(asked, FUSE_LOOKUP, ROOT);
    ask_add(asked, "endless", 7);
    EXPECT(ask(asked, 0), -EINVAL);
    EXPECT(getattr(asked, 0, 4711, &attr), -ESTALE);
    EXPECT(named(asked, 0, 9999, ROOT, "x"), -ENOSYS);
    EXPECT(named(asked, 0, 0, ROOT, "x"), -ENOSYS);
    put("plain", "text");
    EXPECT(lookup(asked, 0, ROOT, "plain", &node), 0);
    EXPECT(open_node(asked, 0, FUSE_OPENDIR, node, 0, &fh), -ENOTDIR);
    EXPECT(open_node(asked, 0, FUSE_OPEN, ROOT, 0, &fh), -EISDIR);
    EXPECT(open_node(asked, 0, FUSE_OPEN, node, O_RDWR, &fh), 0);
    EXPECT(read_some(asked, 0, FUSE_READ, node, fh, 0, HOMEFS_MAX_TRANSFER + 1), -EINVAL);
    EXPECT(read_some(asked, 0, FUSE_READ, node, fh, UINT64_MAX, 10), -EINVAL);
    EXPECT(read_some(asked, 0, FUSE_READDIR, node, fh, 0, 4096), -EBADF);
    const struct fuse_write_in lying = {.fh = fh, .size = 1000};
    ask_begin(asked, FUSE_WRITE, node);
    ask_add(asked, &lying, sizeof lying);
    EXPECT(ask(asked, 0), -EINVAL);
    EXPECT(read_some(asked, 0, FUSE_READ, node, fh ^ 1ull << 40, 0, 10), -EBADF);
    EXPECT(release(asked, 0, FUSE_RELEASE, node, fh), 0);
    EXPECT(mkfifo(at_home("fifo"), 0644), 0);
    EXPECT(lookup(asked, 0, ROOT, "fifo", &node), 0);
    EXPECT(open_node(asked, 0, FUSE_OPEN, node, O_RDONLY, &fh), -ENXIO); /* and does not wait for a writer */
    homefs_session_end(asked->homefs, 1);
    EXPECT(getattr(asked, 1, ROOT, &attr), -EIO);
    homefs_session_begin(asked->homefs, 1);
}

static void nodes_go_and_come(struct asked *asked) {
    uint64_t node, again, directory;
    struct fuse_attr attr;
    put("known", "text");
    EXPECT(lookup(asked, 0, ROOT, "known", &node), 0);
    EXPECT(lookup(asked, 1, ROOT, "known", &again), 0);
    EXPECT(node, again);
    forget(asked, 0, node, 1);
    EXPECT(getattr(asked, 1, node, &attr), 0);
    forget(asked, 1, node, 100);
    EXPECT(getattr(asked, 1, node, &attr), -ESTALE);
    /* More than there may be descriptors, in a folder that moves. */
    char name[64];
    static uint64_t nodes[3000];
    EXPECT(mkdir(at_home("crowd"), 0755), 0);
    EXPECT(lookup(asked, 0, ROOT, "crowd", &directory), 0);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "crowd/%d", i);
        put(name, "");
        EXPECT(lookup(asked, 0, directory, name + 6, &nodes[i]), 0);
    }
    EXPECT(open_count() < 1000, 1);
    for (int i = 0; i < 3000; i++)
        EXPECT(getattr(asked, 0, nodes[i], &attr), 0);
    char moved[8192];
    snprintf(moved, sizeof moved, "%s", at_home("moved"));
    EXPECT(rename(at_home("crowd"), moved), 0);
    for (int i = 0; i < 3000; i++) { /* either is right, another file is not */
        int result = getattr(asked, 0, nodes[i], &attr);
        EXPECT(result == 0 || result == -ESTALE, 1);
    }
    EXPECT(lookup(asked, 0, ROOT, "moved", &again), 0);
    EXPECT(again, directory);
    for (int i = 0; i < 3000; i++)
        EXPECT(getattr(asked, 0, nodes[i], &attr), 0);
    /* Another file with its name, and very likely its inode number. */
    EXPECT(lookup(asked, 0, ROOT, "plain", &node), 0);
    EXPECT(unlink(at_home("plain")), 0);
    for (int i = 0; i < 3000; i++)
        EXPECT(getattr(asked, 0, nodes[i], &attr), 0); /* no descriptor pins the old one now */
    put("plain", "another");
    EXPECT(getattr(asked, 0, node, &attr), -ESTALE);
    EXPECT(lookup(asked, 0, ROOT, "plain", &again), 0);
    EXPECT(again != node, 1);
    EXPECT(getattr(asked, 0, again, &attr), 0);
    EXPECT(attr.size, 7);
}

static void write_map(const char *path, const char *format, unsigned id) {
    char text[64];
    int length = snprintf(text, sizeof text, format, id, id);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    EXPECT(fd >= 0, 1);
    EXPECT(write(fd, text, (size_t)length), length);
    close(fd);
}

static void a_full_disk_is_told(void) {
    pid_t pid = fork();
    EXPECT(pid >= 0, 1);
    if (pid == 0) {
        struct asked asked;
        uint64_t node, fh;
        uid_t uid = getuid();
        gid_t gid = getgid();
        EXPECT(unshare(CLONE_NEWUSER | CLONE_NEWNS), 0);
        write_map("/proc/self/setgroups", "deny", 0);
        write_map("/proc/self/uid_map", "%u %u 1", uid);
        write_map("/proc/self/gid_map", "%u %u 1", gid);
        EXPECT(mount("tmpfs", at_home("moved"), "tmpfs", 0, "size=64k"), 0);
        asked_begin(&asked, at_home("moved"));
        EXPECT(create(&asked, 0, "big", O_WRONLY, &node, &fh), 0);
        const struct fuse_write_in in = {.fh = fh, .size = 128 << 10};
        static const char zeros[128 << 10];
        struct fuse_write_out out;
        ask_begin(&asked, FUSE_WRITE, node);
        ask_add(&asked, &in, sizeof in);
        ask_add(&asked, zeros, sizeof zeros);
        EXPECT(ask(&asked, 0), 0);
        memcpy(&out, asked_body(&asked), sizeof out);
        EXPECT(out.size, 64 << 10);
        EXPECT(write_text(&asked, 0, node, fh, 64 << 10, "more"), -ENOSPC);
        const struct fuse_fallocate_in room = {.fh = fh, .length = 1 << 20};
        ask_begin(&asked, FUSE_FALLOCATE, node);
        ask_add(&asked, &room, sizeof room);
        EXPECT(ask(&asked, 0), -ENOSPC);
        asked_end(&asked);
        exit(0);
    }
    int status;
    EXPECT(waitpid(pid, &status, 0), pid);
    EXPECT(status, 0);
}

int main(void) {
    struct asked asked;
    EXPECT(getcwd(folder, sizeof folder) != NULL, 1);
    umask(0);
    int before = open_count();
    asked_begin(&asked, folder);
    a_candidate_only_looks(&asked);
    handles_are_taken_over(&asked);
    an_adoption_is_given_up(&asked);
    a_listing_goes_on_elsewhere(&asked);
    nonsense_is_refused(&asked);
    nodes_go_and_come(&asked);
    asked_end(&asked);
    EXPECT(open_count(), before);
    a_full_disk_is_told();
    return 0;
}
