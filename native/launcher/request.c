/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. The launcher may be root, so the lines it obeys are parsed by hand and narrowly: words parted by
 * single blanks, numbers of decimal digits within bounds, a task id of digits, points and the `j[]` of jobs, a token of
 * 32 hexadecimal digits. Nothing here allocates or has state.
 */
#include "request.h"

#include <stdbool.h>
#include <string.h>

#define MAX_WORDS 7
#define DIGITS "0123456789"
#define MAX_SIGNAL 64
/* (uid_t)-1 means "leave it" to the kernel. */
#define MAX_ID (UINT32_MAX - 1u)

const char *role_name(enum role role) {
    return role == ROLE_DEPUTY ? "deputy" : "shepherd";
}

static bool parse_number(const char *text, uint64_t most, uint64_t *number) {
    *number = 0;
    if (*text == 0 || strspn(text, DIGITS) != strlen(text) || strlen(text) > 16)
        return false;
    for (; *text != 0; text++)
        *number = *number * 10 + (uint64_t)(*text - '0');
    return *number <= most;
}

static bool copy_checked(char *target, size_t room, const char *text, const char *alphabet) {
    size_t length = strlen(text);
    if (length == 0 || length >= room || strspn(text, alphabet) != length)
        return false;
    memcpy(target, text, length + 1);
    return true;
}

static const char *parse_start(char **words, int count, struct request *request) {
    uint64_t uid, gid;
    if (count != 7)
        return "`start` takes a number, role, uid, gid, task and token";
    request->kind = REQUEST_START;
    if (strcmp(words[2], "deputy") == 0)
        request->role = ROLE_DEPUTY;
    else if (strcmp(words[2], "shepherd") == 0)
        request->role = ROLE_SHEPHERD;
    else
        return "unknown role";
    if (!parse_number(words[3], MAX_ID, &uid) || !parse_number(words[4], MAX_ID, &gid))
        return "bad user or group id";
    request->uid = (uid_t)uid;
    request->gid = (gid_t)gid;
    if (!copy_checked(request->task, sizeof request->task, words[5], DIGITS ".j[]"))
        return "bad task id";
    if (!copy_checked(request->token, sizeof request->token, words[6], DIGITS "abcdefABCDEF") ||
        strlen(request->token) != TOKEN_BYTES - 1)
        return "bad token";
    return NULL;
}

static const char *parse_signal(char **words, int count, struct request *request) {
    uint64_t signal;
    if (count != 3)
        return "`signal` takes a number and a signal number";
    request->kind = REQUEST_SIGNAL;
    if (!parse_number(words[2], MAX_SIGNAL, &signal) || signal == 0)
        return "bad signal number";
    request->signal = (int)signal;
    return NULL;
}

const char *request_parse(const char *line, struct request *request) {
    char text[REQUEST_LINE_BYTES], *words[MAX_WORDS];
    int count = 0;
    *request = (struct request){0};
    if (strlen(line) >= sizeof text)
        return "too long";
    if (strcmp(line, "ready") == 0) {
        request->kind = REQUEST_READY;
        return NULL;
    }
    strcpy(text, line);
    for (char *rest = text, *word; (word = strsep(&rest, " ")) != NULL;) {
        if (count == MAX_WORDS || *word == 0)
            return "too many words or blanks";
        words[count++] = word;
    }
    if (count < 2 || !parse_number(words[1], REQUEST_MAX_NUMBER, &request->number))
        return "no request, or one without a number";
    if (strcmp(words[0], "start") == 0)
        return parse_start(words, count, request);
    if (strcmp(words[0], "signal") == 0)
        return parse_signal(words, count, request);
    return "unknown request";
}
