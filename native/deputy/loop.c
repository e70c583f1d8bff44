/* SPDX-License-Identifier: Apache-2.0
 *
 * The deputy's loop: shepherds, the agent, the standard streams, signals, changes of home's files, and time.
 */
#include "../common/log.h"
#include "deputy.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum { ROUTER, AGENT, SIGNALS, HOME_FILES, INPUT, OUTPUT, ERROR, SOURCES };

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void tick(struct deputy *deputy) {
    int64_t now = now_ms();
    if (now >= deputy->next_announce_ms)
        agent_announce(deputy);
    if (deputy->exit_acked && now >= deputy->end_deadline_ms)
        task_over(deputy);
    if (deputy->falling_asleep && now >= deputy->asleep_deadline_ms)
        signals_sleep(deputy);
    if (deputy->granted && !deputy->started && !deputy->ending && now >= deputy->start_deadline_ms)
        fail(deputy, "node %u did not start the task in time: look at native.log there", deputy->host);
    if (deputy->started && !deputy->stopped_by && !deputy->ending)
        terminal_raw(&deputy->terminal); /* `fg` may have brought us back without a word */
}

static int wait_for(struct deputy *deputy, struct pollfd *wait, int router) {
    memset(wait, 0, SOURCES * sizeof *wait);
    wait[ROUTER] = (struct pollfd){router, POLLIN, 0};
    wait[AGENT] = (struct pollfd){agentlink_fd(deputy->agent), POLLIN, 0};
    wait[SIGNALS] = (struct pollfd){deputy->signals, POLLIN, 0};
    wait[HOME_FILES] = (struct pollfd){homefs_poll_fd(deputy->homefs), POLLIN, 0};
    wait[INPUT] = (struct pollfd){input_wanted(deputy) ? 0 : -1, POLLIN, 0};
    for (int i = 0; i < 2; i++)
        wait[OUTPUT + i] = (struct pollfd){deputy->output[i].blocked ? deputy->output[i].descriptor : -1, POLLOUT, 0};
    int64_t left = deputy->next_announce_ms - now_ms();
    if (deputy->falling_asleep && left > 50)
        left = 50;
    int timeout = sessions_ready(deputy) ? 0 : left < 0 ? 0 : left > 1000 ? 1000 : (int)left;
    int count = poll(wait, SOURCES, timeout);
    return count < 0 && errno != EINTR ? -errno : 0;
}

int deputy_loop(struct deputy *deputy) {
    int router = -1;
    size_t size = sizeof router;
    if (zmq_getsockopt(deputy->router, ZMQ_FD, &router, &size)) {
        fail(deputy, "can't wait for the task's host: %s", zmq_strerror(zmq_errno()));
        return deputy->exit_status;
    }
    while (deputy->exit_status < 0) {
        struct pollfd wait[SOURCES];
        int result = wait_for(deputy, wait, router);
        if (result) {
            fail(deputy, "poll: %s", strerror(-result));
            break;
        }
        sessions_receive(deputy);
        if (wait[AGENT].revents)
            agent_receive(deputy);
        if (wait[SIGNALS].revents)
            signals_receive(deputy);
        if (wait[HOME_FILES].revents)
            homefs_poll(deputy->homefs);
        if (wait[INPUT].revents && input_wanted(deputy))
            input_read(deputy);
        for (int i = 0; i < 2; i++)
            if (wait[OUTPUT + i].revents)
                output_write(deputy, i + 1);
        tick(deputy);
    }
    return deputy->exit_status;
}
