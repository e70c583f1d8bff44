/* SPDX-License-Identifier: Apache-2.0
 *
 * The launcher's parser: what must be taken, what must be refused, and 300,000 damaged lines, of which none may be
 * taken with a value out of bounds. A failure prints the line.
 */
#include "../../../native/launcher/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN "0123456789abcdefABCDEF0123456789"

static int passed, failed;

static void check(int good, const char *what) {
    if (good) {
        passed++;
    } else {
        failed++;
        printf("FAILED: %s\n", what);
    }
}

static const char *const taken[] = {
    "ready",
    "start 1 shepherd 0 0 1.17 " TOKEN,
    "start 9007199254740991 deputy 4294967294 4294967294 1.j17[3] " TOKEN,
    "signal 1 9",
    "signal 0 64",
};
static const char *const refused[] = {
    "",
    " ",
    "ready ",
    "start",
    "start 1",
    "start 1 shepherd 0 0 1.17",
    "start 1 shepherd 0 0 1.17 " TOKEN " ",
    "start 1 shepherd 0 0 1.17 " TOKEN " more",
    "start  1 shepherd 0 0 1.17 " TOKEN,
    "start 1 root 0 0 1.17 " TOKEN,
    "start -1 shepherd 0 0 1.17 " TOKEN,
    "start 9007199254740992 shepherd 0 0 1.17 " TOKEN,
    "start 1 shepherd 4294967295 0 1.17 " TOKEN,
    "start 1 shepherd 0 4294967295 1.17 " TOKEN,
    "start 1 shepherd 18446744073709551616 0 1.17 " TOKEN,
    "start 1 shepherd 0x0 0 1.17 " TOKEN,
    "start 1 shepherd 0 0 ../1 " TOKEN,
    "start 1 shepherd 0 0 1.17=x " TOKEN,
    "start 1 shepherd 0 0 11111111111111111111111111111111 " TOKEN,
    "start 1 shepherd 0 0 1.17 0123",
    "start 1 shepherd 0 0 1.17 g123456789abcdefABCDEF0123456789",
    "signal 1",
    "signal 1 0",
    "signal 1 65",
    "signal 1 -9",
    "signal 1 9 9",
    "signal 1 nine",
    "stop 1",
};

static int within_bounds(const struct request *request) {
    if (request->number > REQUEST_MAX_NUMBER)
        return 0;
    if (request->kind == REQUEST_SIGNAL)
        return request->signal >= 1 && request->signal <= 64;
    if (request->kind == REQUEST_START)
        return request->uid != (uid_t)-1 && request->gid != (gid_t)-1 && strlen(request->token) == 32 &&
               strlen(request->task) < TASK_BYTES && strpbrk(request->task, "/= \n") == NULL;
    return request->kind == REQUEST_READY;
}

static void damage(char *line, size_t room) {
    size_t length = strlen(line);
    switch (random() % 4) {
    case 0:
        line[(size_t)random() % (length + 1)] = (char)(random() % 256);
        break;
    case 1:
        line[(size_t)random() % (length + 1)] = 0;
        break;
    case 2: {
        size_t at = (size_t)random() % (length + 1);
        if (length + 1 < room)
            memmove(line + at + 1, line + at, length - at + 1);
        break;
    }
    default:
        line[(size_t)random() % (length + 1)] = " 0123456789.j[]"[random() % 15];
    }
    line[room - 1] = 0;
}

int main(int count, char **arguments) {
    struct request request;
    unsigned seed = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 4711;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        check(request_parse(taken[i], &request) == NULL && within_bounds(&request), taken[i]);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        check(request_parse(refused[i], &request) != NULL, refused[i]);
    char line[512];
    memset(line, '1', sizeof line - 1);
    line[sizeof line - 1] = 0;
    check(request_parse(line, &request) != NULL, "a line that is too long");

    srandom(seed);
    int bad = 0;
    for (int round = 0; round < 300000; round++) {
        strcpy(line, taken[(size_t)random() % (sizeof taken / sizeof *taken)]);
        for (long times = 1 + random() % 4; times > 0; times--)
            damage(line, sizeof line);
        if (request_parse(line, &request) == NULL && !within_bounds(&request)) {
            printf("seed %u, round %d: taken: %s\n", seed, round, line);
            bad++;
        }
    }
    check(bad == 0, "damaged lines");
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
