/* SPDX-License-Identifier: Apache-2.0
 *
 * What home says a task is (DP_WELCOME, protocol.h), checked, and made into what the capsule's init takes.
 */
#include "shepherd.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_STRINGS 65536
#define MOST_BYTES (7u << 20)

int spec_read(struct shepherd *shepherd) {
    size_t length;
    const void *bytes = relay_spec(shepherd->relay, &length);
    struct spec *spec = &shepherd->spec;
    if (!bytes)
        return -EBADMSG;
    int result = mp_read(&spec->reader, bytes, length, DP_MAX_PAYLOAD);
    if (result)
        return result;
    spec->map = &spec->reader.root;
    uint64_t uid, gid, terminals, closed;
    const void *name;
    size_t name_length;
    if (!mp_get_bool(spec->map, "tty", &spec->tty) || !mp_get_u64(spec->map, "uid", &uid) ||
        !mp_get_u64(spec->map, "gid", &gid) || !mp_get_u64(spec->map, "terminals", &terminals) ||
        !mp_get_u64(spec->map, "closed", &closed) || !mp_get_bin(spec->map, "hostname", &name, &name_length) ||
        uid > UINT32_MAX || gid > UINT32_MAX || name_length >= sizeof spec->host_name)
        return -EBADMSG;
    spec->uid = (uint32_t)uid;
    spec->gid = (uint32_t)gid;
    spec->terminals = terminals & 7;
    spec->closed = closed & 7;
    memcpy(spec->host_name, name, name_length);
    spec->host_name[name_length] = 0;
    return 0;
}

struct bytes {
    char *at;
    size_t length;
};

static int append(struct bytes *bytes, const void *text, size_t length) {
    if (length && memchr(text, 0, length))
        return -EBADMSG;
    if (bytes->length + length + 1 > MOST_BYTES)
        return -E2BIG;
    memcpy(bytes->at + bytes->length, text, length);
    bytes->at[bytes->length + length] = 0;
    bytes->length += length + 1;
    return 0;
}

static int append_list(struct bytes *bytes, const msgpack_object *map, const char *key, uint32_t *count) {
    const msgpack_object_array *list;
    if (!mp_get_array(map, key, &list) || list->size > MOST_STRINGS)
        return -EBADMSG;
    for (uint32_t i = 0; i < list->size; i++) {
        const void *text;
        size_t length;
        int result = mp_as_bin(&list->ptr[i], &text, &length) ? append(bytes, text, length) : -EBADMSG;
        if (result)
            return result;
    }
    *count = list->size;
    return 0;
}

static int read_limits(const msgpack_object *map, struct capsule_program *program) {
    const msgpack_object_array *list;
    if (!mp_get_array(map, "rlimits", &list) || list->size > 16)
        return -EBADMSG;
    for (int i = 0; i < 16; i++)
        program->limits[i][0] = program->limits[i][1] = UINT64_MAX;
    for (uint32_t i = 0; i < list->size; i++) {
        const msgpack_object *pair = &list->ptr[i];
        if (pair->type != MSGPACK_OBJECT_ARRAY || pair->via.array.size != 2 ||
            !mp_as_u64(&pair->via.array.ptr[0], &program->limits[i][0]) ||
            !mp_as_u64(&pair->via.array.ptr[1], &program->limits[i][1]))
            return -EBADMSG;
    }
    return 0;
}

int spec_program(const struct shepherd *shepherd, void **to, size_t *length) {
    const msgpack_object *map = shepherd->spec.map;
    struct capsule_program program = {0};
    struct bytes bytes = {malloc(MOST_BYTES), sizeof program};
    if (!bytes.at)
        return -ENOMEM;
    const void *directory;
    size_t directory_length;
    uint64_t mask;
    int64_t nice;
    int result = mp_get_bin(map, "cwd", &directory, &directory_length) && mp_get_u64(map, "umask", &mask) &&
                         mp_get_i64(map, "nice", &nice) && mask <= 0777 && nice >= -20 && nice <= 19
                     ? append(&bytes, directory, directory_length)
                     : -EBADMSG;
    if (!result)
        result = append_list(&bytes, map, "argv", &program.argument_count);
    if (!result)
        result = append_list(&bytes, map, "env", &program.environment_count);
    if (!result)
        result = read_limits(map, &program);
    if (result) {
        free(bytes.at);
        return result;
    }
    program.umask = (uint32_t)mask;
    program.closed = shepherd->spec.closed;
    program.nice = (int32_t)nice;
    program.directory_length = (uint32_t)directory_length;
    memcpy(bytes.at, &program, sizeof program);
    *to = bytes.at;
    *length = bytes.length;
    return 0;
}
