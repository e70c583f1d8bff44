/* SPDX-License-Identifier: Apache-2.0 */
#include "image.h"
#include <stdlib.h>
#include <string.h>

void image_put(struct image_writer *writer, const void *bytes, size_t length) {
    if (writer->failed)
        return;
    if (length > IMAGE_MAX_BYTES || writer->length + length > IMAGE_MAX_BYTES) {
        writer->failed = true;
        return;
    }
    if (writer->length + length > writer->room) {
        size_t room = writer->room ? writer->room : 4096;
        while (room < writer->length + length)
            room *= 2;
        uint8_t *grown = realloc(writer->bytes, room);
        if (!grown) {
            writer->failed = true;
            return;
        }
        writer->bytes = grown;
        writer->room = room;
    }
    if (length)
        memcpy(writer->bytes + writer->length, bytes, length);
    writer->length += length;
}

void image_put_u32(struct image_writer *writer, uint32_t value) {
    image_put(writer, &value, sizeof value);
}

void image_put_u64(struct image_writer *writer, uint64_t value) {
    image_put(writer, &value, sizeof value);
}

void image_put_bytes(struct image_writer *writer, const void *bytes, size_t length) {
    image_put_u32(writer, (uint32_t)length);
    image_put(writer, bytes, length);
}

void image_put_text(struct image_writer *writer, const char *text) {
    image_put_bytes(writer, text, strlen(text));
}

void image_writer_free(struct image_writer *writer) {
    free(writer->bytes);
    *writer = (struct image_writer){0};
}

struct image_reader image_reader_of(const void *bytes, size_t length) {
    return (struct image_reader){bytes, (const uint8_t *)bytes + length, false};
}

void image_fail(struct image_reader *reader) {
    reader->failed = true;
    reader->at = reader->end;
}

void image_get(struct image_reader *reader, void *to, size_t length) {
    if (reader->failed || (size_t)(reader->end - reader->at) < length) {
        memset(to, 0, length);
        image_fail(reader);
        return;
    }
    if (length)
        memcpy(to, reader->at, length);
    reader->at += length;
}

uint32_t image_get_u32(struct image_reader *reader) {
    uint32_t value;
    image_get(reader, &value, sizeof value);
    return value;
}

uint64_t image_get_u64(struct image_reader *reader) {
    uint64_t value;
    image_get(reader, &value, sizeof value);
    return value;
}

const uint8_t *image_get_bytes(struct image_reader *reader, size_t limit, size_t *length) {
    size_t size = image_get_u32(reader);
    *length = 0;
    if (reader->failed || size > limit || (size_t)(reader->end - reader->at) < size) {
        image_fail(reader);
        return NULL;
    }
    const uint8_t *bytes = reader->at;
    reader->at += size;
    *length = size;
    return bytes;
}

char *image_get_text(struct image_reader *reader, size_t limit) {
    size_t length;
    const uint8_t *bytes = image_get_bytes(reader, limit, &length);
    if (!bytes || memchr(bytes, 0, length)) {
        image_fail(reader);
        return NULL;
    }
    char *text = malloc(length + 1);
    if (!text) {
        image_fail(reader);
        return NULL;
    }
    memcpy(text, bytes, length);
    text[length] = 0;
    return text;
}

size_t image_get_count(struct image_reader *reader, size_t limit, size_t least) {
    size_t count = image_get_u32(reader);
    if (reader->failed || count > limit || count * least > (size_t)(reader->end - reader->at)) {
        image_fail(reader);
        return 0;
    }
    return count;
}
