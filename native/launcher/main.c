/* SPDX-License-Identifier: Apache-2.0
 *
 * skeind: the launcher of a node.
 *
 *   skeind --config FILE [--foreground | --daemon]
 *
 * Theory of operation. Reads the configuration, takes the node folder (lock.c), opens the programs it will start, makes
 * the node's namespaces if it shares this machine with others (isolate.c), and supervises an agent and what that asks
 * for (supervise.c). It links neither ZeroMQ nor msgpack and parses nothing that comes from the network, since it may
 * be root. It has one thread, and must have: its children are to die with the thread that made them.
 */
#include "../enter/pidfile.h"
#include "config.h"
#include "isolate.h"
#include "lock.h"
#include "programs.h"
#include "report.h"
#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LOG_BYTES (16 << 20)

static _Noreturn void usage(void) {
    fprintf(stderr, "usage: skeind --config FILE [--foreground | --daemon]\n");
    exit(2);
}

/* The standard descriptors must not come to be something else. */
static void fill_standard_descriptors(void) {
    for (int i = 0; i < 3; i++)
        if (fcntl(i, F_GETFD) < 0 && open("/dev/null", O_RDWR) != i)
            exit(1);
}

/* A log's path; one that has grown big is put aside. 0 or -errno. */
static int log_path(const char *state, const char *name, char *path, size_t room) {
    char old[PATH_MAX];
    struct stat status;
    if ((size_t)snprintf(path, room, "%s/%s", state, name) >= room ||
        (size_t)snprintf(old, sizeof old, "%s.1", path) >= sizeof old)
        return -ENAMETOOLONG;
    if (stat(path, &status) == 0 && status.st_size > MAX_LOG_BYTES && rename(path, old) != 0)
        return -errno;
    return 0;
}

static bool open_logs(struct launcher *launcher, bool daemon) {
    char path[PATH_MAX];
    const char *state = launcher->config.state;
    int result = log_path(state, "native.log", path, sizeof path);
    if (result == 0 && (launcher->native_log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)) < 0)
        result = -errno;
    if (result == 0 && daemon && (result = log_path(state, "skeind.log", path, sizeof path)) == 0)
        result = report_to_file(path);
    if (result != 0)
        report_failure("can't write the logs in the state folder %s: %s", state, strerror(-result));
    return result == 0;
}

/* A machine that is a node itself: the node's namespaces are the machine's. */
static int run_here(struct launcher *launcher) {
    char path[PATH_MAX];
    struct pidfile self;
    if ((size_t)snprintf(path, sizeof path, "%s/node.pid", launcher->config.state) >= sizeof path)
        return 1;
    int result = pidfile_describe(getpid(), false, &self);
    if (result == 0)
        result = pidfile_write(path, &self);
    if (result != 0) {
        report_failure("can't write %s: %s", path, strerror(-result));
        return 1;
    }
    return supervise(launcher);
}

static int run(struct launcher *launcher, bool daemon) {
    sigset_t set;
    supervise_signals(&set);
    launcher->pid_file = lock_state(launcher->config.state);
    if (launcher->pid_file < 0)
        return 1;
    int result = programs_open(&launcher->programs);
    if (result != 0)
        report_failure("can't open the programs beside skeind: %s", strerror(-result));
    if (result != 0 || !open_logs(launcher, daemon)) {
        unlock_state(launcher->config.state);
        return 1;
    }
    if (chdir("/") != 0 || sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        report_failure("%s", strerror(errno));
        unlock_state(launcher->config.state);
        return 1;
    }
    int status = launcher->config.isolate > 0 ? isolate(launcher) : run_here(launcher);
    unlock_state(launcher->config.state);
    return status;
}

int main(int count, char **arguments) {
    static struct launcher launcher = {.lifeline = -1};
    const char *config = NULL;
    char problem[PATH_MAX + 256];
    bool daemon = false;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--config") == 0 && i + 1 < count)
            config = arguments[++i];
        else if (strcmp(arguments[i], "--daemon") == 0)
            daemon = true;
        else if (strcmp(arguments[i], "--foreground") == 0)
            daemon = false;
        else
            usage();
    }
    if (config == NULL)
        usage();
    fill_standard_descriptors();
    umask(022);
    if (config_read(config, &launcher.config, problem, sizeof problem) != 0) {
        report_failure("%s", problem);
        return 1;
    }
    if (daemon)
        report_detach();
    return run(&launcher, daemon);
}
