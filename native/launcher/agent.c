/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. The agent is `node dist/runtime/agent/main.js --config FILE` with a socketpair as descriptor 3.
 * It may die at any time: every agent gets a new socketpair, so that nothing of an old conversation is taken for the
 * new one's, and is told of all children before `ready`. Lines that arrive broken are refused one by one. An agent that
 * does not read what it is told until the outbox is full is as good as dead and is killed, which heals both.
 */
#include "agent.h"
#include "child_setup.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACK_OFF_LEAST_MS 100
#define BACK_OFF_MOST_MS 2000
/* One that lived this long did not die of what killed the last one. */
#define STABLE_MS 10000
#define SHOWN_BYTES 60
#define AGENT_SOCKET 3

void agent_init(struct agent *agent) {
    memset(agent, 0, sizeof *agent);
    agent->socket = agent->output = -1;
    agent->back_off_ms = BACK_OFF_LEAST_MS;
}

static _Noreturn void run_agent(const char *main_path, const struct config *config, int socket, int output,
                                pid_t launcher) {
    char *arguments[] = {"node", (char *)main_path, "--config", (char *)config->path, NULL};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    /* Out of the way of the descriptors that are about to be set. */
    socket = fcntl(socket, F_DUPFD_CLOEXEC, AGENT_SOCKET + 1);
    output = fcntl(output, F_DUPFD_CLOEXEC, AGENT_SOCKET + 1);
    if (null < 0 || socket < 0 || output < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
        dup2(output, STDERR_FILENO) < 0 || dup2(socket, AGENT_SOCKET) < 0 ||
        close_range(AGENT_SOCKET + 1, ~0u, CLOSE_RANGE_CLOEXEC) != 0 || child_setup(launcher) != 0)
        _exit(1);
    execvp("node", arguments);
    dprintf(STDERR_FILENO, "can't start node: %s\n", strerror(errno));
    _exit(1);
}

int agent_start(struct agent *agent, const char *main_path, const struct config *config) {
    int ends[2], output[2];
    if (access(main_path, R_OK) != 0)
        return -errno;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    int result = pipe2(output, O_CLOEXEC) == 0 ? 0 : -errno;
    if (result != 0) {
        close(ends[0]);
        close(ends[1]);
        return result;
    }
    pid_t launcher = getpid();
    pid_t pid = fork();
    if (pid == 0)
        run_agent(main_path, config, ends[1], output[1], launcher);
    result = pid < 0 ? -errno : 0;
    close(ends[1]);
    close(output[1]);
    if (result == 0 && (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(output[0], F_SETFL, O_NONBLOCK) != 0))
        result = -errno;
    if (result != 0) {
        close(ends[0]);
        close(output[0]);
        if (pid > 0)
            kill(pid, SIGKILL); /* reaped as an unknown child */
        return result;
    }
    agent->pid = pid;
    agent->socket = ends[0];
    agent->output = output[0];
    agent->ready = agent->skipping = false;
    agent->in_length = agent->out_length = agent->words_length = 0;
    agent->first_words[0] = 0;
    agent->started_ms = now_ms();
    agent->restart_ms = 0;
    return 0;
}

void agent_say(struct agent *agent, const char *format, ...) {
    if (agent->socket < 0)
        return;
    size_t room = sizeof agent->out - agent->out_length;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(agent->out + agent->out_length, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length + 1 >= room) {
        report_line("the agent does not read what it is told: starting it anew");
        kill(agent->pid, SIGKILL);
        close(agent->socket);
        agent->socket = -1;
        agent->deaf_ms = now_ms();
        return;
    }
    agent->out_length += (size_t)length;
    agent->out[agent->out_length++] = '\n';
}

void agent_flush(struct agent *agent) {
    while (agent->socket >= 0 && agent->out_length > 0) {
        ssize_t sent = send(agent->socket, agent->out, agent->out_length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0) {
            agent->out_length = 0; /* it has ended: the next one is told everything anew */
            return;
        }
        memmove(agent->out, agent->out + sent, agent->out_length - (size_t)sent);
        agent->out_length -= (size_t)sent;
    }
}

/* What may be shown of a line that can contain anything. */
static const char *printable(const char *line, char *shown) {
    size_t length = 0;
    for (; line[length] != 0 && length < SHOWN_BYTES; length++)
        shown[length] = line[length] >= ' ' && line[length] < 127 ? line[length] : '?';
    strcpy(shown + length, line[length] != 0 ? "..." : "");
    return shown;
}

static void refuse(const char *line, const char *why) {
    char shown[SHOWN_BYTES + 4];
    report_line("refused from the agent: %s: \"%s\"", why, printable(line, shown));
}

static void take_line(struct agent *agent, size_t length, void (*obey)(void *, const struct request *), void *context) {
    struct request request;
    agent->in[length] = 0;
    if (agent->skipping) {
        agent->skipping = false;
        return;
    }
    const char *wrong = strlen(agent->in) == length ? request_parse(agent->in, &request) : "it contains a zero byte";
    if (wrong != NULL)
        refuse(agent->in, wrong);
    else
        obey(context, &request);
}

void agent_read(struct agent *agent, void (*obey)(void *context, const struct request *request), void *context) {
    /* Bounded, so that a flood of requests does not keep signals waiting. */
    for (int turn = 0; turn < 64 && agent->socket >= 0; turn++) {
        size_t room = sizeof agent->in - 1 - agent->in_length;
        ssize_t got = recv(agent->socket, agent->in + agent->in_length, room, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            close(agent->socket);
            agent->socket = -1;
            /* It is most likely ending; its status is worth waiting for. */
            agent->deaf_ms = now_ms();
            return;
        }
        agent->in_length += (size_t)got;
        char *end;
        while ((end = memchr(agent->in, '\n', agent->in_length)) != NULL) {
            size_t length = (size_t)(end - agent->in);
            take_line(agent, length, obey, context);
            agent->in_length -= length + 1;
            memmove(agent->in, end + 1, agent->in_length);
        }
        if (agent->in_length == sizeof agent->in - 1) {
            agent->in[agent->in_length] = 0;
            if (!agent->skipping)
                refuse(agent->in, "too long");
            agent->skipping = true;
            agent->in_length = 0;
        }
    }
}

static void log_words(struct agent *agent) {
    if (agent->words_length == 0)
        return;
    agent->words[agent->words_length] = 0;
    agent->words_length = 0;
    if (agent->first_words[0] == 0) {
        strcpy(agent->first_words, agent->words);
        /* Kept back: should it not become ready, this is why, and is said once. */
        if (!agent->was_ready && !report_is_detached())
            return;
    }
    report_line("agent: %s", agent->words);
}

void agent_is_ready(struct agent *agent) {
    if (!agent->was_ready && !report_is_detached() && agent->first_words[0] != 0)
        report_line("agent: %s", agent->first_words);
    agent->ready = agent->was_ready = true;
}

void agent_read_output(struct agent *agent) {
    for (int turn = 0; turn < 64 && agent->output >= 0; turn++) {
        char piece[512];
        ssize_t got = read(agent->output, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            close(agent->output);
            agent->output = -1;
            break;
        }
        for (ssize_t i = 0; i < got; i++) {
            if (piece[i] == '\n' || agent->words_length == sizeof agent->words - 1)
                log_words(agent);
            if (piece[i] != '\n' && piece[i] != 0)
                agent->words[agent->words_length++] = piece[i];
        }
    }
    if (agent->output < 0)
        log_words(agent);
}

void agent_ended(struct agent *agent, int64_t at_ms) {
    agent_read_output(agent);
    log_words(agent);
    if (agent->socket >= 0)
        close(agent->socket);
    if (agent->output >= 0)
        close(agent->output);
    agent->socket = agent->output = -1;
    agent->pid = 0;
    agent->ready = false;
    if (at_ms - agent->started_ms >= STABLE_MS)
        agent->back_off_ms = BACK_OFF_LEAST_MS;
    agent->restart_ms = at_ms + agent->back_off_ms;
    agent->back_off_ms = agent->back_off_ms * 2 < BACK_OFF_MOST_MS ? agent->back_off_ms * 2 : BACK_OFF_MOST_MS;
}
