/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. One thread, one poll: signals, the agent's socket and output, children that are starting, the
 * lifeline. Nothing in it waits for anything else. An agent that ends is started again after a growing pause, except
 * before the first one was ready (then the node could not start) and with status 78 (its configuration is wrong).
 *
 * Orphans come here: in isolate mode because this is pid 1 of the node, otherwise as a subreaper. So at the end "all my
 * children" is everything there is, and killing them until there are none leaves nothing behind.
 */
#include "supervise.h"
#include "agent.h"
#include "child_setup.h"
#include "children.h"
#include "end_all.h"
#include "report.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_LIMIT_MS 60000
/* For agent and natives to end by themselves. With END_ALL_LIMIT_MS this stays below two seconds. */
#define GRACE_MS 1200
/* What an agent that closed its socket gets to end by itself. */
#define DEAF_LIMIT_MS 5000
#define STATUS_CONFIGURATION 78
#define RESERVED_WATCHES 4

enum { WATCH_SIGNALS, WATCH_LIFELINE, WATCH_SOCKET, WATCH_OUTPUT };

struct loop {
    struct launcher *launcher;
    int signals;
    bool ending;
    int64_t kill_ms; /* when to stop asking, once ending */
    int status;
    struct agent agent;
    struct children children;
};

void supervise_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGPIPE); /* ignored by being blocked: children unblock it */
}

static void end(struct loop *loop, int status) {
    if (loop->ending)
        return;
    loop->ending = true;
    loop->status = status;
    loop->kill_ms = now_ms() + GRACE_MS;
    loop->agent.restart_ms = 0;
    if (loop->agent.pid > 0)
        kill(loop->agent.pid, SIGTERM);
    children_signal_all(&loop->children, SIGTERM);
}

static void obey(void *context, const struct request *request) {
    struct loop *loop = context;
    if (loop->ending)
        return;
    switch (request->kind) {
    case REQUEST_START:
        children_start(&loop->children, &loop->agent, request);
        break;
    case REQUEST_SIGNAL:
        children_signal(&loop->children, request);
        break;
    case REQUEST_READY:
        agent_is_ready(&loop->agent);
        report_ready();
        break;
    }
}

static void start_agent(struct loop *loop) {
    struct agent *agent = &loop->agent;
    int result = agent_start(agent, loop->launcher->programs.agent, &loop->launcher->config);
    if (result == 0) {
        children_tell(&loop->children, agent, now_ms());
        return;
    }
    if (result == -ENOENT)
        report_failure("%s is missing: run `npm run setup` first", loop->launcher->programs.agent);
    else
        report_failure("can't start the agent: %s", strerror(-result));
    if (!agent->was_ready || result == -ENOENT)
        end(loop, 1);
    else
        agent->restart_ms = now_ms() + agent->back_off_ms;
}

static void describe(int wait_status, char *text, size_t room) {
    if (WIFSIGNALED(wait_status))
        snprintf(text, room, "signal %d", WTERMSIG(wait_status));
    else
        snprintf(text, room, "status %d", WEXITSTATUS(wait_status));
}

static void agent_reaped(struct loop *loop, int wait_status) {
    struct agent *agent = &loop->agent;
    char how[32];
    bool was_ready = agent->was_ready;
    bool misconfigured = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == STATUS_CONFIGURATION;
    describe(wait_status, how, sizeof how);
    agent_ended(agent, now_ms());
    if (loop->ending)
        agent->restart_ms = 0;
    else if (was_ready && !misconfigured)
        report_line("the agent ended with %s: starting it again in %lld ms", how,
                    (long long)(agent->restart_ms - now_ms()));
    else {
        if (agent->first_words[0] != 0)
            report_failure("%s", agent->first_words);
        else
            report_failure("the agent ended with %s before it was ready", how);
        end(loop, 1);
        agent->restart_ms = 0;
    }
}

static void reap(struct loop *loop) {
    int wait_status;
    pid_t pid;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        if (pid == loop->agent.pid)
            agent_reaped(loop, wait_status);
        else
            children_reaped(&loop->children, &loop->agent, pid, wait_status, now_ms());
    }
}

static void take_signals(struct loop *loop) {
    struct signalfd_siginfo info;
    while (read(loop->signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(loop);
        else if (info.ssi_signo != SIGPIPE)
            end(loop, 0);
    }
}

/* Until the next thing that time brings about; -1: nothing. */
static int time_left(const struct loop *loop) {
    int64_t next = INT64_MAX;
    if (loop->ending)
        next = loop->kill_ms;
    else if (loop->agent.restart_ms != 0)
        next = loop->agent.restart_ms;
    else if (loop->agent.pid > 0 && loop->agent.socket < 0)
        next = loop->agent.deaf_ms + DEAF_LIMIT_MS;
    else if (loop->agent.pid > 0 && !loop->agent.ready)
        next = loop->agent.started_ms + READY_LIMIT_MS;
    if (next == INT64_MAX)
        return -1;
    int64_t left = next - now_ms();
    return left <= 0 ? 0 : (int)(left < 60000 ? left : 60000);
}

static void take_time(struct loop *loop) {
    struct agent *agent = &loop->agent;
    if (loop->ending)
        return;
    if (agent->restart_ms != 0 && now_ms() >= agent->restart_ms)
        start_agent(loop);
    else if (agent->pid > 0 && agent->socket < 0) {
        if (now_ms() >= agent->deaf_ms + DEAF_LIMIT_MS) {
            kill(agent->pid, SIGKILL);
            agent->deaf_ms = now_ms();
        }
    } else if (agent->pid > 0 && !agent->ready && now_ms() >= agent->started_ms + READY_LIMIT_MS) {
        report_failure("the agent was not ready after %d s", READY_LIMIT_MS / 1000);
        kill(agent->pid, SIGKILL);
        agent->started_ms = now_ms();
        if (!agent->was_ready)
            end(loop, 1);
    }
}

static void turn(struct loop *loop) {
    static struct pollfd watched[RESERVED_WATCHES + MAX_CHILDREN];
    struct agent *agent = &loop->agent;
    agent_flush(agent);
    /* poll passes over descriptors below zero. */
    watched[WATCH_SIGNALS] = (struct pollfd){.fd = loop->signals, .events = POLLIN};
    watched[WATCH_LIFELINE] = (struct pollfd){.fd = loop->launcher->lifeline, .events = POLLIN};
    watched[WATCH_SOCKET] =
        (struct pollfd){.fd = agent->socket, .events = (short)(POLLIN | (agent->out_length > 0 ? POLLOUT : 0))};
    watched[WATCH_OUTPUT] = (struct pollfd){.fd = agent->output, .events = POLLIN};
    int count = RESERVED_WATCHES + children_poll(&loop->children, watched + RESERVED_WATCHES, MAX_CHILDREN);
    if (poll(watched, (nfds_t)count, time_left(loop)) < 0 && errno != EINTR) {
        report_failure("poll: %s", strerror(errno));
        end(loop, 1);
        loop->kill_ms = now_ms();
        return;
    }
    /* What the agent asked and said before it died comes before its death. */
    if (watched[WATCH_OUTPUT].revents != 0)
        agent_read_output(agent);
    if (watched[WATCH_SOCKET].revents & (POLLIN | POLLHUP | POLLERR))
        agent_read(agent, obey, loop);
    children_progress(&loop->children, agent);
    if (watched[WATCH_SIGNALS].revents != 0)
        take_signals(loop);
    if (watched[WATCH_LIFELINE].revents != 0) {
        end(loop, 0);
        loop->kill_ms = now_ms();
    }
    take_time(loop);
}

int supervise(struct launcher *launcher) {
    static struct loop loop; /* too big for the stack */
    sigset_t set;
    supervise_signals(&set);
    loop.launcher = launcher;
    loop.children.programs = &launcher->programs;
    loop.children.state = launcher->config.state;
    loop.children.log = launcher->native_log;
    agent_init(&loop.agent);
    loop.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (loop.signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        report_failure("signalfd: %s", strerror(errno));
        return 1;
    }
    start_agent(&loop);
    while (!loop.ending || (now_ms() < loop.kill_ms && (loop.agent.pid > 0 || children_alive(&loop.children) > 0)))
        turn(&loop);
    end_all();
    return loop.status;
}
