/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent is told of the task each second: cheap readings of /proc, over all processes of the capsule.
 */
#include "../common/log.h"
#include "shepherd.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_PROCESSES 512

struct totals {
    uint64_t ticks, resident_pages;
    unsigned runnable;
};

static ssize_t read_text(const char *path, char *to, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, to, room - 1);
    if (fd >= 0)
        close(fd);
    to[length > 0 ? length : 0] = 0;
    return length;
}

static void add_threads(pid_t pid, struct totals *totals) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *dir = opendir(path);
    struct dirent *entry;
    for (int seen = 0; dir && seen < 4096 && (entry = readdir(dir)); seen++) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/stat", pid, entry->d_name);
        if (read_text(path, text, sizeof text) <= 0)
            continue;
        const char *state = strrchr(text, ')');
        totals->runnable += state && state[1] == ' ' && state[2] == 'R';
    }
    if (dir)
        closedir(dir);
}

static void add_process(pid_t pid, struct totals *totals) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (read_text(path, text, sizeof text) <= 0)
        return;
    const char *at = strrchr(text, ')');
    unsigned long user = 0, system = 0;
    long resident = 0;
    if (at && sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld",
                     &user, &system, &resident) == 3) {
        totals->ticks += user + system;
        totals->resident_pages += resident > 0 ? (uint64_t)resident : 0;
    }
    add_threads(pid, totals);
}

/* Everything below init, through the lists of children that the kernel keeps. */
static void add_tree(pid_t root, struct totals *totals) {
    pid_t queue[MOST_PROCESSES];
    size_t first = 0, count = 1;
    queue[0] = root;
    while (first < count) {
        char path[64], text[8192];
        pid_t pid = queue[first++];
        snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
        if (read_text(path, text, sizeof text) <= 0)
            continue;
        char *rest;
        for (char *word = strtok_r(text, " ", &rest); word && count < MOST_PROCESSES;
             word = strtok_r(NULL, " ", &rest)) {
            queue[count] = (pid_t)atoi(word);
            add_process(queue[count++], totals);
        }
    }
}

void shepherd_announce(struct shepherd *shepherd) {
    struct totals totals = {0};
    if (!shepherd->ended)
        add_tree(shepherd->capsule.init_pid, &totals);
    char path[64], command[4096];
    snprintf(path, sizeof path, "/proc/%d/cmdline", shepherd->pid);
    ssize_t length = shepherd->pid > 0 ? read_text(path, command, 256) : 0;
    for (ssize_t i = 0; i + 1 < length; i++)
        if (!command[i] || (unsigned char)command[i] < 32)
            command[i] = ' ';
    struct mp_packer *event = agentlink_begin(shepherd->agent, "announce");
    mp_add_str(event, "task", shepherd->assignment.task);
    mp_add_u64(event, "epoch", shepherd->epoch);
    mp_add_str(event, "state",
               shepherd->ended                          ? "ended"
               : shepherd->stopped_by || shepherd->held ? "stopped"
                                                        : "running");
    mp_add_u64(event, "pid", shepherd->inner > 0 ? (uint64_t)shepherd->inner : 0);
    mp_add_double(event, "cpuSeconds", (double)totals.ticks / (double)sysconf(_SC_CLK_TCK));
    mp_add_u64(event, "residentBytes", totals.resident_pages * 4096);
    mp_add_u64(event, "runnable", totals.runnable);
    mp_add_str(event, "command", length > 0 ? command : "");
    int result = agentlink_event(shepherd->agent);
    if (result && result != -EAGAIN)
        log_line("can't announce: %s", strerror(-result));
}

void shepherd_announce_each_second(struct shepherd *shepherd) {
    uint64_t now = monotonic_ns();
    if (now < shepherd->next_announce_ns)
        return;
    shepherd->next_announce_ns = now + 1000000000ull;
    shepherd_announce(shepherd);
}
