/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A table of fixed size. A child is STARTING until it executes its program: a close-on-exec pipe
 * then ends without a word; a child that can't says on it what failed and why. (What it does before, such as asking for
 * the user's groups, may take long; the launcher does not wait for it.) An ended child stays in the table for a while,
 * so that an agent that was dead at that moment is told by the next `running` … `ended`.
 *
 * Pids can't be mistaken: a child's pid is not free before it is reaped, and only the launcher reaps.
 */
#include "children.h"
#include "child_setup.h"
#include "native.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct child *by_number(struct children *children, uint64_t number) {
    for (int i = 0; i < children->used; i++)
        if (children->list[i].stage != CHILD_FREE && !children->list[i].silent && children->list[i].number == number)
            return &children->list[i];
    return NULL;
}

/* Forget children whose end has been told long enough; with `oldest`, the oldest of them however young. */
static void forget_ended(struct children *children, int64_t at_ms, bool oldest) {
    struct child *first = NULL;
    for (int i = 0; i < children->used; i++) {
        struct child *child = &children->list[i];
        if (child->stage != CHILD_ENDED)
            continue;
        if (at_ms - child->ended_ms > ENDED_KEPT_MS)
            child->stage = CHILD_FREE;
        else if (first == NULL || child->ended_ms < first->ended_ms)
            first = child;
    }
    if (oldest && first != NULL)
        first->stage = CHILD_FREE;
    while (children->used > 0 && children->list[children->used - 1].stage == CHILD_FREE)
        children->used--;
}

static struct child *free_entry(struct children *children) {
    for (int i = 0; i < children->used; i++)
        if (children->list[i].stage == CHILD_FREE)
            return &children->list[i];
    return children->used < MAX_CHILDREN ? &children->list[children->used++] : NULL;
}

static void start_failed(struct agent *agent, uint64_t number, const char *reason) {
    report_line("can't start %llu: %s", (unsigned long long)number, reason);
    agent_say(agent, "failed %llu %s", (unsigned long long)number, reason);
}

static int fork_native(struct children *children, struct child *child, const struct request *request) {
    struct native_start start = {
        .request = request,
        .program = request->role == ROLE_DEPUTY ? children->programs->runon : children->programs->shepherd,
        .restorer = children->programs->restorer,
        .state = children->state,
        .log = children->log,
        .launcher = getpid(),
    };
    int word[2];
    if (start.program < 0)
        return -ENOENT;
    if (pipe2(word, O_CLOEXEC) != 0)
        return -errno;
    start.word = word[1];
    pid_t pid = fork();
    if (pid == 0)
        native_run(&start);
    int error = errno;
    close(word[1]);
    if (pid < 0) {
        close(word[0]);
        return -error;
    }
    *child = (struct child){
        .stage = CHILD_STARTING,
        .number = request->number,
        .pid = pid,
        .role = request->role,
        .uid = request->uid,
        .word = word[0],
    };
    memcpy(child->task, request->task, sizeof child->task);
    return 0;
}

void children_start(struct children *children, struct agent *agent, const struct request *request) {
    uid_t own = getuid();
    char reason[128];
    int64_t at_ms = now_ms();
    forget_ended(children, at_ms, false);
    if (by_number(children, request->number) != NULL) {
        /* An answer would be taken for the first one's. */
        report_line("refused from the agent: start %llu: the number is taken", (unsigned long long)request->number);
        return;
    }
    if (own != 0 && (request->uid != own || request->gid != getgid())) {
        snprintf(reason, sizeof reason, "this launcher serves uid %u gid %u alone", (unsigned)own, (unsigned)getgid());
        start_failed(agent, request->number, reason);
        return;
    }
    struct child *child = free_entry(children);
    if (child == NULL) {
        forget_ended(children, at_ms, true);
        child = free_entry(children);
    }
    if (child == NULL) {
        snprintf(reason, sizeof reason, "there are %d deputies and shepherds already", MAX_CHILDREN);
        start_failed(agent, request->number, reason);
        return;
    }
    int result = fork_native(children, child, request);
    if (result == -ENOENT)
        snprintf(reason, sizeof reason, "the program for a %s is not built: run `npm run setup`",
                 role_name(request->role));
    else
        snprintf(reason, sizeof reason, "%s", strerror(-result));
    if (result != 0)
        start_failed(agent, request->number, reason);
}

void children_signal(struct children *children, const struct request *request) {
    struct child *child = by_number(children, request->number);
    /* One that has just ended is no news: its `ended` is on the way. */
    if (child == NULL || child->stage == CHILD_ENDED)
        return;
    if (kill(child->pid, request->signal) != 0)
        report_line("can't send signal %d to %llu: %s", request->signal, (unsigned long long)request->number,
                    strerror(errno));
}

int children_poll(const struct children *children, struct pollfd *watched, int room) {
    int count = 0;
    for (int i = 0; i < children->used && count < room; i++)
        if (children->list[i].stage == CHILD_STARTING)
            watched[count++] = (struct pollfd){.fd = children->list[i].word, .events = POLLIN};
    return count;
}

/* Whether something was heard from a child that starts. The pipe is non-blocking for nobody: poll first. */
static bool heard(struct child *child, struct agent *agent) {
    struct native_word word;
    struct pollfd ready = {.fd = child->word, .events = POLLIN};
    if (poll(&ready, 1, 0) <= 0)
        return false;
    ssize_t length = read(child->word, &word, sizeof word);
    close(child->word);
    child->word = -1;
    child->stage = CHILD_RUNNING;
    if (length != sizeof word) {
        agent_say(agent, "started %llu %d", (unsigned long long)child->number, (int)child->pid);
        return true;
    }
    char reason[128];
    word.step[sizeof word.step - 1] = 0;
    snprintf(reason, sizeof reason, "%s: %s", word.step, strerror(word.error));
    start_failed(agent, child->number, reason);
    child->silent = true;
    return true;
}

void children_progress(struct children *children, struct agent *agent) {
    for (int i = 0; i < children->used; i++)
        if (children->list[i].stage == CHILD_STARTING)
            heard(&children->list[i], agent);
}

static void tell_end(const struct child *child, struct agent *agent) {
    bool by_signal = WIFSIGNALED(child->wait_status);
    agent_say(agent, "ended %llu %s %d", (unsigned long long)child->number, by_signal ? "signal" : "exit",
              by_signal ? WTERMSIG(child->wait_status) : WEXITSTATUS(child->wait_status));
}

bool children_reaped(struct children *children, struct agent *agent, pid_t pid, int wait_status, int64_t at_ms) {
    struct child *child = NULL;
    for (int i = 0; i < children->used && child == NULL; i++)
        if ((children->list[i].stage == CHILD_STARTING || children->list[i].stage == CHILD_RUNNING) &&
            children->list[i].pid == pid)
            child = &children->list[i];
    if (child == NULL)
        return false;
    /* Its pipe has ended, or something it left behind holds it open; that does not matter any more. */
    if (child->stage == CHILD_STARTING && !heard(child, agent)) {
        close(child->word);
        child->word = -1;
    }
    if (child->silent) {
        child->stage = CHILD_FREE;
        return true;
    }
    child->stage = CHILD_ENDED;
    child->wait_status = wait_status;
    child->ended_ms = at_ms;
    tell_end(child, agent);
    return true;
}

void children_tell(struct children *children, struct agent *agent, int64_t at_ms) {
    forget_ended(children, at_ms, false);
    for (int i = 0; i < children->used; i++) {
        const struct child *child = &children->list[i];
        if (child->stage == CHILD_FREE || child->silent)
            continue;
        agent_say(agent, "running %llu %s %u %s %d", (unsigned long long)child->number, role_name(child->role),
                  (unsigned)child->uid, child->task, (int)child->pid);
        if (child->stage == CHILD_ENDED)
            tell_end(child, agent);
    }
    agent_say(agent, "ready");
}

void children_signal_all(const struct children *children, int signal) {
    for (int i = 0; i < children->used; i++)
        if ((children->list[i].stage == CHILD_STARTING || children->list[i].stage == CHILD_RUNNING) &&
            kill(children->list[i].pid, signal) != 0)
            report_line("can't send signal %d to %d: %s", signal, (int)children->list[i].pid, strerror(errno));
}

int children_alive(const struct children *children) {
    int count = 0;
    for (int i = 0; i < children->used; i++)
        count += children->list[i].stage == CHILD_STARTING || children->list[i].stage == CHILD_RUNNING;
    return count;
}
