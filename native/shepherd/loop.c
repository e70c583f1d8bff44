/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. Four things can happen: init reports a child, the relay reports home, the agent asks, a second
 * passes. shepherd_pump looks after all of them without waiting; a move calls it between its steps, so that a task
 * that is on the move still gets its signals, and a move that has lost its point ends.
 */
#include "../common/log.h"
#include "shepherd.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

void shepherd_stage(struct shepherd *shepherd, const char *stage) {
    struct mp_packer *event = agentlink_begin(shepherd->agent, "stage");
    mp_add_str(event, "task", shepherd->assignment.task);
    mp_add_str(event, "stage", stage);
    int result = agentlink_event(shepherd->agent);
    if (result && result != -EAGAIN)
        log_line("can't report a stage: %s", strerror(-result));
}

static void tell_end(struct shepherd *shepherd) {
    struct mp_packer *event = agentlink_begin(shepherd->agent, "task-ended");
    mp_add_str(event, "task", shepherd->assignment.task);
    mp_add_u64(event, "epoch", shepherd->epoch);
    mp_add_u64(event, "status", (uint64_t)(uint32_t)shepherd->wait_status);
    mp_add_double(event, "cpuSeconds", (double)(shepherd->usage.user_us + shepherd->usage.system_us) / 1e6);
    int result = agentlink_event(shepherd->agent);
    if (result && result != -EAGAIN)
        log_line("can't report the end: %s", strerror(-result));
}

static void child(struct shepherd *shepherd, const struct capsule_child *report) {
    if (report->pid != shepherd->inner)
        return; /* an orphan that init has reaped */
    int result = 0;
    if (WIFSTOPPED(report->status) || WIFCONTINUED(report->status)) {
        int signal = WIFSTOPPED(report->status) ? WSTOPSIG(report->status) : 0;
        if (shepherd->held || signal == shepherd->stopped_by)
            return;
        shepherd->stopped_by = signal;
        result = relay_state(shepherd->relay, signal);
    } else {
        shepherd->ended = true;
        shepherd->wait_status = report->status;
        shepherd->usage = (struct dp_usage){report->user_us, report->system_us, report->max_rss_kib};
        result = relay_exit(shepherd->relay, report->status, &shepherd->usage);
    }
    if (result)
        log_line("can't report to home: %s", strerror(-result));
}

static void signal_task(struct shepherd *shepherd, int signal) {
    bool group = shepherd->facts.has_terminal && signal != SIGKILL;
    int result = capsule_signal(&shepherd->capsule, signal, group ? 0 : shepherd->inner);
    if (result == -ESRCH && group)
        result = capsule_signal(&shepherd->capsule, signal, shepherd->inner);
    if (result && result != -ESRCH)
        log_line("can't send signal %d: %s", signal, strerror(-result));
}

static void hold(struct shepherd *shepherd, bool on) {
    if (shepherd->held == on || shepherd->ended)
        return;
    shepherd->held = on;
    log_line(on ? "home has been silent for %d s: the task is stopped until it is back"
                : "home is back: the task goes on",
             KEEP_FROZEN_AFTER_S);
    int result = capsule_signal(&shepherd->capsule, on ? SIGSTOP : SIGCONT, -1);
    if (result)
        log_line("can't do so: %s", strerror(-result));
}

static void relay_said(struct shepherd *shepherd, const struct relay_event *event) {
    switch (event->type) {
    case RELAY_SIGNAL:
        signal_task(shepherd, event->value);
        break;
    case RELAY_WINSIZE:
        break;
    case RELAY_FENCED:
        log_line("another host has the task");
        shepherd->fenced = true;
        break;
    case RELAY_KILL:
        shepherd->quit = true;
        break;
    case RELAY_LINK_DOWN:
        if (event->value >= KILL_AFTER_S)
            shepherd->quit = true;
        else if (event->value >= KEEP_FROZEN_AFTER_S)
            hold(shepherd, true);
        break;
    case RELAY_LINK_UP:
        hold(shepherd, false);
        break;
    case RELAY_EXIT_ACKED:
        shepherd->exit_acked = true;
        break;
    case RELAY_FUSE_GONE:
        log_line("home's mount is gone");
        shepherd->quit = true;
        break;
    }
}

static void agent_said(struct shepherd *shepherd, const struct agentlink_message *message, bool moving) {
    if (message->kind == AGENTLINK_EVENT && !strcmp(message->type, "quit")) {
        shepherd->quit = true;
    } else if (message->kind == AGENTLINK_EVENT && !strcmp(message->type, "abort")) {
        shepherd->aborted = true;
    } else if (message->kind == AGENTLINK_REQUEST && !strcmp(message->type, "why")) {
        shepherd_why(shepherd, message->id);
    } else if (message->kind == AGENTLINK_REQUEST && !strcmp(message->type, "send") && !moving && !shepherd->ended) {
        shepherd->asked_id = message->id;
        shepherd->aborted = false;
        if (shepherd_send(shepherd, message->body))
            shepherd->quit = true;
    } else if (message->kind == AGENTLINK_REQUEST) {
        bool known = !strcmp(message->type, "send");
        int result = agentlink_error(shepherd->agent, message->id, known ? "busy" : "unknown-request",
                                     known ? "the task is on the move or has ended" : "no such request");
        if (result)
            log_line("can't answer: %s", strerror(-result));
    }
}

/* `moving`: called from within a move. */
static int pump(struct shepherd *shepherd, bool moving) {
    struct capsule_child report;
    struct relay_event event;
    struct agentlink_message message;
    int found;
    while ((found = capsule_next_child(&shepherd->capsule, &report)) > 0)
        child(shepherd, &report);
    if (found < 0) {
        log_line("the capsule's init is gone");
        shepherd->quit = true;
    }
    while (relay_next_event(shepherd->relay, &event))
        relay_said(shepherd, &event);
    while (!shepherd->quit && agentlink_next(shepherd->agent, &message))
        agent_said(shepherd, &message, moving);
    shepherd_announce_each_second(shepherd);
    if (shepherd->fenced || shepherd->quit)
        return -ESTALE;
    if (shepherd->ended)
        return -ESRCH;
    return shepherd->aborted ? -ECANCELED : 0;
}

int shepherd_pump(struct shepherd *shepherd) {
    return pump(shepherd, true);
}

int shepherd_loop(struct shepherd *shepherd) {
    bool told = false;
    while (!shepherd->fenced && !shepherd->quit) {
        shepherd->aborted = false;
        (void)pump(shepherd, false);
        if (shepherd->ended && shepherd->exit_acked) {
            tell_end(shepherd);
            told = true;
            break;
        }
        if (shepherd->fenced || shepherd->quit)
            break;
        struct pollfd wait[3] = {{agentlink_fd(shepherd->agent), POLLIN, 0},
                                 {relay_event_fd(shepherd->relay), POLLIN, 0},
                                 {shepherd->capsule.control, POLLIN, 0}};
        uint64_t now = monotonic_ns();
        uint64_t next = shepherd->next_announce_ns;
        int left_ms = next > now ? (int)((next - now) / 1000000) + 1 : 0;
        if (poll(wait, 3, left_ms) < 0 && errno != EINTR) {
            log_line("poll: %s", strerror(errno));
            return 1;
        }
    }
    return told || !shepherd->ended ? 0 : 1;
}
