/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. smaps prints each area's line of maps, then "Key: value" lines of which VmFlags is the last.
 * Paths come as the mount namespace of the task has them, because its mounts can't be reached from ours; a newline in
 * a name is printed as \012. A file that has lost its name ends in " (deleted)". Seen on 6.18: [vvar], [vvar_vclock]
 * and [vdso] lie together; [vsyscall] is not a real area.
 */
#include "maps.h"
#include "arch.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void unescape(char *path) {
    char *to = path;
    for (const char *from = path; *from; from++) {
        if (from[0] == '\\' && from[1] == '0' && from[2] == '1' && from[3] == '2') {
            *to++ = '\n';
            from += 3;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
}

static const struct {
    const char name[3];
    uint32_t flag;
} vm_flags[] = {
    {"gd", AREA_FLAG_GROWSDOWN},      {"lo", AREA_FLAG_LOCKED},    {"dc", AREA_FLAG_DONTFORK},
    {"dd", AREA_FLAG_DONTDUMP},       {"hg", AREA_FLAG_HUGEPAGE},  {"nh", AREA_FLAG_NOHUGEPAGE},
    {"wf", AREA_FLAG_WIPEONFORK},     {"mg", AREA_FLAG_MERGEABLE}, {"sr", AREA_FLAG_SEQUENTIAL},
    {"rr", AREA_FLAG_RANDOM},         {"nr", AREA_FLAG_NORESERVE}, {"lf", AREA_FLAG_LOCKONFAULT},
    {"mw", AREA_FLAG_MAYSHARE_WRITE},
};

static int set_path(struct area *area, const char *text) {
    free(area->path);
    area->path = strdup(text);
    return area->path ? 0 : -ENOMEM;
}

static int read_flags(struct area *area, const char *text) {
    for (const char *at = text; *at;) {
        while (*at == ' ' || *at == '\n')
            at++;
        if (!at[0] || !at[1])
            break;
        for (size_t i = 0; i < sizeof vm_flags / sizeof *vm_flags; i++)
            if (at[0] == vm_flags[i].name[0] && at[1] == vm_flags[i].name[1])
                area->flags |= vm_flags[i].flag;
        bool pages_of_device = (at[0] == 'i' && at[1] == 'o') || (at[0] == 'p' && at[1] == 'f');
        bool huge = at[0] == 'h' && at[1] == 't';
        bool watched = at[0] == 'u' && (at[1] == 'm' || at[1] == 'i');
        if (area->kind != AREA_VDSO && (pages_of_device || huge || watched)) {
            area->kind = AREA_OTHER;
            int result = set_path(area, pages_of_device ? "device memory"
                                        : huge          ? "huge pages (hugetlb)"
                                                        : "userfaultfd");
            if (result)
                return result;
        }
        at += 2;
    }
    return 0;
}

static void classify(struct area *area, bool shared, unsigned major, unsigned minor, uint64_t file_device) {
    const char *path = area->path;
    size_t length = strlen(path);
    if (!strcmp(path, "[vdso]") || !strncmp(path, "[vvar", 5))
        area->kind = AREA_VDSO;
    else if (area->inode == 0 && major == 0 && minor == 0 && !shared &&
             (!*path || !strcmp(path, "[heap]") || !strncmp(path, "[stack", 6) || !strncmp(path, "[anon:", 6)))
        area->kind = AREA_ANON;
    else if (path[0] == '/' && (((uint64_t)major << 32) | minor) == file_device &&
             !(length > 10 && !strcmp(path + length - 10, " (deleted)")))
        area->kind = shared ? AREA_FILE_SHARED : AREA_FILE_PRIVATE;
    else
        area->kind = AREA_OTHER;
    if (!strcmp(path, "[heap]"))
        area->flags |= AREA_FLAG_HEAP;
    if (area->kind == AREA_ANON)
        area->path[0] = 0;
}

/* 1: a header line, filled into *area; 0: something else; -errno. */
static int read_header(char *line, uint64_t file_device, struct area *area) {
    unsigned long long start, end, offset, inode;
    unsigned major, minor;
    char perms[8];
    int consumed = 0;
    if (sscanf(line, "%llx-%llx %7s %llx %x:%x %llu %n", &start, &end, perms, &offset, &major, &minor, &inode,
               &consumed) < 7)
        return 0;
    *area = (struct area){.start = start, .end = end, .offset = offset, .inode = inode};
    area->prot =
        (perms[0] == 'r' ? PROT_READ : 0u) | (perms[1] == 'w' ? PROT_WRITE : 0u) | (perms[2] == 'x' ? PROT_EXEC : 0u);
    char *path = line + consumed;
    path[strcspn(path, "\n")] = 0;
    unescape(path);
    if (set_path(area, path))
        return -ENOMEM;
    classify(area, perms[3] == 's', major, minor, file_device);
    return 1;
}

static int append(struct area_list *list, struct area *area) {
    if (list->count >= MAPS_MAX_AREAS)
        return -E2BIG;
    if ((list->count & (list->count - 1)) == 0) {
        size_t room = list->count ? list->count * 2 : 1;
        struct area *grown = realloc(list->areas, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        list->areas = grown;
    }
    list->areas[list->count++] = *area;
    return 0;
}

int maps_read(pid_t pid, uint64_t skip, uint64_t file_device, struct area_list *list) {
    *list = (struct area_list){0};
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    setvbuf(file, NULL, _IOFBF, 1 << 16);
    char *line = NULL;
    size_t room = 0;
    int result = 0;
    bool keep = false;
    while (!result && getline(&line, &room, file) > 0) {
        struct area area;
        struct area *last = keep && list->count ? &list->areas[list->count - 1] : NULL;
        unsigned long long kib;
        if (line[0] >= 'A' && line[0] <= 'Z') {
            if (last && sscanf(line, "Rss: %llu kB", &kib) == 1)
                last->resident = kib << 10;
            else if (last && !strncmp(line, "VmFlags:", 8))
                result = read_flags(last, line + 8);
            continue;
        }
        int header = read_header(line, file_device, &area);
        if (header <= 0) {
            result = header;
            continue;
        }
        keep = !(skip && area.start == skip) && area.start < arch_user_end();
        if (!keep)
            free(area.path);
        else if ((result = append(list, &area)))
            free(area.path);
    }
    if (!result && ferror(file))
        result = -EIO;
    free(line);
    fclose(file);
    if (!result && list->count == 0)
        result = -ESRCH;
    if (result)
        maps_free(list);
    return result;
}

void maps_free(struct area_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->areas[i].path);
    free(list->areas);
    *list = (struct area_list){0};
}

void maps_pack(struct image_writer *writer, const struct area_list *list) {
    image_put_u32(writer, (uint32_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        const struct area *area = &list->areas[i];
        image_put_u64(writer, area->start);
        image_put_u64(writer, area->end);
        image_put_u64(writer, area->offset);
        image_put_u64(writer, area->inode);
        image_put_u32(writer, area->kind);
        image_put_u32(writer, area->prot);
        image_put_u32(writer, area->flags);
        image_put_text(writer, area->path);
    }
}

int maps_unpack(struct image_reader *reader, struct area_list *list) {
    *list = (struct area_list){0};
    size_t count = image_get_count(reader, MAPS_MAX_AREAS, 48);
    uint64_t floor = 0;
    list->areas = calloc(count ? count : 1, sizeof *list->areas);
    if (!list->areas)
        return -ENOMEM;
    for (; list->count < count; list->count++) {
        struct area *area = &list->areas[list->count];
        area->start = image_get_u64(reader);
        area->end = image_get_u64(reader);
        area->offset = image_get_u64(reader);
        area->inode = image_get_u64(reader);
        area->kind = image_get_u32(reader);
        area->prot = image_get_u32(reader);
        area->flags = image_get_u32(reader);
        area->path = image_get_text(reader, MAPS_MAX_PATH);
        bool sane = area->start >= floor && area->start < area->end && area->end <= arch_user_end() &&
                    !((area->start | area->end | area->offset) & 4095) && area->kind >= AREA_ANON &&
                    area->kind <= AREA_VDSO && !(area->prot & ~(uint32_t)(PROT_READ | PROT_WRITE | PROT_EXEC));
        if (!image_reader_ok(reader) || !sane) {
            free(area->path);
            maps_free(list);
            image_fail(reader);
            return -EBADMSG;
        }
        floor = area->end;
    }
    return 0;
}

const struct area *maps_find(const struct area_list *list, uint64_t address) {
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list->areas[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < list->count && list->areas[low].start <= address ? &list->areas[low] : NULL;
}

bool area_same_backing(const struct area *a, const struct area *b) {
    if (a->kind != b->kind || (a->flags & AREA_FLAG_GROWSDOWN) != (b->flags & AREA_FLAG_GROWSDOWN) ||
        (a->flags & AREA_FLAG_NORESERVE) != (b->flags & AREA_FLAG_NORESERVE))
        return false;
    if (a->kind == AREA_ANON)
        return true;
    return a->inode == b->inode && a->start - a->offset == b->start - b->offset && !strcmp(a->path, b->path);
}
