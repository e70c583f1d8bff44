/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers that may be asked for again.
 */
#ifndef SKEIN_REPLIES_H
#define SKEIN_REPLIES_H

#include "../common/keys.h"
#include <stddef.h>
#include <stdint.h>

#define REPLIES_KEPT 1024 /* more than a shepherd has under way */
#define REPLIES_BYTES 256

/* Theory of operation. A shepherd whose connection broke sends again what was not answered. A request that has been
 * done must not be done twice (mkdir would fail, rename would too, an open would leak), so the answers of the last
 * requests are kept by their number, which a kernel uses once. Longer answers are those of reads, which may be done
 * again.
 *
 * A deputy that may be started again keeps them in a file that is mapped: what was done before it died is not done once
 * more by the next (a line would be appended twice). The file is of one session, known by its key. */
struct replies {
    char key[KEY_TEXT];
    struct {
        uint64_t unique;
        uint32_t length;
        uint8_t bytes[REPLIES_BYTES];
    } kept[REPLIES_KEPT];
};

/* With `path`, what is kept there for this key is taken up; NULL: nothing of it outlives this process. NULL on failure.
 */
struct replies *replies_open(const char *path, const char *key);
void replies_close(struct replies *replies);
/* NULL when it was not answered, or too long ago. */
const void *replies_find(const struct replies *replies, uint64_t unique, size_t *length);
void replies_keep(struct replies *replies, uint64_t unique, const void *bytes, size_t length);

#endif
