/* Threads with their own storage, names, masks and alternate stacks; a mutex and a condition held across the move. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 24
static __thread int own;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static int go, wrong;
static unsigned long counters[THREADS];
static volatile int stop;

static void *run(void *argument) {
    int number = (int)(long)argument;
    char name[16];
    own = number * 1000;
    snprintf(name, sizeof name, "thread-%d", number);
    pthread_setname_np(pthread_self(), name);
    pid_t tid = (pid_t)syscall(SYS_gettid);
    stack_t stack = {.ss_sp = malloc(SIGSTKSZ * 4), .ss_size = SIGSTKSZ * 4}, now;
    sigaltstack(&stack, NULL);
    sigset_t mask, got;
    sigemptyset(&mask);
    sigaddset(&mask, SIGRTMIN + number % 8);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    if (number % 2) {
        while (!stop)
            counters[number]++;
    } else {
        pthread_mutex_lock(&lock);
        while (!go)
            pthread_cond_wait(&turn, &lock);
        pthread_mutex_unlock(&lock);
    }
    char again[16];
    prctl(PR_GET_NAME, again);
    sigaltstack(NULL, &now);
    pthread_sigmask(SIG_BLOCK, NULL, &got);
    if (own != number * 1000 || strcmp(name, again) || tid != (pid_t)syscall(SYS_gettid) || now.ss_sp != stack.ss_sp ||
        !sigismember(&got, SIGRTMIN + number % 8) || sigismember(&got, SIGRTMIN + (number + 1) % 8))
        __atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i))
            return 3;
    printf("ready\n");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin))
        return 4;
    pthread_mutex_lock(&lock);
    go = 1;
    pthread_cond_broadcast(&turn);
    pthread_mutex_unlock(&lock);
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%d wrong\n", wrong);
    return wrong != 0;
}
