/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. The outer process stays where it was started; the inner one is pid 1 of the node's namespaces
 * and the real launcher. When pid 1 dies the kernel kills everything in its pid namespace, and with the last process
 * the mounts and the namespaces go; so all that must be made sure is that the inner process dies with the outer one,
 * however that dies. PR_SET_PDEATHSIG does it at once (a SIGKILL from outside is the one that pid 1 can't ignore); the
 * lifeline, a socket that both hold, covers the time before it was set.
 *
 * Over the lifeline the inner process says that its namespaces are ready; then the outer one, who knows its pid as
 * others see it, writes node.pid and says go on. As an ordinary user a user namespace comes along, with uid and gid
 * mapped to themselves; its owner, outside, may enter it.
 */
#include "isolate.h"
#include "../enter/pidfile.h"
#include "child_setup.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* More than the inner process takes to end everything in order. */
#define INNER_LIMIT_MS 1850
#define HOST_NAME_BYTES 65

static int write_file(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int write_file(const char *path, const char *format, ...) {
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return -errno;
    int result = write(file, text, (size_t)length) == length ? 0 : -errno;
    close(file);
    return result;
}

static bool failed(const char *what, int error, const char *advice) {
    report_failure("can't isolate the node: %s: %s%s", what, strerror(error), advice);
    return false;
}

static bool map_ids(uid_t uid, gid_t gid) {
    int result = write_file("/proc/self/setgroups", "deny");
    if (result == 0)
        result = write_file("/proc/self/uid_map", "%u %u 1\n", (unsigned)uid, (unsigned)uid);
    if (result == 0)
        result = write_file("/proc/self/gid_map", "%u %u 1\n", (unsigned)gid, (unsigned)gid);
    return result == 0 || failed("mapping ids", -result, " (does AppArmor restrict user namespaces?)");
}

static bool bind_srv(const char *state) {
    char srv[PATH_MAX];
    if ((size_t)snprintf(srv, sizeof srv, "%s/srv", state) >= sizeof srv)
        return failed(state, ENAMETOOLONG, "");
    if (strncmp(state, "/srv/", 5) == 0) {
        report_failure("the state folder %s lies in /srv, which each node has its own of: choose another", state);
        return false;
    }
    if (mkdir(srv, 0755) != 0 && errno != EEXIST)
        return failed(srv, errno, "");
    if (access("/srv", F_OK) != 0 && mkdir("/srv", 0755) != 0)
        return failed("/srv", ENOENT, " (`sudo mkdir /srv` mends it)");
    return mount(srv, "/srv", NULL, MS_BIND | MS_REC, NULL) == 0 || failed("mounting on /srv", errno, "");
}

static bool set_host_name(int node) {
    char name[HOST_NAME_BYTES], suffix[16];
    if (gethostname(name, sizeof name) != 0)
        return failed("host name", errno, "");
    int length = snprintf(suffix, sizeof suffix, "-%d", node);
    name[HOST_NAME_BYTES - 1 - length] = 0;
    strcat(name, suffix);
    return sethostname(name, strlen(name)) == 0 || failed("host name", errno, "");
}

static bool make_node(const struct config *config, uid_t uid, gid_t gid) {
    if (uid != 0 && !map_ids(uid, gid))
        return false;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return failed("making mounts private", errno, "");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        return failed("mounting /proc", errno, " (in a container: it needs an unmasked /proc)");
    return bind_srv(config->state) && set_host_name(config->node);
}

static _Noreturn void run_inner(struct launcher *launcher, int lifeline, uid_t uid, gid_t gid) {
    char word = 0;
    struct pollfd end = {.fd = lifeline};
    launcher->lifeline = lifeline;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        _exit(1);
    if (poll(&end, 1, 0) != 0 || !make_node(&launcher->config, uid, gid))
        _exit(1);
    /* Once more: nothing above may have cleared it, but this costs nothing and the launcher's promise hangs on it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || send(lifeline, &word, 1, MSG_NOSIGNAL) != 1 ||
        recv(lifeline, &word, 1, 0) != 1)
        _exit(1);
    _exit(supervise(launcher));
}

/* Wait for the inner process's word, then publish its pid. */
static int publish(const struct launcher *launcher, int lifeline, pid_t inner) {
    char word, path[PATH_MAX];
    struct pidfile entry;
    if (recv(lifeline, &word, 1, 0) != 1)
        return -ECANCELED; /* it has said why */
    if ((size_t)snprintf(path, sizeof path, "%s/node.pid", launcher->config.state) >= sizeof path)
        return -ENAMETOOLONG;
    int result = pidfile_describe(inner, true, &entry);
    if (result == 0)
        result = pidfile_write(path, &entry);
    if (result == 0 && send(lifeline, &word, 1, MSG_NOSIGNAL) != 1)
        result = -errno;
    return result;
}

/* Pass a request to end on to the inner process and see that it is obeyed. Returns the inner one's exit status. */
static int watch(int process, int signals, pid_t inner) {
    int64_t kill_ms = 0;
    for (;;) {
        struct pollfd watched[] = {{.fd = process, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
        int64_t left = kill_ms == 0 ? -1 : kill_ms - now_ms();
        if (kill_ms != 0 && left <= 0) {
            kill(inner, SIGKILL);
            left = -1;
        }
        if (poll(watched, 2, (int)left) < 0 && errno != EINTR)
            kill(inner, SIGKILL);
        struct signalfd_siginfo info;
        while (read(signals, &info, sizeof info) == sizeof info)
            if (info.ssi_signo != SIGCHLD && info.ssi_signo != SIGPIPE && kill_ms == 0) {
                kill_ms = now_ms() + INNER_LIMIT_MS;
                kill(inner, SIGTERM);
            }
        int status;
        if (watched[0].revents != 0 && waitpid(inner, &status, 0) == inner)
            return WIFEXITED(status) ? WEXITSTATUS(status) : kill_ms != 0 ? 0 : 1;
    }
}

int isolate(struct launcher *launcher) {
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int lifeline[2], process = -1;
    sigset_t set;
    supervise_signals(&set);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lifeline) != 0) {
        failed("a socket", errno, "");
        return 1;
    }
    struct clone_args arguments = {
        .flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID | CLONE_PIDFD | (uid == 0 ? 0 : CLONE_NEWUSER),
        .pidfd = (uint64_t)(uintptr_t)&process,
        .exit_signal = SIGCHLD,
    };
    pid_t inner = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (inner < 0) {
        failed("namespaces", errno,
               errno == ENOSPC ? " (`sudo sysctl -w user.max_user_namespaces=15000` mends it)" : "");
        return 1;
    }
    if (inner == 0) {
        close(lifeline[0]);
        close(signals);
        run_inner(launcher, lifeline[1], uid, gid);
    }
    close(lifeline[1]);
    int result = publish(launcher, lifeline[0], inner);
    if (result != 0) {
        if (result != -ECANCELED)
            report_failure("can't write node.pid in %s: %s", launcher->config.state, strerror(-result));
        kill(inner, SIGKILL);
    }
    int status = watch(process, signals, inner);
    return result != 0 ? 1 : status;
}
