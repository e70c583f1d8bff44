/* SPDX-License-Identifier: Apache-2.0
 *
 * Serialised state: a growing buffer to write, a checked cursor to read. Little-endian fixed-size integers and
 * length-prefixed bytes. A reader never reads past its end, never allocates more than its input's size plus a constant,
 * and once something is wrong stays wrong: callers look at image_reader_ok() at the end of each object.
 */
#ifndef SKEIN_IMAGE_H
#define SKEIN_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAX_BYTES (64u << 20)

struct image_writer {
    uint8_t *bytes;
    size_t length, room;
    bool failed; /* out of memory or over IMAGE_MAX_BYTES */
};
void image_put(struct image_writer *writer, const void *bytes, size_t length);
void image_put_u32(struct image_writer *writer, uint32_t value);
void image_put_u64(struct image_writer *writer, uint64_t value);
/* u32 length, then the bytes. */
void image_put_bytes(struct image_writer *writer, const void *bytes, size_t length);
void image_put_text(struct image_writer *writer, const char *text);
void image_writer_free(struct image_writer *writer);

struct image_reader {
    const uint8_t *at, *end;
    bool failed;
};
struct image_reader image_reader_of(const void *bytes, size_t length);
void image_get(struct image_reader *reader, void *to, size_t length);
uint32_t image_get_u32(struct image_reader *reader);
uint64_t image_get_u64(struct image_reader *reader);
/* A pointer into the input and its length; NULL when wrong. */
const uint8_t *image_get_bytes(struct image_reader *reader, size_t limit, size_t *length);
/* A fresh zero-terminated copy without inner zeros, at most `limit` long; NULL when wrong. */
char *image_get_text(struct image_reader *reader, size_t limit);
/* A count of objects of at least `least` bytes each, so that it can't be larger than the input. */
size_t image_get_count(struct image_reader *reader, size_t limit, size_t least);
void image_fail(struct image_reader *reader);
static inline bool image_reader_ok(const struct image_reader *reader) {
    return !reader->failed;
}

#endif
