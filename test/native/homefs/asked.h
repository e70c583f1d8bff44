/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw FUSE requests, as a kernel would make them, for tests that speak to homefs directly.
 */
#ifndef SKEIN_TEST_ASKED_H
#define SKEIN_TEST_ASKED_H

#include "../../../native/homefs/homefs.h"
#include <linux/fuse.h>

struct asked {
    struct homefs *homefs;
    uint8_t *request, *reply; /* of HOMEFS_REPLY_MAX bytes */
    size_t length;            /* of the request so far */
    size_t reply_length;      /* what follows the reply's header */
    uint64_t unique;
    unsigned notices;
};

/* homefs on this folder, with both sessions begun, the first one writable. Ends the program when it can't. */
void asked_begin(struct asked *asked, const char *folder);
void asked_end(struct asked *asked);

/* Begin a request, add to it, ask. ask() returns what the reply's header says: 0 or -errno; 1 when there is no reply.
 */
void ask_begin(struct asked *asked, uint32_t opcode, uint64_t nodeid);
void ask_add(struct asked *asked, const void *bytes, size_t length);
void ask_text(struct asked *asked, const char *text);
int ask(struct asked *asked, int slot);
/* What follows the reply's header. */
const void *asked_body(const struct asked *asked);

#endif
