/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. Process 1 of the capsule, forked from the shepherd and never exec'd, so that it keeps all
 * capabilities of the capsule's user namespace. It leads the session that the task lives in (a task whose parent were
 * in another session could not be stopped by Ctrl-Z), makes the first process, reaps everything and reports. When the
 * shepherd dies the kernel kills it, and with it the whole capsule.
 *
 * A process to be restored is cloned with its old pid, raises all capabilities as ambient ones and executes the
 * restorer, so that its memory belongs to the capsule's user namespace.
 */
#include "init.h"
#include "capsule_wire.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_PIPE_BYTES (1 << 20)

struct init_state {
    int control, restorer, child_signals;
    int terminal;    /* the slave, or -1 */
    int standard[3]; /* the task's ends; -1: none (/dev/null then) */
    bool own_time;
};

static void close_standard(struct init_state *init) {
    for (int i = 0; i < 3; i++) {
        if (init->standard[i] >= 0)
            close(init->standard[i]);
        init->standard[i] = -1;
    }
}

static int make_terminal(struct init_state *init, int *master) {
    *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    int unlock = 0;
    if (*master < 0)
        return -errno;
    if (ioctl(*master, TIOCSPTLCK, &unlock))
        return -errno;
    init->terminal = open("/dev/pts/0", O_RDWR | O_CLOEXEC); /* we lead a session: it becomes the terminal of that */
    return init->terminal < 0 ? -errno : 0;
}

static int make_stdio(struct init_state *init, int wanted, int *host_ends, size_t *count) {
    int result = 0;
    if (wanted & 1) {
        if ((result = make_terminal(init, &host_ends[0])))
            return result;
        *count = 1;
    }
    for (int i = 0; i < 3; i++) {
        if (!(wanted & (2 << i)))
            continue;
        int ends[2];
        if (pipe2(ends, O_CLOEXEC))
            return -errno;
        /* Output is fetched in big pieces where the kernel allows it: a user has a limit of all pipes together. */
        if (i > 0)
            (void)fcntl(ends[1], F_SETPIPE_SZ, OUTPUT_PIPE_BYTES);
        init->standard[i] = ends[i == 0 ? 0 : 1];
        host_ends[(*count)++] = ends[i == 0 ? 1 : 0];
    }
    return result;
}

/* In the child: standard descriptors in place, those that are closed at home (bits 0..2) closed, nothing else open. */
static int place_standard(const struct init_state *init, unsigned closed) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return -errno;
    int ends[3];
    for (int i = 0; i < 3; i++) {
        int from = init->standard[i] >= 0 ? init->standard[i] : init->terminal >= 0 ? init->terminal : null;
        ends[i] = fcntl(from, F_DUPFD_CLOEXEC, 10);
        if (ends[i] < 0)
            return -errno;
    }
    for (int i = 0; i < 3; i++)
        if (dup2(ends[i], i) < 0 || (closed & (1u << i) && close(i)))
            return -errno;
    return syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC) ? -errno : 0;
}

static int reset_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int i = 1; i < 65; i++)
        if (i != SIGKILL && i != SIGSTOP && i != 32 && i != 33)
            signal(i, SIG_DFL);
    return sigprocmask(SIG_SETMASK, &none, NULL) ? -errno : 0;
}

static char **take_strings(char **at, const char *end, uint32_t count) {
    char **list = calloc((size_t)count + 1, sizeof *list);
    for (uint32_t i = 0; list && i < count; i++) {
        char *stop = memchr(*at, 0, (size_t)(end - *at));
        if (!stop)
            return NULL;
        list[i] = *at;
        *at = stop + 1;
    }
    return list;
}

struct step_result {
    int error;
    char step[60];
};

_Noreturn static void fail_child(int report, int error, const char *step) {
    struct step_result result = {.error = error};
    snprintf(result.step, sizeof result.step, "%s", step);
    ssize_t put = write(report, &result, sizeof result);
    _exit(put == (ssize_t)sizeof result ? 127 : 126);
}

/* execvp says EACCES when a folder of PATH is closed to the user, also if the command is in none. */
static bool is_anywhere(const char *command) {
    const char *path = getenv("PATH");
    if (strchr(command, '/') || !path)
        return true;
    while (*path) {
        char file[PATH_MAX];
        struct stat status;
        size_t length = strcspn(path, ":");
        int written = snprintf(file, sizeof file, "%.*s/%s", (int)length, path, command);
        if (written > 0 && (size_t)written < sizeof file && stat(file, &status) == 0)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

_Noreturn static void run_program(const struct init_state *init, void *payload, size_t length, int report) {
    struct capsule_program program;
    memcpy(&program, payload, sizeof program);
    char *at = (char *)payload + sizeof program, *end = (char *)payload + length;
    char *directory = at;
    at += program.directory_length + 1;
    char **arguments = at < end ? take_strings(&at, end, program.argument_count) : NULL;
    char **environment = arguments ? take_strings(&at, end, program.environment_count) : NULL;
    if (!environment || !arguments[0])
        fail_child(report, EINVAL, "arguments");
    if (setpgid(0, 0))
        fail_child(report, errno, "process group");
    if (init->terminal >= 0 && tcsetpgrp(init->terminal, getpid()))
        fail_child(report, errno, "terminal");
    int result = place_standard(init, program.closed);
    if (result)
        fail_child(report, -result, "standard streams");
    if (chdir(directory))
        fail_child(report, errno, "directory");
    umask(program.umask);
    for (int i = 0; i < 16; i++) {
        struct rlimit limit = {program.limits[i][0], program.limits[i][1]};
        if (setrlimit(i, &limit)) {
            /* Its hard limit is above ours: as much as is allowed here. */
            struct rlimit ours;
            if (getrlimit(i, &ours))
                continue;
            limit.rlim_max = ours.rlim_max;
            if (limit.rlim_cur > limit.rlim_max)
                limit.rlim_cur = limit.rlim_max;
            if (setrlimit(i, &limit))
                fail_child(report, errno, "limits");
        }
    }
    if (program.nice > 0 && setpriority(PRIO_PROCESS, 0, program.nice))
        fail_child(report, errno, "nice");
    if ((result = reset_signals()))
        fail_child(report, -result, "signals");
    environ = environment;
    execvp(arguments[0], arguments);
    int error = errno;
    fail_child(report, error == EACCES && !is_anywhere(arguments[0]) ? ENOENT : error, "exec");
}

/* Wait until the child has executed its program (the pipe closes) or has failed (it says how). */
static int await_exec(int report, struct step_result *result) {
    *result = (struct step_result){0};
    ssize_t got;
    do
        got = read(report, result, sizeof *result);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        return 0;
    return got == (ssize_t)sizeof *result && result->error ? -result->error : -EIO;
}

static int own_time(struct init_state *init, const struct capsule_clocks *clocks) {
    if (init->own_time)
        return 0;
    if (unshare(CLONE_NEWTIME))
        return -errno;
    init->own_time = true;
    if (!clocks)
        return 0;
    struct timespec now[2];
    char text[160];
    clock_gettime(CLOCK_MONOTONIC, &now[0]);
    clock_gettime(CLOCK_BOOTTIME, &now[1]);
    const uint64_t wanted[2] = {clocks->monotonic_ns, clocks->boottime_ns};
    long long seconds[2], rest[2];
    for (int i = 0; i < 2; i++) {
        /* We are in the host's initial time namespace, or the node's: offsets add up to the initial clock only. */
        long long difference = (long long)wanted[i] - ((long long)now[i].tv_sec * 1000000000ll + now[i].tv_nsec);
        seconds[i] = difference / 1000000000ll;
        rest[i] = difference % 1000000000ll;
        if (rest[i] < 0) {
            rest[i] += 1000000000ll;
            seconds[i]--;
        }
    }
    int length = snprintf(text, sizeof text, "monotonic %lld %lld\nboottime %lld %lld\n", seconds[0], rest[0],
                          seconds[1], rest[1]);
    int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = write(fd, text, (size_t)length) == length ? 0 : -errno;
    close(fd);
    return result;
}

static int spawn(struct init_state *init, void *payload, size_t length, struct step_result *failure) {
    struct capsule_program program;
    if (length < sizeof program)
        return -EINVAL;
    memcpy(&program, payload, sizeof program);
    if (program.directory_length >= length - sizeof program)
        return -EINVAL;
    int report[2], result = own_time(init, NULL);
    if (result)
        return result;
    if (pipe2(report, O_CLOEXEC))
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        run_program(init, payload, length, report[1]);
    int error = errno;
    close(report[1]);
    result = pid < 0 ? -error : await_exec(report[0], failure);
    close(report[0]);
    close_standard(init);
    return result ? result : pid;
}

static int raise_ambient(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data))
        return -errno;
    for (int i = 0; i < 2; i++)
        data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &header, data))
        return -errno;
    for (int i = 0; i < 64; i++)
        if (data[i / 32].permitted & (1u << (i % 32)) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0))
            return -errno;
    return 0;
}

_Noreturn static void run_restorer(const struct init_state *init, const struct capsule_group *group, int report) {
    static char *const arguments[] = {"skein-restorer", NULL};
    static char *const environment[] = {NULL};
    if (setpgid(0, group->pgid == getpid() ? 0 : group->pgid))
        fail_child(report, errno, "process group");
    if (init->terminal >= 0 && group->foreground && tcsetpgrp(init->terminal, getpgrp()))
        fail_child(report, errno, "terminal");
    int result = place_standard(init, 0);
    if (!result)
        result = reset_signals();
    if (!result)
        result = raise_ambient();
    if (result)
        fail_child(report, -result, "restorer set-up");
    syscall(SYS_execveat, init->restorer, "", arguments, environment, AT_EMPTY_PATH);
    fail_child(report, errno, "restorer");
}

static int restore(struct init_state *init, pid_t pid, const struct capsule_group *group, struct step_result *failure) {
    int report[2];
    if (pipe2(report, O_CLOEXEC))
        return -errno;
    struct clone_args arguments = {.exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1};
    pid_t made = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (made == 0)
        run_restorer(init, group, report[1]);
    int error = errno;
    close(report[1]);
    int result = made < 0 ? -error : await_exec(report[0], failure);
    close(report[0]);
    close_standard(init);
    return result;
}

static int send_signal(const struct init_state *init, int signal, pid_t pid) {
    if (pid == 0) {
        pid_t group = init->terminal >= 0 ? tcgetpgrp(init->terminal) : -1;
        return group <= 1 ? -ESRCH : kill(-group, signal) ? -errno : 0;
    }
    return kill(pid, signal) ? -errno : 0;
}

static void answer(struct init_state *init, int32_t value, const char *step, const int *fds, size_t count) {
    if (capsule_send(init->control, CAPSULE_DONE, value, step, strlen(step), fds, count))
        _exit(1);
}

static void serve(struct init_state *init) {
    struct capsule_header header;
    void *payload;
    if (capsule_receive(init->control, &header, &payload, NULL, NULL))
        _exit(0); /* the shepherd is gone */
    struct step_result failure = {0};
    const char *step = "";
    int ends[CAPSULE_MAX_FDS];
    size_t count = 0;
    int32_t value = -EINVAL;
    switch (header.type) {
    case CAPSULE_MOUNT:
        if (header.length == sizeof(struct capsule_identity)) {
            const struct capsule_identity *identity = payload;
            step = "ids";
            value = setresgid(identity->gid, identity->gid, identity->gid) ||
                            setresuid(identity->uid, identity->uid, identity->uid) ||
                            prctl(PR_SET_PDEATHSIG, SIGKILL) /* a change of ids may clear it */
                        ? -errno
                        : init_mounts(init->control, identity, &step);
        }
        break;
    case CAPSULE_STDIO:
        value = make_stdio(init, header.value, ends, &count);
        break;
    case CAPSULE_SPAWN:
        value = payload ? spawn(init, payload, header.length, &failure) : -EINVAL;
        step = failure.step;
        break;
    case CAPSULE_RESTORE:
        if (header.length == sizeof(struct capsule_group))
            value = restore(init, header.value, payload, &failure);
        step = failure.step;
        break;
    case CAPSULE_TIME:
        if (header.length == sizeof(struct capsule_clocks))
            value = own_time(init, payload);
        break;
    case CAPSULE_SIGNAL:
        if (header.length == sizeof(int32_t))
            value = send_signal(init, header.value, *(const int32_t *)payload);
        break;
    default:
        break;
    }
    free(payload);
    answer(init, value, step, ends, count);
    for (size_t i = 0; i < count; i++)
        close(ends[i]);
}

static void reap(struct init_state *init) {
    struct signalfd_siginfo info;
    while (read(init->child_signals, &info, sizeof info) == (ssize_t)sizeof info)
        continue;
    int status;
    struct rusage usage;
    pid_t pid;
    while ((pid = wait4(-1, &status, WNOHANG | WUNTRACED | WCONTINUED, &usage)) > 0) {
        struct capsule_child child = {
            .pid = pid,
            .status = status,
            .user_us = (uint64_t)usage.ru_utime.tv_sec * 1000000u + (uint64_t)usage.ru_utime.tv_usec,
            .system_us = (uint64_t)usage.ru_stime.tv_sec * 1000000u + (uint64_t)usage.ru_stime.tv_usec,
            .max_rss_kib = (uint64_t)usage.ru_maxrss};
        if (capsule_send(init->control, CAPSULE_CHILD, 0, &child, sizeof child, NULL, 0))
            _exit(1);
    }
}

_Noreturn void init_main(int control, int restorer) {
    struct init_state init = {.control = control, .restorer = restorer, .terminal = -1, .standard = {-1, -1, -1}};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || prctl(PR_SET_NAME, "skein-init") || setsid() < 0 ||
        sigprocmask(SIG_SETMASK, &child, NULL))
        _exit(1);
    for (int i = 1; i < 32; i++)
        if (i != SIGKILL && i != SIGSTOP && i != SIGCHLD)
            signal(i, SIG_IGN);
    init.child_signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (init.child_signals < 0)
        _exit(1);
    for (;;) {
        struct pollfd wait[2] = {{control, POLLIN, 0}, {init.child_signals, POLLIN, 0}};
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            _exit(1);
        if (wait[1].revents)
            reap(&init);
        if (wait[0].revents)
            serve(&init);
    }
}
