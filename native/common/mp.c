/* SPDX-License-Identifier: Apache-2.0
 *
 * msgpack, written with counted containers and read with suspicion.
 *
 * Theory of operation. msgpack wants a container's count before its items; the packer writes a 32-bit count of zero and
 * puts the right one in at mp_end, so that no caller counts fields by hand. Any failure sticks and shows in mp_done.
 *
 * Reading: msgpack-c allocates an array as soon as it has seen its count, so 5 bytes could ask for gigabytes. mp_check
 * walks the bytes first, without allocation or recursion: every count must be possible in what is left of the input,
 * the nesting has a limit, and exactly the whole input is one value. Only then does msgpack-c see it. Extension types
 * are let through as values that no getter accepts.
 */
#include "mp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void mp_begin(struct mp_packer *p) {
    memset(p, 0, sizeof *p);
    msgpack_sbuffer_init(&p->buffer);
    msgpack_packer_init(&p->packer, &p->buffer, msgpack_sbuffer_write);
}

void mp_free(struct mp_packer *p) {
    msgpack_sbuffer_destroy(&p->buffer);
}

const void *mp_done(struct mp_packer *p, size_t *length) {
    if (p->failed || p->depth != 0)
        return NULL;
    *length = p->buffer.size;
    return p->buffer.data;
}

static void note(struct mp_packer *p, int result) {
    if (result != 0)
        p->failed = true;
}

static void item(struct mp_packer *p) {
    if (p->depth > 0)
        p->open[p->depth - 1].items++;
}

static void open_container(struct mp_packer *p, bool map) {
    item(p);
    if (p->depth == MP_MAX_DEPTH)
        p->failed = true;
    if (p->failed)
        return;
    const char head[5] = {(char)(map ? 0xdf : 0xdd), 0, 0, 0, 0};
    note(p, msgpack_sbuffer_write(&p->buffer, head, sizeof head));
    p->open[p->depth].at = p->buffer.size - 4;
    p->open[p->depth].items = 0;
    p->open[p->depth].map = map;
    p->depth++;
}

void mp_put_map(struct mp_packer *p) {
    open_container(p, true);
}
void mp_put_array(struct mp_packer *p) {
    open_container(p, false);
}

void mp_end(struct mp_packer *p) {
    if (p->depth == 0)
        p->failed = true;
    if (p->failed)
        return;
    p->depth--;
    uint32_t count = p->open[p->depth].items;
    if (p->open[p->depth].map) {
        if (count % 2 != 0)
            p->failed = true;
        count /= 2;
    }
    char *at = p->buffer.data + p->open[p->depth].at;
    for (int i = 0; i < 4; i++)
        at[i] = (char)(count >> (24 - 8 * i));
}

void mp_put_str(struct mp_packer *p, const char *text) {
    item(p);
    note(p, msgpack_pack_str_with_body(&p->packer, text, strlen(text)));
}

void mp_put_bin(struct mp_packer *p, const void *bytes, size_t length) {
    item(p);
    note(p, msgpack_pack_bin_with_body(&p->packer, length ? bytes : "", length));
}

void mp_put_u64(struct mp_packer *p, uint64_t value) {
    item(p);
    note(p, msgpack_pack_uint64(&p->packer, value));
}

void mp_put_i64(struct mp_packer *p, int64_t value) {
    item(p);
    note(p, msgpack_pack_int64(&p->packer, value));
}

void mp_put_double(struct mp_packer *p, double value) {
    item(p);
    note(p, msgpack_pack_double(&p->packer, value));
}

void mp_put_bool(struct mp_packer *p, bool value) {
    item(p);
    note(p, value ? msgpack_pack_true(&p->packer) : msgpack_pack_false(&p->packer));
}

void mp_add_map(struct mp_packer *p, const char *key) {
    mp_put_str(p, key);
    mp_put_map(p);
}
void mp_add_array(struct mp_packer *p, const char *key) {
    mp_put_str(p, key);
    mp_put_array(p);
}
void mp_add_str(struct mp_packer *p, const char *key, const char *text) {
    mp_put_str(p, key);
    mp_put_str(p, text);
}
void mp_add_bin(struct mp_packer *p, const char *key, const void *bytes, size_t length) {
    mp_put_str(p, key);
    mp_put_bin(p, bytes, length);
}
void mp_add_u64(struct mp_packer *p, const char *key, uint64_t value) {
    mp_put_str(p, key);
    mp_put_u64(p, value);
}
void mp_add_i64(struct mp_packer *p, const char *key, int64_t value) {
    mp_put_str(p, key);
    mp_put_i64(p, value);
}
void mp_add_double(struct mp_packer *p, const char *key, double value) {
    mp_put_str(p, key);
    mp_put_double(p, value);
}
void mp_add_bool(struct mp_packer *p, const char *key, bool value) {
    mp_put_str(p, key);
    mp_put_bool(p, value);
}

/* What follows a type byte: a big-endian count of `width` bytes, or a fixed number. */
struct shape {
    uint8_t width;
    uint32_t fixed;
    enum { SCALAR, MAP, ARRAY } kind;
    uint8_t extra; /* the type byte of an extension */
};

static bool shape_of(uint8_t type, struct shape *shape) {
    *shape = (struct shape){0};
    if (type <= 0x7f || type >= 0xe0)
        return true;
    if (type <= 0x8f)
        return shape->kind = MAP, shape->fixed = type & 0x0f, true;
    if (type <= 0x9f)
        return shape->kind = ARRAY, shape->fixed = type & 0x0f, true;
    if (type <= 0xbf)
        return shape->fixed = type & 0x1f, true;
    switch (type) {
    case 0xc1:
        return false;
    case 0xc4: /* bin */
    case 0xd9: /* str 8 */
        return shape->width = 1, true;
    case 0xc5:
    case 0xda:
        return shape->width = 2, true;
    case 0xc6:
    case 0xdb:
        return shape->width = 4, true;
    case 0xc7: /* ext */
    case 0xc8:
    case 0xc9:
        return shape->width = (uint8_t)(1 << (type - 0xc7)), shape->extra = 1, true;
    case 0xca:
        return shape->fixed = 4, true;
    case 0xcb:
        return shape->fixed = 8, true;
    case 0xcc: /* uint, int */
    case 0xcd:
    case 0xce:
    case 0xcf:
        return shape->fixed = 1u << (type - 0xcc), true;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return shape->fixed = 1u << (type - 0xd0), true;
    case 0xd4: /* fixext */
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return shape->fixed = (1u << (type - 0xd4)) + 1, true;
    case 0xdc:
    case 0xdd:
        return shape->kind = ARRAY, shape->width = type == 0xdc ? 2 : 4, true;
    case 0xde:
    case 0xdf:
        return shape->kind = MAP, shape->width = type == 0xde ? 2 : 4, true;
    default: /* nil, false, true */
        return true;
    }
}

bool mp_check(const void *bytes, size_t length) {
    const uint8_t *at = bytes, *end = at + length;
    uint64_t left[MP_MAX_DEPTH + 1]; /* values still to come at each depth */
    int depth = 0;
    left[0] = 1;
    while (depth >= 0) {
        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        if (at == end)
            return false;
        struct shape shape;
        if (!shape_of(*at++, &shape))
            return false;
        uint64_t count = shape.fixed;
        if ((size_t)(end - at) < shape.width)
            return false;
        for (int i = 0; i < shape.width; i++)
            count = i == 0 ? *at++ : count << 8 | *at++;
        if (shape.kind == SCALAR) {
            count += shape.extra;
            if ((uint64_t)(end - at) < count)
                return false;
            at += count;
            continue;
        }
        if (shape.kind == MAP)
            count *= 2;
        if ((uint64_t)(end - at) < count || depth == MP_MAX_DEPTH)
            return false;
        left[++depth] = count;
    }
    return at == end;
}

int mp_read(struct mp_reader *reader, const void *bytes, size_t length, size_t limit) {
    memset(reader, 0, sizeof *reader);
    if (length > limit)
        return -EMSGSIZE;
    if (!mp_check(bytes, length))
        return -EBADMSG;
    if (!msgpack_zone_init(&reader->zone, 4096))
        return -ENOMEM;
    reader->open = true;
    /* A copy, since strings are left where they lie and the caller's buffer may be a message that goes. */
    reader->copy = malloc(length);
    if (reader->copy == NULL)
        return mp_reader_free(reader), -ENOMEM;
    memcpy(reader->copy, bytes, length);
    size_t offset = 0;
    msgpack_unpack_return result = msgpack_unpack(reader->copy, length, &offset, &reader->zone, &reader->root);
    if (result != MSGPACK_UNPACK_SUCCESS || reader->root.type != MSGPACK_OBJECT_MAP) {
        mp_reader_free(reader);
        return result == MSGPACK_UNPACK_NOMEM_ERROR ? -ENOMEM : -EBADMSG;
    }
    return 0;
}

void mp_reader_free(struct mp_reader *reader) {
    if (reader->open)
        msgpack_zone_destroy(&reader->zone);
    free(reader->copy);
    memset(reader, 0, sizeof *reader);
}

const msgpack_object *mp_get(const msgpack_object *map, const char *key) {
    if (map == NULL || map->type != MSGPACK_OBJECT_MAP)
        return NULL;
    size_t length = strlen(key);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *entry = &map->via.map.ptr[i];
        if (entry->key.type == MSGPACK_OBJECT_STR && entry->key.via.str.size == length &&
            memcmp(entry->key.via.str.ptr, key, length) == 0)
            return &entry->val;
    }
    return NULL;
}

bool mp_as_u64(const msgpack_object *object, uint64_t *value) {
    if (object == NULL)
        return false;
    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        return *value = object->via.u64, true;
    if (object->type != MSGPACK_OBJECT_FLOAT64 && object->type != MSGPACK_OBJECT_FLOAT32)
        return false;
    double number = object->via.f64;
    if (!(number >= 0 && number <= 9007199254740992.0) || (double)(uint64_t)number != number)
        return false;
    return *value = (uint64_t)number, true;
}

bool mp_as_i64(const msgpack_object *object, int64_t *value) {
    uint64_t positive;
    if (mp_as_u64(object, &positive)) {
        if (positive > INT64_MAX)
            return false;
        return *value = (int64_t)positive, true;
    }
    if (object == NULL)
        return false;
    if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        return *value = object->via.i64, true;
    if (object->type != MSGPACK_OBJECT_FLOAT64 && object->type != MSGPACK_OBJECT_FLOAT32)
        return false;
    double number = object->via.f64;
    if (!(number < 0 && number >= -9007199254740992.0) || (double)(int64_t)number != number)
        return false;
    return *value = (int64_t)number, true;
}

bool mp_as_bin(const msgpack_object *object, const void **bytes, size_t *length) {
    if (object == NULL)
        return false;
    if (object->type == MSGPACK_OBJECT_BIN)
        return *bytes = object->via.bin.ptr, *length = object->via.bin.size, true;
    if (object->type == MSGPACK_OBJECT_STR)
        return *bytes = object->via.str.ptr, *length = object->via.str.size, true;
    return false;
}

bool mp_get_u64(const msgpack_object *map, const char *key, uint64_t *value) {
    return mp_as_u64(mp_get(map, key), value);
}

bool mp_get_i64(const msgpack_object *map, const char *key, int64_t *value) {
    return mp_as_i64(mp_get(map, key), value);
}

bool mp_get_double(const msgpack_object *map, const char *key, double *value) {
    const msgpack_object *object = mp_get(map, key);
    if (object == NULL)
        return false;
    switch (object->type) {
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return *value = (double)object->via.u64, true;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return *value = (double)object->via.i64, true;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        return *value = object->via.f64, true;
    default:
        return false;
    }
}

bool mp_get_bool(const msgpack_object *map, const char *key, bool *value) {
    const msgpack_object *object = mp_get(map, key);
    if (object == NULL || object->type != MSGPACK_OBJECT_BOOLEAN)
        return false;
    return *value = object->via.boolean, true;
}

bool mp_get_map(const msgpack_object *map, const char *key, const msgpack_object **value) {
    const msgpack_object *object = mp_get(map, key);
    if (object == NULL || object->type != MSGPACK_OBJECT_MAP)
        return false;
    return *value = object, true;
}

bool mp_get_array(const msgpack_object *map, const char *key, const msgpack_object_array **value) {
    const msgpack_object *object = mp_get(map, key);
    if (object == NULL || object->type != MSGPACK_OBJECT_ARRAY)
        return false;
    return *value = &object->via.array, true;
}

bool mp_get_bin(const msgpack_object *map, const char *key, const void **bytes, size_t *length) {
    return mp_as_bin(mp_get(map, key), bytes, length);
}

bool mp_get_str(const msgpack_object *map, const char *key, char *to, size_t room) {
    const void *bytes;
    size_t length;
    if (!mp_get_bin(map, key, &bytes, &length) || length >= room || memchr(bytes, 0, length) != NULL)
        return false;
    memcpy(to, bytes, length);
    to[length] = 0;
    return true;
}

char **mp_as_strings(const msgpack_object_array *array, size_t limit) {
    if (array->size > limit)
        return NULL;
    size_t total = ((size_t)array->size + 1) * sizeof(char *);
    const void *bytes;
    size_t length;
    for (uint32_t i = 0; i < array->size; i++) {
        if (!mp_as_bin(&array->ptr[i], &bytes, &length) || memchr(bytes, 0, length) != NULL)
            return NULL;
        total += length + 1;
    }
    char **strings = malloc(total);
    if (strings == NULL)
        return NULL;
    char *at = (char *)(strings + array->size + 1);
    for (uint32_t i = 0; i < array->size; i++) {
        mp_as_bin(&array->ptr[i], &bytes, &length);
        strings[i] = at;
        memcpy(at, bytes, length);
        at[length] = 0;
        at += length + 1;
    }
    strings[array->size] = NULL;
    return strings;
}
