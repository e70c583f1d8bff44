/* SPDX-License-Identifier: Apache-2.0
 *
 * The deputy of a detached task: started by skeind, in <state>/tasks/<task>/.
 *
 * Theory of operation. What was asked for is in the file `spec`, written by the agent; what the task writes goes to
 * `out` and `err`. Such a deputy may be started again when it died: `deputy` holds its address and keys, `epoch` who
 * may run the task, `files` what it has open, and the sizes of the output files say what has been written, since
 * nothing else writes there.
 */
#include "../common/log.h"
#include "deputy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int path_of(const struct deputy *deputy, const char *name, char *path) {
    return (size_t)snprintf(path, PATH_MAX, "%s/%s", deputy->folder, name) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int read_spec(struct deputy *deputy) {
    char path[PATH_MAX];
    struct stat status;
    int result = path_of(deputy, "spec", path);
    int fd = result ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return result ? result : -errno;
    uint8_t *bytes = NULL;
    if (fstat(fd, &status))
        result = -errno;
    else if (!S_ISREG(status.st_mode) || status.st_size > AGENTLINK_MAX_BYTES || status.st_uid != getuid())
        result = -EBADMSG;
    else if (!(bytes = malloc((size_t)status.st_size + 1)))
        result = -ENOMEM;
    else if (read(fd, bytes, (size_t)status.st_size) != status.st_size)
        result = -EIO;
    if (!result)
        result = mp_read(&deputy->detached, bytes, (size_t)status.st_size, AGENTLINK_MAX_BYTES);
    free(bytes);
    close(fd);
    return result;
}

static int open_output(struct deputy *deputy, int stream, const char *name) {
    char path[PATH_MAX];
    struct stat status;
    struct output *output = &deputy->output[stream - 1];
    int result = path_of(deputy, name, path);
    if (result)
        return result;
    output->descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (output->descriptor < 0 || fstat(output->descriptor, &status))
        return -errno;
    output->plain = true;
    output->received = output->written = (uint64_t)status.st_size;
    return 0;
}

int detached_save(const struct deputy *deputy) {
    char path[PATH_MAX], fresh[PATH_MAX];
    int result = path_of(deputy, "deputy", path);
    if (!result)
        result = path_of(deputy, "deputy.new", fresh);
    int fd = result ? -1 : open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        return result ? result : -errno;
    int written = fprintf(file, "%s %s %s %llu %u %u %d\n", deputy->endpoint, deputy->server.public_key,
                          deputy->server.secret_key, (unsigned long long)deputy->started_ms, deputy->moves,
                          deputy->host, deputy->started);
    if (fclose(file) || written < 0)
        return -errno;
    return rename(fresh, path) ? -errno : 0;
}

static int load(struct deputy *deputy) {
    char path[PATH_MAX];
    unsigned long long started_ms;
    int started;
    int result = path_of(deputy, "deputy", path);
    FILE *file = result ? NULL : fopen(path, "re");
    if (!file)
        return result ? result : -errno;
    int fields = fscanf(file, "%255s %40s %40s %llu %u %u %d", deputy->endpoint, deputy->server.public_key,
                        deputy->server.secret_key, &started_ms, &deputy->moves, &deputy->host, &started);
    fclose(file);
    if (fields != 7 || !keys_decode(deputy->server.public_key, NULL) || !keys_decode(deputy->server.secret_key, NULL))
        return -EBADMSG;
    deputy->started_ms = started_ms;
    deputy->started = started;
    return 0;
}

bool detached_resumes(const struct deputy *deputy) {
    return deputy->epoch.current > 0;
}

int detached_load(struct deputy *deputy) {
    if (snprintf(deputy->folder, sizeof deputy->folder, "%s/tasks/%s", deputy->state_folder, deputy->task) >= PATH_MAX)
        return -ENAMETOOLONG;
    int result = path_of(deputy, "epoch", deputy->epoch_path);
    if (!result)
        result = read_spec(deputy);
    if (!result)
        result = open_output(deputy, 1, "out");
    if (!result)
        result = open_output(deputy, 2, "err");
    if (result)
        return result;
    deputy->input.eof = true;
    deputy->epoch.path = deputy->epoch_path;
    result = epoch_load(&deputy->epoch);
    if (result == -ENOENT)
        return 0; /* nobody has run it yet: a first start */
    return result ? result : load(deputy);
}

int detached_journal(const struct deputy *deputy) {
    char path[PATH_MAX];
    int result = path_of(deputy, "files", path);
    return result ? result : homefs_journal(deputy->homefs, path, 0);
}

void detached_forget(const struct deputy *deputy) {
    char path[PATH_MAX];
    static const char *const names[] = {"deputy", "epoch", "spec", "files", "answers.0", "answers.1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!path_of(deputy, names[i], path) && unlink(path) && errno != ENOENT)
            log_line("can't remove %s: %s", path, strerror(errno));
}
