/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent may ask of the launcher: one line each (docs/protocol.md, section 2).
 */
#ifndef SKEIND_REQUEST_H
#define SKEIND_REQUEST_H

#include <stdint.h>
#include <sys/types.h>

#define REQUEST_LINE_BYTES 256
#define TASK_BYTES 32
#define TOKEN_BYTES 33
/* Numbers that the agent's language can hold. */
#define REQUEST_MAX_NUMBER ((1ull << 53) - 1)

enum role { ROLE_DEPUTY, ROLE_SHEPHERD };
enum request_kind { REQUEST_START, REQUEST_SIGNAL, REQUEST_READY };

struct request {
    enum request_kind kind;
    uint64_t number;
    /* start */
    enum role role;
    uid_t uid;
    gid_t gid;
    char task[TASK_BYTES], token[TOKEN_BYTES];
    /* signal */
    int signal;
};

const char *role_name(enum role role);
/* Parse a line without its newline. NULL when it fits, else what is wrong with it. */
const char *request_parse(const char *line, struct request *request);

#endif
