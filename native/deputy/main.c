/* SPDX-License-Identifier: Apache-2.0
 *
 * runon: runs a command on another node, and is its deputy at home until it ends. `runon --deputy` is the same for a
 * detached task, started by skeind with SKEIN_STATE, SKEIN_TASK and SKEIN_TOKEN in its environment.
 *
 * Theory of operation. It runs with its user's own rights, so every file that the task touches is touched by its user;
 * nothing here checks permissions. Order of the beginning: the agent says who we are, the door for shepherds opens, the
 * agent is asked for a host, the shepherd there comes in and claims epoch 1.
 */
#include "../common/log.h"
#include "deputy.h"
#include "spec.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <malloc.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

void fail(struct deputy *deputy, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    terminal_restore(&deputy->terminal);
    if (deputy->options.deputy)
        log_line("%s", text);
    else
        fprintf(stderr, "runon: %s\n", text);
    deputy->exit_status = 125;
}

static void notify(void *arg, int slot, const void *bytes, size_t length) {
    struct deputy *deputy = arg;
    session_send(deputy, &deputy->sessions[slot], DP_FUSE_NOTIFY, 0, 0, 0, bytes, length);
}

/* skein-enter has left one open, since the node's own does not show a process from outside. */
static int find_proc(void) {
    const char *given = getenv("SKEIN_PROC_FD");
    struct statfs status;
    if (given && fstatfs(atoi(given), &status) == 0 && status.f_type == PROC_SUPER_MAGIC)
        return fcntl(atoi(given), F_DUPFD_CLOEXEC, 3);
    return open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int open_home(struct deputy *deputy) {
    struct homefs_config config = {.shown_uid = getuid(),
                                   .shown_gid = getgid(),
                                   .single_id = true,
                                   .notify = notify,
                                   .arg = deputy,
                                   .proc = find_proc(),
                                   .root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (config.root < 0 || config.proc < 0)
        return -errno;
    int result = homefs_new(&config, &deputy->homefs);
    close(config.root);
    close(config.proc);
    deputy->reply = malloc(HOMEFS_REPLY_MAX);
    return result ? result : deputy->reply ? 0 : -ENOMEM;
}

/* What the task is to be, from what this process is: before this process changes itself. */
static int make_spec(struct deputy *deputy) {
    const struct spec_terminal terminal = {deputy->terminal.terminals, deputy->terminal.closed,
                                           &deputy->terminal.for_task, &deputy->terminal.winsize};
    int result = spec_make(deputy->options.command, deputy->options.deputy ? &deputy->detached.root : NULL, &terminal,
                           &deputy->spec, &deputy->spec_length);
    if (result == -E2BIG)
        fail(deputy, "the arguments and the environment are too long together: at most 2 MiB");
    else if (result)
        fail(deputy, "can't tell what this process is: %s", strerror(-result));
    return result;
}

/* Each open file of the task is one here. The mask is the task's affair. */
static void widen(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* refused: fewer files */
    }
    umask(0);
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
}

static int serve(struct deputy *deputy) {
    int result;
    streams_begin(deputy);
    if (deputy->options.deputy) {
        memset(&deputy->terminal, 0, sizeof deputy->terminal);
        deputy->terminal.descriptor = -1;
        if ((result = detached_load(deputy)))
            return fail(deputy, "can't take up the task in %s: %s", deputy->folder, strerror(-result)), result;
    } else if (deputy->options.detach) {
        deputy->terminal.terminals = 0;
    }
    if ((result = agent_greet(deputy)))
        return result;
    if (deputy->options.detach)
        return agent_ask(deputy);
    if ((result = make_spec(deputy)))
        return result;
    if (!(result = open_home(deputy)))
        result = sessions_open(deputy);
    if (!result && detached_resumes(deputy))
        result = sessions_resume(deputy);
    if (!result && deputy->options.deputy)
        result = detached_journal(deputy);
    if (result)
        return fail(deputy, "can't serve the task from %s: %s", deputy->address, strerror(-result)), result;
    if (detached_resumes(deputy)) {
        deputy->granted = deputy->started = true;
        deputy->heard_ms = now_ms();
        agent_announce(deputy);
    } else if ((result = agent_ask(deputy))) {
        return result;
    }
    widen();
    return 0;
}

/* `-d`: nothing to serve here, only an answer to wait for. */
static void await_answer(struct deputy *deputy) {
    while (deputy->exit_status < 0) {
        struct pollfd wait[2] = {{agentlink_fd(deputy->agent), POLLIN, 0}, {deputy->signals, POLLIN, 0}};
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return fail(deputy, "poll: %s", strerror(errno));
        agent_receive(deputy);
        signals_receive(deputy);
    }
}

int main(int count, char **arguments) {
    static struct deputy deputy = {.exit_status = -1, .signals = -1};
    int status = options_read(count, arguments, &deputy.options);
    if (status >= 0)
        return status;
    log_identity("runon", NULL);
    /* Before anything is opened, which would take the number of a standard descriptor that is closed. */
    int result = terminal_find(&deputy.terminal);
    if (result) {
        fprintf(stderr, "runon: can't look at the terminal: %s\n", strerror(-result));
        return 125;
    }
    if (deputy.options.deputy) {
        const char *task = getenv("SKEIN_TASK");
        if (!task || !getenv("SKEIN_TOKEN") || strlen(task) >= sizeof deputy.task || strchr(task, '/')) {
            fprintf(stderr, "runon: --deputy is for skeind (docs/protocol.md)\n");
            return 2;
        }
        snprintf(deputy.task, sizeof deputy.task, "%s", task);
        log_identity("deputy", task);
    }
    result = signals_open(&deputy);
    deputy.context = zmq_ctx_new();
    if (result || !deputy.context)
        fail(&deputy, "can't start: %s", strerror(errno));
    else if (!agent_open(&deputy) && !serve(&deputy)) {
        if (deputy.options.detach)
            await_answer(&deputy);
        else
            deputy_loop(&deputy);
    }
    terminal_restore(&deputy.terminal);
    sessions_close(&deputy);
    if (deputy.options.deputy && deputy.exit_acked)
        detached_forget(&deputy);
    if (deputy.agent)
        agentlink_close(deputy.agent, 500);
    if (deputy.homefs)
        homefs_free(deputy.homefs);
    mp_reader_free(&deputy.detached);
    free(deputy.spec);
    free(deputy.reply);
    if (deputy.context)
        zmq_ctx_term(deputy.context);
    return deputy.exit_status < 0 ? 125 : deputy.exit_status;
}
