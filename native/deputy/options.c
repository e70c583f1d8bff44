/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <stdio.h>
#include <string.h>

#define MOST_NAME 64

static const char usage[] = "usage: runon [-d] [--stay] [--name S] NODE [--] command arguments…\n";
static const char help[] =
    "\n"
    "Runs a command on another node, with the files, terminal and identity of this one.\n"
    "\n"
    "  NODE        a number; home: this node; best: the least loaded; 2,3: the best of these, and only these\n"
    "  -d          detach: print the task's id and return (skein logs, skein wait)\n"
    "  --stay      never moved by the balancer, only by hand\n"
    "  --name S    a name for skein ps\n"
    "\n"
    "Exit status: the command's own; 128 + signal when it was killed; 125 when Skein failed, 126 when the command\n"
    "can't be executed, 127 when there is none; 2 for wrong usage.\n";

static int wrong(const char *what, const char *argument) {
    fprintf(stderr, "runon: %s%s%s\n%s", what, argument ? ": " : "", argument ? argument : "", usage);
    return 2;
}

static bool is_list_of_numbers(const char *text) {
    if (strlen(text) > 400)
        return false;
    for (bool digit = false;; text++) {
        if (*text >= '0' && *text <= '9') {
            digit = true;
        } else if ((*text == ',' || *text == 0) && digit) {
            if (*text == 0)
                return true;
            digit = false;
        } else {
            return false;
        }
    }
}

static bool is_node(const char *text) {
    return !strcmp(text, "home") || !strcmp(text, "best") || is_list_of_numbers(text);
}

static bool is_name(const char *text) {
    size_t length = strlen(text);
    if (length == 0 || length > MOST_NAME)
        return false;
    for (; *text; text++)
        if ((unsigned char)*text < 33 || *text == 127)
            return false;
    return true;
}

int options_read(int count, char **arguments, struct options *options) {
    int at = 1;
    memset(options, 0, sizeof *options);
    for (; at < count && arguments[at][0] == '-' && strcmp(arguments[at], "--") != 0; at++) {
        const char *argument = arguments[at];
        if (!strcmp(argument, "-d") || !strcmp(argument, "--detach")) {
            options->detach = true;
        } else if (!strcmp(argument, "--stay")) {
            options->stay = true;
        } else if (!strcmp(argument, "--deputy") && count == 2) {
            options->deputy = true;
            return -1;
        } else if (!strcmp(argument, "--name")) {
            if (++at >= count || !is_name(arguments[at]))
                return wrong("--name wants 1 to 64 printable characters without blanks", NULL);
            options->name = arguments[at];
        } else if (!strncmp(argument, "--every", 7)) {
            fprintf(stderr, "runon: --every is not there yet: Skein can't write checkpoints so far\n");
            return 125;
        } else if (!strcmp(argument, "-h") || !strcmp(argument, "--help")) {
            printf("%s%s", usage, help);
            return 0;
        } else {
            return wrong("unknown option", argument);
        }
    }
    if (at >= count || !strcmp(arguments[at], "--"))
        return wrong("which node?", NULL);
    options->node = arguments[at++];
    if (!is_node(options->node))
        return wrong("not a node (a number, home, best, or numbers like 2,3)", options->node);
    if (at < count && !strcmp(arguments[at], "--"))
        at++;
    if (at >= count)
        return wrong("which command?", NULL);
    options->command = arguments + at;
    return -1;
}
