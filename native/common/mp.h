/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKEIN_MP_H
#define SKEIN_MP_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_MAX_DEPTH 8

/* --- writing: mp_begin, values, mp_done, mp_free. Containers are counted here, not by the caller. ------------------
 */
struct mp_packer {
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    struct {
        size_t at; /* where the container's count is written when it ends */
        uint32_t items;
        bool map;
    } open[MP_MAX_DEPTH];
    int depth;
    bool failed; /* out of memory, or containers do not match */
};
void mp_begin(struct mp_packer *p);
void mp_free(struct mp_packer *p);
/* The bytes, or NULL when something failed. Valid until the packer is changed or freed. */
const void *mp_done(struct mp_packer *p, size_t *length);

/* A value (or a key): the next item of the innermost container. */
void mp_put_map(struct mp_packer *p);
void mp_put_array(struct mp_packer *p);
void mp_end(struct mp_packer *p); /* of the innermost container */
void mp_put_str(struct mp_packer *p, const char *text);
void mp_put_bin(struct mp_packer *p, const void *bytes, size_t length);
void mp_put_u64(struct mp_packer *p, uint64_t value);
void mp_put_i64(struct mp_packer *p, int64_t value);
void mp_put_double(struct mp_packer *p, double value);
void mp_put_bool(struct mp_packer *p, bool value);

/* A key and its value. */
void mp_add_map(struct mp_packer *p, const char *key);
void mp_add_array(struct mp_packer *p, const char *key);
void mp_add_str(struct mp_packer *p, const char *key, const char *text);
void mp_add_bin(struct mp_packer *p, const char *key, const void *bytes, size_t length);
void mp_add_u64(struct mp_packer *p, const char *key, uint64_t value);
void mp_add_i64(struct mp_packer *p, const char *key, int64_t value);
void mp_add_double(struct mp_packer *p, const char *key, double value);
void mp_add_bool(struct mp_packer *p, const char *key, bool value);

/* --- reading -------------------------------------------------------------------------------------------------------
 */
/* Whether the bytes are exactly one msgpack value, at most MP_MAX_DEPTH deep, whose counts and lengths fit the input.
 */
bool mp_check(const void *bytes, size_t length);

struct mp_reader {
    msgpack_zone zone;
    msgpack_object root; /* a map */
    void *copy;          /* the input, which the root points into */
    bool open;
};
/* Reads one map out of at most `limit` bytes. 0, -EMSGSIZE, -EBADMSG or -ENOMEM. What it yields lives until
 * mp_reader_free, which may be called on a zeroed reader and after a failure. The input may go at once. */
int mp_read(struct mp_reader *reader, const void *bytes, size_t length, size_t limit);
void mp_reader_free(struct mp_reader *reader);

/* Each: false when the key is missing or of another kind, and then the output is untouched. `map` may be any object. */
const msgpack_object *mp_get(const msgpack_object *map, const char *key);
bool mp_get_u64(const msgpack_object *map, const char *key, uint64_t *value); /* whole doubles too: JavaScript's */
bool mp_get_i64(const msgpack_object *map, const char *key, int64_t *value);
bool mp_get_double(const msgpack_object *map, const char *key, double *value); /* any number */
bool mp_get_bool(const msgpack_object *map, const char *key, bool *value);
bool mp_get_map(const msgpack_object *map, const char *key, const msgpack_object **value);
bool mp_get_array(const msgpack_object *map, const char *key, const msgpack_object_array **value);
/* Text or binary, where it lies in the input; not terminated. */
bool mp_get_bin(const msgpack_object *map, const char *key, const void **bytes, size_t *length);
/* Text or binary without zero bytes, copied with an end byte; false when it does not fit. */
bool mp_get_str(const msgpack_object *map, const char *key, char *to, size_t room);
/* The same for an object in hand, as of an array. */
bool mp_as_bin(const msgpack_object *object, const void **bytes, size_t *length);
bool mp_as_u64(const msgpack_object *object, uint64_t *value);
bool mp_as_i64(const msgpack_object *object, int64_t *value);
/* An array of strings as a NULL-terminated vector in one allocation (free it whole); NULL when one holds a zero byte,
 * when there are more than `limit`, or without memory. */
char **mp_as_strings(const msgpack_object_array *array, size_t limit);

#endif
