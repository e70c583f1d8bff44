/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A name, or that there is none, may be believed for as long as its directory is watched by
 * inotify, and so may the attributes of a file with one name. What a watch reports is passed on: a name as expired (the
 * kernel asks again when it needs it), attributes as unknown, pages too if the file is open. A kernel drops its pages
 * by itself when it finds that size or time of change are others. Not reported, and therefore believed for a second
 * only: what has several names, file systems that others may change (network, FUSE), what is in no watched directory. A
 * write to a shared mapping at home is never reported: it is found when the file is opened.
 *
 * What a session does itself, its kernel knows already. An event of a name that this very request makes is skipped (for
 * that session only): what was queued before is read first, so the next one of that kind is its own. Attributes are
 * compared with those that the kernel was told last.
 *
 * The table is bounded, and so is what a user may watch. A directory in which nothing was believed for longer than
 * anything may be loses its watch when something happens in it, or when the table is full.
 */
#include "watches.h"
#include "homefs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define WATCHES_MOST 8192
#define BUCKETS 4096
#define EVENTS_BYTES 65536
#define LATE_SECONDS 15    /* answers may be under way for so long */
#define READS_MOST 16      /* at a time: requests wait */
#define RECALLED_MOST 512  /* notifications at once: a shepherd keeps no more than 1024 */
#define NOTIFY_INC_EPOCH 8 /* FUSE_NOTIFY_INC_EPOCH, since Linux 6.16: all names expire */

#define NAMES (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define WATCHED (NAMES | IN_MODIFY | IN_ATTRIB | IN_EXCL_UNLINK | IN_ONLYDIR | IN_MASK_CREATE)

struct watches {
    int fd;
    unsigned most, count, hand; /* hand: where the search for one to give up goes on */
    struct node *by_number[BUCKETS];
    _Alignas(struct inotify_event) char events[EVENTS_BYTES];
};

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

/* An eighth of what the user may have: there are other tasks, and other programs. */
static unsigned most_watches(void) {
    char text[32] = "";
    int fd = open("/proc/sys/fs/inotify/max_user_watches", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    unsigned long eighth = length > 0 ? strtoul(text, NULL, 10) / 8 : 0;
    return eighth == 0 || eighth > WATCHES_MOST ? WATCHES_MOST : (unsigned)eighth;
}

struct watches *watches_new(void) {
    struct watches *watches = calloc(1, sizeof *watches);
    if (!watches)
        return NULL;
    watches->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watches->fd < 0) {
        free(watches);
        return NULL;
    }
    watches->most = most_watches();
    return watches;
}

void watches_free(struct watches *watches) {
    if (!watches)
        return;
    close(watches->fd);
    free(watches);
}

int watches_fd(const struct watches *watches) {
    return watches ? watches->fd : -1;
}

static struct node *find(const struct watches *watches, int number) {
    struct node *node = watches->by_number[(unsigned)number % BUCKETS];
    while (node && node->watch != number)
        node = node->next_by_watch;
    return node;
}

static void remove_watch(struct watches *watches, struct node *directory) {
    struct node **link = &watches->by_number[(unsigned)directory->watch % BUCKETS];
    while (*link && *link != directory)
        link = &(*link)->next_by_watch;
    if (*link) {
        *link = directory->next_by_watch;
        watches->count--;
    }
    directory->watch = 0;
}

void watch_end(struct watches *watches, struct node *directory) {
    if (!watches || !directory->watch)
        return;
    (void)inotify_rm_watch(watches->fd, directory->watch); /* gone already: as wanted */
    remove_watch(watches, directory);
}

static bool is_idle(const struct node *directory, int64_t now) {
    return now - directory->watched_ms > (LONG_SECONDS + LATE_SECONDS) * 1000;
}

/* Room for one more: gives up one that nobody relies on, looking at a few at a time. */
static bool has_room(struct watches *watches, int64_t now) {
    if (watches->count < watches->most)
        return true;
    for (int i = 0; i < 64; i++, watches->hand = (watches->hand + 1) % BUCKETS) {
        struct node *node = watches->by_number[watches->hand];
        while (node && !is_idle(node, now))
            node = node->next_by_watch;
        if (node) {
            watch_end(watches, node);
            return true;
        }
    }
    return false;
}

/* File systems that nobody but this machine changes. */
static bool is_local(int fd) {
    static const uint32_t kinds[] = {
        EXT4_SUPER_MAGIC,     XFS_SUPER_MAGIC,      BTRFS_SUPER_MAGIC,     F2FS_SUPER_MAGIC,
        TMPFS_MAGIC,          RAMFS_MAGIC,          OVERLAYFS_SUPER_MAGIC, ISOFS_SUPER_MAGIC,
        SQUASHFS_MAGIC,       EROFS_SUPER_MAGIC_V1, MSDOS_SUPER_MAGIC,     EXFAT_SUPER_MAGIC,
        REISERFS_SUPER_MAGIC, 0x3153464a /* JFS */, 0x2fc12fc1 /* ZFS */,  0xca451a4e /* bcachefs */};
    struct statfs status;
    if (fstatfs(fd, &status))
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if ((uint32_t)status.f_type == kinds[i])
            return true;
    return false;
}

bool watch_is_on(struct node *directory) {
    if (directory->watch)
        directory->watched_ms = now_ms();
    return directory->watch != 0;
}

/* Who may go through the directory is others than before. */
static bool set_rights(struct node *directory, const struct statx *status) {
    bool same =
        directory->mode == status->stx_mode && directory->uid == status->stx_uid && directory->gid == status->stx_gid;
    directory->mode = status->stx_mode;
    directory->uid = status->stx_uid;
    directory->gid = status->stx_gid;
    return !same;
}

bool watch(struct homefs *homefs, struct node *directory) {
    struct watches *watches = homefs->nodes.watches;
    char path[48];
    if (!watches || directory->never_watch || !S_ISDIR(directory->kind))
        return false;
    if (watch_is_on(directory))
        return true;
    int64_t now = now_ms();
    if (!has_room(watches, now) || node_path(homefs, directory, path))
        return false;
    if (!is_local(node_fd(&homefs->nodes, directory))) {
        directory->never_watch = true;
        return false;
    }
    int number = inotify_add_watch(watches->fd, path, WATCHED);
    if (number <= 0) {
        /* May not be read, or is watched by another name. ENOSPC: the user watches too much, for now. */
        directory->never_watch = errno != ENOSPC && errno != ENOMEM;
        return false;
    }
    directory->watch = number;
    directory->watched_ms = now;
    directory->next_by_watch = watches->by_number[(unsigned)number % BUCKETS];
    watches->by_number[(unsigned)number % BUCKETS] = directory;
    watches->count++;
    struct statx status;
    if (node_status(&homefs->nodes, directory, &status) == 0)
        (void)set_rights(directory, &status);
    return true;
}

void directory_listed(struct node *directory, int slot) {
    directory->listed_ms[slot] = directory->watch ? now_ms() : 0;
}

bool directory_is_known(const struct node *directory, int slot) {
    /* The listing itself takes time; half of what is allowed is left for it. */
    return directory->watch && directory->listed_ms[slot] &&
           now_ms() - directory->listed_ms[slot] < LONG_SECONDS * 1000 / 2;
}

/* --- notifications ------------------------------------------------------------------------------------------------ */

static void expire_name(struct homefs *homefs, int slot, const struct node *directory, const char *name) {
    struct {
        struct fuse_out_header header;
        struct fuse_notify_inval_entry_out entry;
        char name[256];
    } notice = {.header = {.error = FUSE_NOTIFY_INVAL_ENTRY}};
    size_t length = strlen(name);
    if (!homefs->sessions[slot].begun || length >= sizeof notice.name)
        return;
    notice.entry = (struct fuse_notify_inval_entry_out){
        .parent = directory->id, .namelen = (uint32_t)length, .flags = FUSE_EXPIRE_ONLY};
    memcpy(notice.name, name, length + 1);
    notice.header.len = (uint32_t)(sizeof notice.header + sizeof notice.entry + length + 1);
    homefs->config.notify(homefs->config.arg, slot, &notice, notice.header.len);
}

static void forget_attributes(struct homefs *homefs, int slot, struct node *node, bool pages) {
    struct {
        struct fuse_out_header header;
        struct fuse_notify_inval_inode_out inode;
    } notice = {.header = {.len = sizeof notice, .error = FUSE_NOTIFY_INVAL_INODE},
                .inode = {.ino = node->id, .off = pages ? 0 : -1}};
    node->told[slot] = 0;
    if (homefs->sessions[slot].begun)
        homefs->config.notify(homefs->config.arg, slot, &notice, sizeof notice);
}

static uint64_t fingerprint(const struct statx *status) {
    const uint64_t parts[] = {status->stx_size,          (uint64_t)status->stx_mtime.tv_sec,
                              status->stx_mtime.tv_nsec, (uint64_t)status->stx_ctime.tv_sec,
                              status->stx_ctime.tv_nsec, status->stx_nlink};
    uint64_t mixed = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        mixed = (mixed ^ parts[i]) * 0x9e3779b97f4a7c15ull ^ mixed >> 29;
    return mixed | 1;
}

void node_told(struct node *node, int slot, const struct statx *status) {
    node->told[slot] = fingerprint(status);
}

void node_check(struct homefs *homefs, struct node *node, int slot, const struct statx *status) {
    if (node->told[slot] && node->told[slot] != fingerprint(status))
        forget_attributes(homefs, slot, node, node->handles > 0 && S_ISREG(node->kind));
}

static void check_all(struct homefs *homefs, struct node *node, const struct statx *status) {
    for (int slot = 0; slot < HOMEFS_SESSIONS; slot++)
        node_check(homefs, node, slot, status);
}

static void check_directory(struct homefs *homefs, struct node *directory) {
    struct statx status;
    if (node_status(&homefs->nodes, directory, &status) == 0)
        check_all(homefs, directory, &status);
}

void watches_recall(struct homefs *homefs, int slot) {
    const struct fuse_out_header all_names = {.len = sizeof all_names, .error = NOTIFY_INC_EPOCH};
    int left = RECALLED_MOST;
    if (!homefs->sessions[slot].begun)
        return;
    homefs->config.notify(homefs->config.arg, slot, &all_names, sizeof all_names);
    for (size_t i = 0; i < homefs->nodes.buckets && left > 0; i++) {
        for (struct node *node = homefs->nodes.by_id[i]; node && left > 0; node = node->next_by_id) {
            if (node->told[slot]) {
                forget_attributes(homefs, slot, node, false);
                left--;
            }
        }
    }
}

/* --- events ------------------------------------------------------------------------------------------------------- */

/* If who may go through it is others now, what is in it must be asked for again. */
static void rights_changed(struct homefs *homefs, struct node *directory) {
    struct statx status;
    if (node_status(&homefs->nodes, directory, &status))
        return;
    check_all(homefs, directory, &status);
    if (!set_rights(directory, &status))
        return;
    int left = RECALLED_MOST;
    for (size_t i = 0; i < homefs->nodes.buckets && left > 0; i++)
        for (struct node *node = homefs->nodes.by_id[i]; node && left > 0; node = node->next_by_id)
            for (int slot = 0; node->parent == directory && slot < HOMEFS_SESSIONS; slot++)
                if (node->lookups[slot]) {
                    expire_name(homefs, slot, directory, node->name);
                    left--;
                }
}

static bool take_own(struct own_changes *own, const struct node *directory, const struct inotify_event *event) {
    for (int i = 0; own && i < own->count; i++) {
        const struct own_change *change = &own->all[i];
        if (change->directory == directory && change->event & event->mask && !strcmp(change->name, event->name)) {
            own->all[i] = own->all[--own->count];
            return true;
        }
    }
    return false;
}

static void happened(struct homefs *homefs, const struct inotify_event *event, struct own_changes *own) {
    struct watches *watches = homefs->nodes.watches;
    struct node *directory = find(watches, event->wd);
    struct statx status;
    struct node *node;
    if (event->mask & IN_Q_OVERFLOW) {
        for (int slot = 0; slot < HOMEFS_SESSIONS; slot++)
            watches_recall(homefs, slot);
        return;
    }
    if (!directory)
        return;
    if (event->mask & (IN_IGNORED | IN_UNMOUNT))
        return remove_watch(watches, directory);
    if (is_idle(directory, now_ms()))
        return watch_end(watches, directory);
    if (event->len == 0)
        return rights_changed(homefs, directory);
    if (event->mask & NAMES) {
        int skipped = take_own(own, directory, event) ? own->slot : -1;
        for (int slot = 0; slot < HOMEFS_SESSIONS; slot++)
            if (slot != skipped)
                expire_name(homefs, slot, directory, event->name);
        check_directory(homefs, directory);
    }
    /* Also after a name has come: of a file that was known by another. */
    if (nodes_known(&homefs->nodes, directory, event->name, &node, &status) == 0)
        check_all(homefs, node, &status);
}

void watches_tell(struct homefs *homefs, struct own_changes *own) {
    struct watches *watches = homefs->nodes.watches;
    for (int i = 0; watches && i < READS_MOST; i++) {
        ssize_t length = read(watches->fd, watches->events, sizeof watches->events);
        for (ssize_t at = 0; at < length;) {
            const struct inotify_event *event = (const struct inotify_event *)(watches->events + at);
            happened(homefs, event, own);
            at += (ssize_t)sizeof *event + event->len;
        }
        if (length < (ssize_t)(sizeof watches->events / 2))
            return;
    }
}
