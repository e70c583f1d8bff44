/* SPDX-License-Identifier: Apache-2.0
 *
 * Moves a program between capsules on this machine, without network and home: the engine alone.
 *
 *   move_local MOVES PROGRAM ARGUMENT…
 *
 * The program writes "ready" on its standard output when it is set up; then it is moved MOVES times, each time with the
 * pages sent in two rounds (the program runs in between), gets a line "go" on its standard input, and ends. Its further
 * output is copied, its exit status is ours. Prints the frozen times to standard error.
 */
#include "../../../native/engine/pages.h"
#include "../../../native/engine/process.h"
#include "../../../native/shepherd/capsule.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "move_local: %s: %s\n", what, strerror(-result));
    exit(99);
}

/* A /proc of its own for the capsule, as home's mount would bring. */
static void mount_proc(const struct capsule *capsule) {
    pid_t outer = fork();
    if (outer == 0) {
        int pidfd = (int)syscall(SYS_pidfd_open, capsule->init_pid, 0);
        if (pidfd < 0 || setns(pidfd, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS))
            _exit(1);
        pid_t inner = fork();
        if (inner == 0)
            _exit(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("proc", "/proc", "proc", 0, NULL));
        int status;
        _exit(inner < 0 || waitpid(inner, &status, 0) != inner || status != 0);
    }
    int status;
    check(outer < 0 || waitpid(outer, &status, 0) != outer || status != 0 ? -EIO : 0, "mount /proc");
}

static int no_probe(void *files, bool on) {
    (void)files, (void)on;
    return 0;
}
static int no_take(void *files, uint64_t *nodeid, uint64_t *handle) {
    (void)files, (void)nodeid, (void)handle;
    return -ENODATA;
}
static int no_adopt(void *files, uint64_t nodeid, uint64_t handle) {
    (void)files, (void)nodeid, (void)handle;
    return -ENOENT;
}

struct place {
    struct capsule capsule;
    struct engine_capsule facts;
    int ends[3];
    pid_t pid; /* the task, as seen here */
};

static void make_place(struct place *place) {
    check(capsule_fork(&place->capsule), "capsule");
    check(capsule_map_ids(&place->capsule, getuid(), getgid()), "map ids");
    mount_proc(&place->capsule);
    int master;
    const bool pipes[3] = {true, true, true};
    check(capsule_stdio(&place->capsule, false, pipes, &master, place->ends), "stdio");
    struct stat status;
    check(stat("/", &status) ? -errno : 0, "stat /");
    place->facts =
        (struct engine_capsule){.init_pid = place->capsule.init_pid,
                                .file_device = ((uint64_t)(status.st_dev >> 8) << 32) | (status.st_dev & 255),
                                .root_mount = -1,
                                .probe = no_probe,
                                .probe_take = no_take,
                                .adopt = no_adopt};
    for (int i = 0; i < 3; i++) {
        check(fstat(place->ends[i], &status) ? -errno : 0, "fstat");
        place->facts.stdio_inode[i] = status.st_ino;
    }
}

static void start(struct place *place, char **arguments) {
    char buffer[65536];
    struct capsule_program program = {.umask = 022};
    for (int i = 0; i < 16; i++) {
        program.limits[i][0] = ~0ull;
        program.limits[i][1] = ~0ull;
    }
    size_t at = sizeof program;
    char directory[4096];
    check(getcwd(directory, sizeof directory) ? 0 : -errno, "getcwd");
    program.directory_length = (uint32_t)strlen(directory);
    at += (size_t)sprintf(buffer + at, "%s", directory) + 1;
    for (int i = 0; arguments[i]; i++, program.argument_count++)
        at += (size_t)sprintf(buffer + at, "%s", arguments[i]) + 1;
    at += (size_t)sprintf(buffer + at, "PATH=/usr/bin:/bin") + 1;
    program.environment_count = 1;
    memcpy(buffer, &program, sizeof program);
    int inner = capsule_spawn(&place->capsule, buffer, at);
    check(inner, place->capsule.step[0] ? place->capsule.step : "spawn");
    place->pid = capsule_find(&place->capsule, inner);
    check(place->pid, "find the task");
}

static void send_pages(pid_t from, struct restore *restore, const struct page_runs *dirty) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/mem", from);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    static uint8_t buffer[1 << 20];
    size_t index = 0;
    uint64_t offset = 0;
    struct page_runs done = {0};
    while (index < dirty->count) {
        page_runs_clear(&done);
        ssize_t got = pages_read(from, mem, dirty, &index, &offset, buffer, sizeof buffer, &done);
        check((int)got, "read pages");
        check(pages_write(restore->pid, restore->remote->mem_fd, &done, buffer, (size_t)got), "write pages");
    }
    page_runs_free(&done);
    close(mem);
}

static struct wait_memo memo;

static void move(struct place *from, struct place *to) {
    struct tracee tracee;
    static struct remote remote;
    struct rptr insn;
    struct stay_reasons reasons = {0};
    struct page_tracker tracker;
    struct page_runs dirty = {0}, fresh = {0}, gone = {0};
    struct area_list areas;
    check(process_probe(from->pid, &from->facts, &reasons), "probe");
    for (size_t i = 0; i < reasons.count; i++)
        fprintf(stderr, "stays: %s: %s\n", reasons.reasons[i].kind, reasons.reasons[i].detail);
    check(reasons.count ? -EOPNOTSUPP : 0, "probe");
    make_place(to);
    check(remote_find_insn(from->pid, &insn), "find insn");
    check(tracee_freeze_leader(&tracee, from->pid, 5000), "freeze");
    check(remote_begin(&remote, from->pid, from->pid, insn, (struct rptr){0}, true), "session");
    check(page_tracker_start(&tracker, &remote), "tracker");
    check(wait_memo_note(&memo, &remote, &tracee), "waits");
    check(remote_end(&remote), "session end");
    tracee_thaw(&tracee);
    check(maps_read(from->pid, 0, from->facts.file_device, &areas), "maps");
    check(page_tracker_collect(&tracker, &areas, false, &dirty, &fresh, &gone), "first round");
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/status", from->pid);
    struct capsule_group group = {.pgid = 0};
    FILE *status = fopen(path, "re");
    char line[256];
    int inner = 0;
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "NSpid:", 6))
            inner = atoi(strrchr(line, '\t') + 1);
    fclose(status);
    group.pgid = inner;
    check(capsule_restore(&to->capsule, inner, &group), "make the process");
    to->pid = capsule_find(&to->capsule, inner);
    check(to->pid, "find the new process");
    struct restore restore;
    check(restore_begin(&restore, to->pid, &areas), "begin to restore");
    check(restore_areas(&restore, &areas), "areas");
    send_pages(from->pid, &restore, &dirty);
    uint64_t began = monotonic_ns();
    check(tracee_freeze(&tracee, from->pid, 5000), "freeze again");
    uint64_t frozen = monotonic_ns();
    check(remote_begin(&remote, from->pid, from->pid, insn, (struct rptr){0}, true), "session");
    struct process_image image, arrived;
    int result = process_dump(&tracee, &remote, &from->facts, &memo, &image, &reasons);
    for (size_t i = 0; i < reasons.count; i++)
        fprintf(stderr, "stays: %s: %s\n", reasons.reasons[i].kind, reasons.reasons[i].detail);
    check(result, "dump");
    check(remote_end(&remote), "session end");
    page_runs_clear(&dirty), page_runs_clear(&fresh), page_runs_clear(&gone);
    check(page_tracker_collect(&tracker, &image.areas, true, &dirty, &fresh, &gone), "last round");
    uint64_t dumped = monotonic_ns();
    struct image_writer writer = {0};
    process_pack(&writer, &image);
    struct image_reader reader = image_reader_of(writer.bytes, writer.length);
    check(process_unpack(&reader, &arrived), "unpack");
    struct area_list last = arrived.areas;
    arrived.areas = (struct area_list){0};
    check(restore_areas(&restore, &last), "last areas");
    check(restore_discard(&restore, &gone), "discard");
    send_pages(from->pid, &restore, &dirty);
    uint64_t sent = monotonic_ns();
    check(capsule_time(&to->capsule, image.core.task_monotonic_ns, image.core.task_boottime_ns), "time");
    const char *stage;
    struct tracee restored;
    result = restore_finish(&restore, &to->facts, &arrived, &restored, &stage);
    check(result, stage);
    check(wait_memo_fill(&memo, &arrived), "memo");
    /* What waits in the standard input pipe moves by hand here; the shepherd's relay does it in earnest. */
    capsule_kill(&from->capsule);
    for (int i = 0; i < 3; i++)
        close(from->ends[i]);
    tracee_free(&tracee);
    tracee_thaw(&restored);
    uint64_t resumed = monotonic_ns();
    fprintf(stderr, "frozen %.2f ms: stop %.2f dump %.2f pages %.2f (%llu KiB) restore %.2f\n",
            (double)(resumed - began) / 1e6, (double)(frozen - began) / 1e6, (double)(dumped - frozen) / 1e6,
            (double)(sent - dumped) / 1e6, (unsigned long long)dirty.bytes >> 10, (double)(resumed - sent) / 1e6);
    page_tracker_stop(&tracker);
    page_runs_free(&dirty), page_runs_free(&fresh), page_runs_free(&gone);
    process_free(&image), process_free(&arrived);
    image_writer_free(&writer);
    restore_abandon(&restore);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    struct place places[2] = {0};
    int now = 0;
    make_place(&places[0]);
    start(&places[0], argv + 2);
    char buffer[65536];
    ssize_t got = read(places[0].ends[1], buffer, sizeof buffer - 1);
    buffer[got > 0 ? got : 0] = 0;
    if (strncmp(buffer, "ready", 5)) {
        fprintf(stderr, "move_local: the program said: %s\n", buffer);
        return 99;
    }
    for (int i = 0; i < atoi(argv[1]); i++) {
        move(&places[now], &places[!now]);
        now = !now;
        struct pollfd wait = {places[now].ends[1], 0, 0};
        poll(&wait, 1, 20);
    }
    check(write(places[now].ends[0], "go\n", 3) == 3 ? 0 : -EPIPE, "go");
    close(places[now].ends[0]);
    while ((got = read(places[now].ends[1], buffer, sizeof buffer)) > 0)
        check(fwrite(buffer, 1, (size_t)got, stdout) == (size_t)got ? 0 : -EIO, "output");
    while ((got = read(places[now].ends[2], buffer, sizeof buffer)) > 0)
        check(fwrite(buffer, 1, (size_t)got, stderr) == (size_t)got ? 0 : -EIO, "error output");
    for (;;) {
        struct capsule_child child;
        struct pollfd wait = {places[now].capsule.control, POLLIN, 0};
        poll(&wait, 1, 5000);
        int result = capsule_next_child(&places[now].capsule, &child);
        check(result == 0 ? -ETIMEDOUT : result, "the end of the task");
        if (WIFEXITED(child.status) || WIFSIGNALED(child.status)) {
            capsule_kill(&places[now].capsule);
            fflush(stdout);
            return WIFEXITED(child.status) ? WEXITSTATUS(child.status) : 128 + WTERMSIG(child.status);
        }
    }
}
