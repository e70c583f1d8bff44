/* SPDX-License-Identifier: Apache-2.0
 *
 * The first exchange on a FUSE mount: answered on the host, so that home need not be asked.
 */
#ifndef SKEIN_HOMEFS_INIT_H
#define SKEIN_HOMEFS_INIT_H

#include <stddef.h>

/* Largest read or write in bytes. */
#define HOMEFS_MAX_TRANSFER (1u << 20)

/* The raw answer (fuse_out_header and fuse_init_out) to a raw FUSE_INIT request; its length, or 0 when the request is
 * not one, is of a protocol older than 7.31, or does not fit in `capacity`. */
size_t homefs_init_reply(const void *init_request, size_t length, void *out, size_t capacity);

#endif
