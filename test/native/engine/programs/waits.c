/* Sleeps, polls and futex waits that are in progress end when they should; timers of all kinds go on. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static double at(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static double now(void) {
    return at(CLOCK_MONOTONIC);
}
#define WAIT 2.5
#define LATE 1.5 /* on a busy machine */
static int wrong;
static void verdict(const char *what, double took, int failed) {
    if (failed || took < WAIT - 0.01 || took > WAIT + LATE) {
        printf("%s: %s after %.3f s\n", what, failed ? strerror(errno) : "ended", took);
        __atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
    }
}
static void *sleeper(void *unused) {
    double began = now();
    int result = nanosleep(&(struct timespec){2, 500000000}, NULL);
    verdict("nanosleep", now() - began, result);
    return unused;
}
static void *clock_sleeper(void *unused) {
    double began = now();
    errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){2, 500000000}, NULL);
    verdict("clock_nanosleep", now() - began, errno);
    return unused;
}
static void *absolute_sleeper(void *unused) {
    double began = now();
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += 2, t.tv_nsec += 500000000;
    if (t.tv_nsec >= 1000000000)
        t.tv_sec++, t.tv_nsec -= 1000000000;
    errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    verdict("absolute clock_nanosleep", now() - began, errno);
    return unused;
}
static void *poller(void *unused) {
    int ends[2];
    double began = now();
    if (pipe(ends))
        return unused;
    struct pollfd wait = {ends[0], POLLIN, 0};
    int result = poll(&wait, 1, 2500);
    verdict("poll", now() - began, result != 0);
    return unused;
}
static void *selecter(void *unused) {
    double began = now();
    struct timeval t = {2, 500000};
    int result = select(0, NULL, NULL, NULL, &t);
    verdict("select", now() - began, result != 0);
    return unused;
}
static void *waiter(void *unused) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    struct timespec t;
    /* On the wall clock, which the pause of a move counts for. */
    double began = at(CLOCK_REALTIME);
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 2, t.tv_nsec += 500000000;
    if (t.tv_nsec >= 1000000000)
        t.tv_sec++, t.tv_nsec -= 1000000000;
    pthread_mutex_lock(&lock);
    errno = pthread_cond_timedwait(&never, &lock, &t);
    int result = errno != ETIMEDOUT;
    pthread_mutex_unlock(&lock);
    verdict("condition", at(CLOCK_REALTIME) - began, result);
    return unused;
}
static volatile sig_atomic_t alarms, ticks, payload;
static void on_alarm(int signal) {
    (void)signal;
    alarms++;
}
static void on_tick(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    ticks += 1 + info->si_overrun;
    payload = info->si_value.sival_int;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGRTMIN + 3, &action, NULL);
    signal(SIGALRM, on_alarm);
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGALRM);
    sigaddset(&both, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &both, NULL);
    void *(*const kinds[])(void *) = {sleeper, clock_sleeper, absolute_sleeper, poller, selecter, waiter};
    pthread_t threads[6];
    for (int i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, kinds[i], NULL);
    pthread_sigmask(SIG_UNBLOCK, &both, NULL);
    timer_t timer, other;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3, .sigev_value.sival_int = 4711};
    timer_create(CLOCK_MONOTONIC, &event, &other);
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_delete(other);
    timer_settime(timer, 0, &(struct itimerspec){{0, 100000000}, {0, 100000000}}, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {1, 0}}, NULL);
    double began = now();
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    double took = now() - began;
    if (ticks < took * 10 - 4 || ticks > took * 10 + 2 || payload != 4711)
        printf("timer: %d ticks in %.3f s\n", (int)ticks, took), wrong++;
    if (alarms != 1)
        printf("alarm: %d\n", (int)alarms), wrong++;
    printf("%d wrong\n", wrong);
    return wrong != 0;
}
