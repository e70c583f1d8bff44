/* SPDX-License-Identifier: Apache-2.0 */
#include "homefs_private.h"
#include <string.h>

void own_change(struct request *request, const struct node *directory, const char *name, uint32_t event) {
    struct own_changes *own = &request->own;
    if (own->count < (int)(sizeof own->all / sizeof *own->all))
        own->all[own->count++] = (struct own_change){directory, name, event};
}

bool take(struct request *request, void *to, size_t length) {
    if (request->length < length)
        return false;
    memcpy(to, request->body, length);
    request->body += length;
    request->length -= length;
    return true;
}

bool take_text(struct request *request, const char **text) {
    const uint8_t *end = request->length ? memchr(request->body, 0, request->length) : NULL;
    if (!end)
        return false;
    *text = (const char *)request->body;
    request->length -= (size_t)(end + 1 - request->body);
    request->body = end + 1;
    return true;
}

bool take_name(struct request *request, const char **name) {
    return take_text(request, name) && **name && !strchr(*name, '/') && strcmp(*name, ".") && strcmp(*name, "..");
}

void put(struct request *request, const void *bytes, size_t length) {
    memcpy(request->out + request->out_length, bytes, length);
    request->out_length += length;
}
