/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a command finds its node.
 *
 * Theory of operation. A few fixed places are looked at in order; the first that is a node folder, or a cluster folder
 * that has the wanted node, wins. Nothing is read but names: what is in the folder is the agent's business.
 */
#include "find.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool has(const char *folder, const char *name) {
    char path[PATH_MAX];
    struct stat status;
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof path && stat(path, &status) == 0;
}

static bool is_number(const char *text) {
    return *text != 0 && strspn(text, "0123456789") == strlen(text);
}

static bool look(const char *folder, char *state, size_t room) {
    if (has(folder, "agent.sock") || has(folder, "skein.conf"))
        return (size_t)snprintf(state, room, "%s", folder) < room;
    if (!has(folder, "cluster.json"))
        return false;
    const char *node = getenv("SKEIN_NODE");
    if (node == NULL || !is_number(node))
        node = "1";
    return (size_t)snprintf(state, room, "%s/%s", folder, node) < room && has(state, ".");
}

int find_node(char *state, size_t room) {
    const char *chosen = getenv("SKEIN_DIR"), *home = getenv("HOME");
    if (chosen != NULL && *chosen != 0)
        return look(chosen, state, room) ? 0 : -ENOENT;
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "/tmp/skein-%u", (unsigned)getuid());
    if (look(folder, state, room))
        return 0;
    if (home != NULL && *home != 0 && (size_t)snprintf(folder, sizeof folder, "%s/.skein", home) < sizeof folder &&
        look(folder, state, room))
        return 0;
    if (look("/run/skein", state, room) || look("/tmp/skein-0", state, room))
        return 0;
    return -ENOENT;
}

int find_agent(const char *state) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s/agent.sock", state) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return -errno;
    int result = connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : -errno;
    close(descriptor);
    return result;
}
