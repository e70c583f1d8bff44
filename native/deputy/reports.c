/* SPDX-License-Identifier: Apache-2.0
 *
 * What the task's host tells of it.
 */
#include "../common/log.h"
#include "deputy.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* How long it is tried to tell the agent of the end. Where nobody waits for us there is time. */
#define TOLD_TIMEOUT_MS 2000
#define TOLD_DETACHED_TIMEOUT_MS 60000

void task_started(struct deputy *deputy) {
    if (deputy->started)
        return;
    deputy->started = true;
    terminal_raw(&deputy->terminal);
    agent_announce(deputy);
}

void task_state(struct deputy *deputy, int stop_signal) {
    if (stop_signal < 0 || stop_signal > 64 || stop_signal == deputy->stopped_by)
        return;
    deputy->stopped_by = stop_signal;
    agent_announce(deputy);
    /* As a program that is run here would: the shell gets its prompt back. Away from a terminal nobody sees that, and
     * SIGSTOP, which `skein kill` can send, must leave somebody awake to pass on SIGCONT. */
    if (stop_signal == SIGTSTP || stop_signal == SIGTTIN || stop_signal == SIGTTOU ||
        (stop_signal == SIGSTOP && deputy->terminal.interactive))
        signals_fall_asleep(deputy);
}

static void end(struct deputy *deputy, int wait_status) {
    deputy->ending = true;
    deputy->wait_status = wait_status;
    task_try_end(deputy);
}

void task_exit(struct deputy *deputy, int wait_status, const void *usage, size_t length) {
    if (deputy->ending)
        return task_try_end(deputy);
    if (length == sizeof deputy->usage)
        memcpy(&deputy->usage, usage, length);
    end(deputy, wait_status);
}

void task_exec_failed(struct deputy *deputy, int error, const void *step, size_t length) {
    if (deputy->ending)
        return task_try_end(deputy);
    int code = 125;
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)(length < 60 ? length : 60), (const char *)step);
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < 32)
            *at = '?';
    if (strcmp(text, "exec") != 0) {
        fprintf(stderr, "runon: node %u could not start the task: %s: %s\n", deputy->host, text, strerror(error));
    } else {
        const char *command = deputy->options.command ? deputy->options.command[0] : "the command";
        code = error == ENOENT ? 127 : 126;
        fprintf(stderr, "runon: %s: %s\n", command, error == ENOENT ? "no such command" : strerror(error));
    }
    end(deputy, code << 8);
}

static int shell_status(int wait_status) {
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

void task_try_end(struct deputy *deputy) {
    struct session *session = sessions_current(deputy);
    if (!deputy->ending || !output_done(deputy))
        return;
    for (int i = 0; i < SESSIONS && !session; i++)
        if (deputy->sessions[i].state != SESSION_FREE)
            session = &deputy->sessions[i];
    if (session)
        session_send(deputy, session, DP_EXIT_ACK, 0, 0, 0, NULL, 0);
    if (deputy->exit_acked)
        return;
    deputy->exit_acked = true;
    deputy->end_deadline_ms = now_ms() + (deputy->options.deputy ? TOLD_DETACHED_TIMEOUT_MS : TOLD_TIMEOUT_MS);
    terminal_restore(&deputy->terminal);
    agent_ended(deputy);
}

/* Called by the agent's part once it knows, or by the loop when it does not answer. */
void task_over(struct deputy *deputy) {
    if (deputy->exit_status < 0)
        deputy->exit_status = shell_status(deputy->wait_status);
}
