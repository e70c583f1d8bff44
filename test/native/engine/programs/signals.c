/* Pending signals with what they carry, in order; handlers, masks, an ignored one; a pipe of its own with contents. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static int got[8], count;
static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    if (count < 8)
        got[count++] = info->si_value.sival_int;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO}, now;
    sigaction(SIGRTMIN + 1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigset_t block, pending;
    sigemptyset(&block);
    sigaddset(&block, SIGRTMIN + 1);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, NULL);
    for (int i = 0; i < 3; i++)
        sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 100 + i});
    raise(SIGUSR1);
    int ends[2], copy, null = open("/dev/null", O_RDWR);
    if (pipe2(ends, O_NONBLOCK) || write(ends[1], "in the pipe", 11) != 11)
        return 3;
    copy = dup2(ends[1], 77);
    fcntl(copy, F_SETFD, FD_CLOEXEC);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){500, 600});
    prctl(PR_SET_NAME, "renamed");
    printf("ready\n");
    fflush(stdout);
    char line[16], text[32], name[16];
    if (!fgets(line, sizeof line, stdin))
        return 4;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    prctl(PR_GET_NAME, name);
    if (limit.rlim_cur != 500 || limit.rlim_max != 600 || strcmp(name, "renamed"))
        return 5;
    sigpending(&pending);
    if (!sigismember(&pending, SIGRTMIN + 1) || !sigismember(&pending, SIGUSR1))
        return 6;
    sigaction(SIGPIPE, NULL, &now);
    if (now.sa_handler != SIG_IGN)
        return 7;
    sigemptyset(&block);
    sigaddset(&block, SIGRTMIN + 1);
    sigprocmask(SIG_UNBLOCK, &block, NULL);
    if (count != 3 || got[0] != 100 || got[1] != 101 || got[2] != 102)
        return 8;
    if (!(fcntl(copy, F_GETFD) & FD_CLOEXEC) || fcntl(ends[1], F_GETFD) & FD_CLOEXEC)
        return 9;
    if (!(fcntl(ends[0], F_GETFL) & O_NONBLOCK) || write(null, "x", 1) != 1)
        return 10;
    if (write(copy, "!", 1) != 1 || read(ends[0], text, sizeof text) != 12 || memcmp(text, "in the pipe!", 12))
        return 11;
    printf("all there\n");
    return 0;
}
