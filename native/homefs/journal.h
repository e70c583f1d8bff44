/* SPDX-License-Identifier: Apache-2.0
 *
 * What a deputy that is started again must know of the files its task has open.
 */
#ifndef SKEIN_HOMEFS_JOURNAL_H
#define SKEIN_HOMEFS_JOURNAL_H

#include <stdint.h>

struct homefs;
struct node;

struct journal {
    int fd;               /* -1: nothing is kept */
    uint32_t incarnation; /* how many deputies have served this task before */
    uint64_t bytes;
};

/* A directory became known or is at another place by now; so did a file with an open handle. */
void journal_node(struct journal *journal, const struct node *node);
void journal_forget(struct journal *journal, const struct node *node);
void journal_open(struct journal *journal, uint64_t fh, const struct node *node, int flags, int directory);
/* How many opens it answers for, both sessions together; 0: it is closed. */
void journal_holds(struct journal *journal, uint64_t fh, uint32_t holds);

#endif
