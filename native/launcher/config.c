/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. The agent owns the file and checks it whole; the launcher reads the three keys it acts on and
 * leaves the others alone. Relative paths count from the file's folder, so that a node folder can be moved.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES (PATH_MAX + 64)

static int read_number(const char *text, int least, int most, int *number) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < least || value > most)
        return -EINVAL;
    *number = (int)value;
    return 0;
}

/* A comment begins a line or follows a blank. */
static void drop_comment(char *line) {
    for (char *mark = strchr(line, '#'); mark != NULL; mark = strchr(mark + 1, '#'))
        if (mark == line || strchr(" \t", mark[-1]) != NULL) {
            *mark = 0;
            return;
        }
}

static char *trim(char *text) {
    text += strspn(text, " \t");
    char *end = text + strlen(text);
    while (end > text && strchr(" \t\r\n", end[-1]) != NULL)
        end--;
    *end = 0;
    return text;
}

/* 0, or -EINVAL for a value that does not fit the key. */
static int take(struct config *config, const char *key, const char *value, const char *folder) {
    if (strcmp(key, "node") == 0)
        return read_number(value, 1, CONFIG_MAX_NODES, &config->node);
    if (strcmp(key, "isolate") == 0)
        return read_number(value, 0, CONFIG_MAX_NODES, &config->isolate);
    if (strcmp(key, "state") != 0)
        return 0;
    int length = value[0] == '/' ? snprintf(config->state, sizeof config->state, "%s", value)
                                 : snprintf(config->state, sizeof config->state, "%s/%s", folder, value);
    return value[0] != 0 && length > 0 && (size_t)length < sizeof config->state ? 0 : -EINVAL;
}

static int read_lines(FILE *file, struct config *config, const char *folder, char *problem, size_t room) {
    char line[LINE_BYTES];
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        if (strchr(line, '\n') == NULL && !feof(file)) {
            snprintf(problem, room, "%s:%d: the line is too long", config->path, number);
            return -EINVAL;
        }
        drop_comment(line);
        char *key = trim(line);
        if (*key == 0)
            continue;
        char *value = key + strcspn(key, " \t");
        if (*value != 0)
            *value++ = 0;
        if (take(config, key, trim(value), folder) != 0) {
            snprintf(problem, room, "%s:%d: bad value for `%s`", config->path, number, key);
            return -EINVAL;
        }
    }
    if (!ferror(file))
        return 0;
    snprintf(problem, room, "can't read %s: %s", config->path, strerror(errno));
    return -EIO;
}

int config_read(const char *path, struct config *config, char *problem, size_t room) {
    *config = (struct config){0};
    char folder[PATH_MAX];
    if (realpath(path, config->path) == NULL) {
        int error = errno;
        snprintf(problem, room, "can't read the configuration file %s: %s", path, strerror(error));
        return -error;
    }
    snprintf(folder, sizeof folder, "%s", config->path);
    char *slash = strrchr(folder, '/');
    slash[slash == folder ? 1 : 0] = 0;
    snprintf(config->state, sizeof config->state, "%s", folder);

    FILE *file = fopen(config->path, "re");
    if (file == NULL) {
        int error = errno;
        snprintf(problem, room, "can't read the configuration file %s: %s", config->path, strerror(error));
        return -error;
    }
    int result = read_lines(file, config, folder, problem, room);
    fclose(file);
    if (result == 0 && config->node == 0) {
        snprintf(problem, room, "%s does not say which node this is: it needs a line `node N`", config->path);
        result = -EINVAL;
    }
    return result;
}
