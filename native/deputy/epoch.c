/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. One number that only goes up, by one, and the random id of who put it there. A claim that is
 * repeated by who holds it is granted again, since the first answer may have been lost. The deputy of a detached task
 * may be started anew: it writes the claim to a file (renamed into place, not synced) before it answers.
 */
#include "epoch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int store(const struct epoch *epoch) {
    char fresh[PATH_MAX], text[256], hex[2 * DP_CLAIMANT + 1];
    if ((size_t)snprintf(fresh, sizeof fresh, "%s.new", epoch->path) >= sizeof fresh)
        return -ENAMETOOLONG;
    for (int i = 0; i < DP_CLAIMANT; i++)
        snprintf(hex + 2 * i, 3, "%02x", epoch->claimant[i]);
    int length = snprintf(text, sizeof text, "%u %s %s\n", epoch->current, hex, epoch->client_public);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, text, (size_t)length);
    int result = written == length ? 0 : written < 0 ? -errno : -ENOSPC;
    if (close(fd) && !result)
        result = -errno;
    if (!result && rename(fresh, epoch->path))
        result = -errno;
    return result;
}

int epoch_claim(struct epoch *epoch, uint32_t wanted, const uint8_t claimant[DP_CLAIMANT], const char *client_public,
                bool *changed) {
    *changed = false;
    if (wanted == epoch->current && !memcmp(claimant, epoch->claimant, DP_CLAIMANT))
        return 0;
    if (wanted != epoch->current + 1 || wanted == 0)
        return -ESTALE;
    struct epoch next = *epoch;
    next.current = wanted;
    memcpy(next.claimant, claimant, DP_CLAIMANT);
    snprintf(next.client_public, sizeof next.client_public, "%s", client_public);
    int result = epoch->path ? store(&next) : 0;
    if (result)
        return result;
    *epoch = next;
    *changed = true;
    return 0;
}

int epoch_load(struct epoch *epoch) {
    char hex[2 * DP_CLAIMANT + 1], key[KEY_TEXT];
    unsigned current;
    FILE *file = fopen(epoch->path, "re");
    if (!file)
        return -errno;
    int fields = fscanf(file, "%u %32s %40s", &current, hex, key);
    fclose(file);
    if (fields != 3 || current == 0 || strlen(hex) != 2 * DP_CLAIMANT || !keys_decode(key, NULL))
        return -EBADMSG;
    for (int i = 0; i < DP_CLAIMANT; i++) {
        unsigned byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return -EBADMSG;
        epoch->claimant[i] = (uint8_t)byte;
    }
    epoch->current = current;
    memcpy(epoch->client_public, key, sizeof key);
    return 0;
}
