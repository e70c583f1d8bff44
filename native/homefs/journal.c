/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. The kernel on a task's host knows home's files by numbers that the deputy gave out. The deputy
 * of a detached task may die and be started again; it must know those numbers then. So it appends to a file:
 * directories as they become known (a working directory is one), and files when they are opened, each by number, parent
 * and name; and opens and closes. The next deputy reads it, finds each by its name, and opens it anew if it is the same
 * inode. What can't be found again (deleted meanwhile) answers ESTALE or EBADF. All other numbers answer ESTALE, which
 * makes the kernel look the path up again.
 *
 * Numbers of a new deputy begin far above all that were given before, so that none comes to mean another file.
 */
#include "homefs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_BYTES (64u << 20) /* then no more directories are written down */
#define LARGEST_FILE (256u << 20)
#define TABLE (1u << 17)
#define DEEPEST 256
#define ID_SHIFT 40
#define GENERATION_SHIFT 20
#define MOST_INCARNATIONS 2048u

enum kind { INCARNATION = 1, NODE, FORGET, OPEN, HOLDS };

struct record {
    uint32_t length; /* with the name */
    uint32_t kind;
    uint64_t id, parent, ino, dev, fh;
    uint32_t flags, directory, holds, mode;
    int64_t birth_s, birth_ns;
    /* then: the name with its end byte */
};

static void append(struct journal *journal, struct record *record, const char *name) {
    char bytes[sizeof *record + NAME_MAX + 1];
    size_t length = name ? strnlen(name, NAME_MAX) + 1 : 0;
    record->length = (uint32_t)(sizeof *record + length);
    memcpy(bytes, record, sizeof *record);
    if (length)
        memcpy(bytes + sizeof *record, name, length);
    if (write(journal->fd, bytes, record->length) == (ssize_t)record->length) {
        journal->bytes += record->length;
    } else {
        /* A full disk: a deputy that is started again would believe half of it. */
        close(journal->fd);
        journal->fd = -1;
    }
}

void journal_node(struct journal *journal, const struct node *node) {
    if (journal->fd < 0 || !node->parent || (node->kind != S_IFDIR && node->handles == 0) ||
        (journal->bytes > MOST_BYTES && node->handles == 0))
        return;
    struct record record = {.kind = NODE,
                            .id = node->id,
                            .parent = node->parent->id,
                            .ino = node->ino,
                            .dev = node->dev,
                            .mode = node->kind,
                            .birth_s = node->birth.tv_sec,
                            .birth_ns = node->birth.tv_nsec};
    append(journal, &record, node->name);
}

void journal_forget(struct journal *journal, const struct node *node) {
    if (journal->fd < 0 || node->kind != S_IFDIR)
        return;
    struct record record = {.kind = FORGET, .id = node->id};
    append(journal, &record, NULL);
}

void journal_open(struct journal *journal, uint64_t fh, const struct node *node, int flags, int directory) {
    if (journal->fd < 0)
        return;
    journal_node(journal, node);
    struct record record = {
        .kind = OPEN, .id = node->id, .fh = fh, .flags = (uint32_t)flags, .directory = (uint32_t)directory, .holds = 1};
    if (journal->fd >= 0)
        append(journal, &record, NULL);
}

void journal_holds(struct journal *journal, uint64_t fh, uint32_t holds) {
    if (journal->fd < 0)
        return;
    struct record record = {.kind = HOLDS, .fh = fh, .holds = holds};
    append(journal, &record, NULL);
}

/* --- reading it back ---------------------------------------------------------------------------------------------- */

struct item {
    struct record record;
    char *name;
    bool used;
};

/* By `key`: nodes by number, opens by handle. */
struct table {
    struct item *items;
    size_t count;
};

static struct item *find(struct table *table, uint64_t key, bool by_handle) {
    size_t at = (size_t)((key * 0x9e3779b97f4a7c15ull) >> 40) & (TABLE - 1);
    for (size_t tried = 0; tried < TABLE; tried++, at = (at + 1) & (TABLE - 1)) {
        struct item *item = &table->items[at];
        if (!item->used)
            return item;
        if ((by_handle ? item->record.fh : item->record.id) == key)
            return item;
    }
    return NULL;
}

static void set(struct table *table, const struct record *record, const char *name, bool by_handle) {
    struct item *item = find(table, by_handle ? record->fh : record->id, by_handle);
    if (!item || (!item->used && table->count >= TABLE / 2))
        return; /* more than anybody has open: those are looked up again */
    table->count += !item->used;
    free(item->name);
    *item = (struct item){.record = *record, .name = name ? strdup(name) : NULL, .used = true};
}

static void read_records(const uint8_t *bytes, size_t length, struct table *nodes, struct table *opens,
                         uint32_t *incarnations) {
    struct record record;
    while (length >= sizeof record) {
        memcpy(&record, bytes, sizeof record);
        const char *name = (const char *)bytes + sizeof record;
        size_t room = record.length - sizeof record;
        /* The last one may be cut short. */
        if (record.length < sizeof record || record.length > length || (room > 0 && !memchr(name, 0, room)))
            return;
        if (record.kind == INCARNATION) {
            (*incarnations)++;
        } else if (record.kind == NODE && room > 0) {
            set(nodes, &record, name, false);
        } else if (record.kind == FORGET) {
            struct item *item = find(nodes, record.id, false);
            if (item && item->used)
                item->record.kind = FORGET;
        } else if (record.kind == OPEN) {
            set(opens, &record, NULL, true);
        } else if (record.kind == HOLDS) {
            struct item *item = find(opens, record.fh, true);
            if (item && item->used)
                item->record.holds = record.holds;
        }
        bytes += record.length;
        length -= record.length;
    }
}

static struct node *restore_node(struct homefs *homefs, struct table *table, uint64_t id, int slot, int depth) {
    struct node *known = nodes_get(&homefs->nodes, id), *node;
    struct item *item = find(table, id, false);
    struct statx status;
    if (known)
        return known;
    if (depth > DEEPEST || !item || !item->used || !item->name)
        return NULL;
    struct node *parent = restore_node(homefs, table, item->record.parent, slot, depth + 1);
    if (!parent || nodes_lookup(&homefs->nodes, parent, item->name, &node, &status))
        return NULL;
    if (node->ino != item->record.ino || node->dev != item->record.dev || node->birth.tv_sec != item->record.birth_s ||
        node->birth.tv_nsec != item->record.birth_ns)
        return NULL;
    nodes_renumber(&homefs->nodes, node, id);
    node->lookups[slot]++;
    return node;
}

static void restore(struct homefs *homefs, struct table *nodes, struct table *opens, int slot) {
    for (size_t i = 0; i < TABLE; i++)
        if (nodes->items[i].used && nodes->items[i].record.kind == NODE && nodes->items[i].record.mode == S_IFDIR)
            (void)restore_node(homefs, nodes, nodes->items[i].record.id, slot, 0);
    for (size_t i = 0; i < TABLE; i++) {
        const struct record *record = &opens->items[i].record;
        if (!opens->items[i].used || record->holds == 0)
            continue;
        struct node *node = restore_node(homefs, nodes, record->id, slot, 0);
        int fd = node ? node_open(homefs, node, (int)record->flags) : -1;
        if (fd >= 0)
            handle_put_back(homefs, slot, node, fd, record->directory, record->fh, record->holds);
    }
}

static void free_table(struct table *table) {
    for (size_t i = 0; table->items && i < TABLE; i++)
        free(table->items[i].name);
    free(table->items);
}

static int read_back(struct homefs *homefs, int fd, int slot) {
    struct stat status;
    if (fstat(fd, &status))
        return -errno;
    if (status.st_size > LARGEST_FILE)
        return -EFBIG;
    struct table nodes = {calloc(TABLE, sizeof(struct item)), 0}, opens = {calloc(TABLE, sizeof(struct item)), 0};
    uint8_t *bytes = malloc((size_t)status.st_size + 1);
    int result = nodes.items && opens.items && bytes ? 0 : -ENOMEM;
    if (!result && pread(fd, bytes, (size_t)status.st_size, 0) != status.st_size)
        result = -EIO;
    if (!result) {
        read_records(bytes, (size_t)status.st_size, &nodes, &opens, &homefs->journal.incarnation);
        if (homefs->journal.incarnation >= MOST_INCARNATIONS)
            result = -EOVERFLOW;
    }
    if (!result && homefs->journal.incarnation > 0) {
        homefs->nodes.next_id = (uint64_t)homefs->journal.incarnation << ID_SHIFT;
        homefs->handles.first_generation = homefs->journal.incarnation << GENERATION_SHIFT;
        restore(homefs, &nodes, &opens, slot);
    }
    free(bytes);
    free_table(&nodes);
    free_table(&opens);
    return result;
}

int homefs_journal(struct homefs *homefs, const char *path, int slot) {
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int result = read_back(homefs, fd, slot);
    if (result) {
        close(fd);
        return result;
    }
    struct record record = {.kind = INCARNATION};
    homefs->journal.fd = fd;
    append(&homefs->journal, &record, NULL);
    return homefs->journal.fd < 0 ? -ENOSPC : 0;
}
