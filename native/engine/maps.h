/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory areas of a process, from /proc/PID/smaps.
 */
#ifndef SKEIN_MAPS_H
#define SKEIN_MAPS_H

#include "image.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MAPS_MAX_AREAS 262144
#define MAPS_MAX_PATH 4096

enum area_kind {
    AREA_ANON = 1,     /* private anonymous, heap, stack */
    AREA_FILE_PRIVATE, /* MAP_PRIVATE of a file of home: the file below, changed pages above */
    AREA_FILE_SHARED,  /* MAP_SHARED of a file of home: the file has the contents */
    AREA_VDSO,         /* [vdso], [vvar], [vvar_vclock]: the kernel's own */
    AREA_OTHER,        /* anything that can't move: the path says what */
};

struct area {
    uint64_t start, end, offset;
    uint64_t inode;
    uint32_t kind;
    uint32_t prot;     /* PROT_* */
    uint32_t flags;    /* AREA_FLAG_* */
    char *path;        /* of a file, as the task sees it, "" when none; names of [v…] areas */
    uint64_t resident; /* bytes */
};

enum {
    AREA_FLAG_GROWSDOWN = 1 << 0,
    AREA_FLAG_LOCKED = 1 << 1,
    AREA_FLAG_DONTFORK = 1 << 2,
    AREA_FLAG_DONTDUMP = 1 << 3,
    AREA_FLAG_HUGEPAGE = 1 << 4,
    AREA_FLAG_NOHUGEPAGE = 1 << 5,
    AREA_FLAG_WIPEONFORK = 1 << 6,
    AREA_FLAG_MERGEABLE = 1 << 7,
    AREA_FLAG_SEQUENTIAL = 1 << 8,
    AREA_FLAG_RANDOM = 1 << 9,
    AREA_FLAG_NORESERVE = 1 << 10,
    AREA_FLAG_LOCKONFAULT = 1 << 11,
    AREA_FLAG_HEAP = 1 << 12,
    AREA_FLAG_MAYSHARE_WRITE = 1 << 13, /* a shared file area that was opened for writing */
};

struct area_list {
    struct area *areas;
    size_t count;
};

/* Areas in order of address, [vsyscall] left out. `skip` (may be 0) is an area of ours that the task must not be seen
 * to have. `file_device` is the device of home's files: what lies on another is AREA_OTHER. 0 or -errno. */
int maps_read(pid_t pid, uint64_t skip, uint64_t file_device, struct area_list *list);
void maps_free(struct area_list *list);
/* To and from the image. Unpacking checks order, alignment, kinds and limits. */
void maps_pack(struct image_writer *writer, const struct area_list *list);
int maps_unpack(struct image_reader *reader, struct area_list *list);
const struct area *maps_find(const struct area_list *list, uint64_t address);
bool area_same_backing(const struct area *a, const struct area *b);

#endif
