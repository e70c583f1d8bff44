/*
 * hotset: a process whose memory is worth moving, that watches itself while it is moved.
 *
 * Theory of operation. It fills `--total-mib` of memory with numbers that follow from their place (so they can
 * be checked, and no page is zero), then writes blocks of a hot area of `--hot-mib` round and round, checking
 * in each block what it wrote there the round before, and in passing a little of the cold memory. Between two
 * blocks it reads CLOCK_REALTIME, the only clock that does not hide the pause of a migration, and tells of any
 * gap longer than `--tell-ms`:
 *
 *     ready                           memory is filled, the loop begins
 *     gap MILLISECONDS ENDED          ENDED is in milliseconds since 1970
 *     ok BLOCKS longest MILLISECONDS  at SIGTERM, or after `--blocks`: all memory was checked once more
 *     wrong …                         memory is not what was written (status 1)
 *
 * With `--hot-mib 0` it only sleeps, until SIGTERM: a process with much memory and nothing hot.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { BLOCK_BYTES = 64 * 1024, BLOCK_WORDS = BLOCK_BYTES / 8, MIB = 1024 * 1024 };

static volatile sig_atomic_t stop_asked;

static void ask_stop(int signal_number) {
    (void)signal_number;
    stop_asked = 1;
}

static uint64_t word_of(uint64_t block, uint64_t generation, uint64_t index) {
    uint64_t value = (block << 40) ^ (generation << 13) ^ index;
    value *= 0x9e3779b97f4a7c15u;
    return value ^ (value >> 29);
}

static void write_block(uint64_t *memory, uint64_t block, uint64_t generation) {
    uint64_t *words = memory + block * BLOCK_WORDS;
    for (uint64_t index = 0; index < BLOCK_WORDS; index++)
        words[index] = word_of(block, generation, index);
}

static void check_block(const uint64_t *memory, uint64_t block, uint64_t generation) {
    const uint64_t *words = memory + block * BLOCK_WORDS;
    for (uint64_t index = 0; index < BLOCK_WORDS; index++) {
        if (words[index] == word_of(block, generation, index))
            continue;
        printf("wrong word %" PRIu64 " of block %" PRIu64 " in generation %" PRIu64 ": %016" PRIx64 "\n", index, block,
               generation, words[index]);
        exit(1);
    }
}

static double realtime_ms(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) {
        perror("hotset: clock_gettime");
        exit(1);
    }
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

struct options {
    uint64_t total_mib, hot_mib, blocks, tell_ms;
};

static struct options parse(int argc, char **argv) {
    struct options options = {.total_mib = 1024, .hot_mib = 16, .blocks = UINT64_MAX, .tell_ms = 3};
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--total-mib") == 0)
            options.total_mib = value;
        else if (strcmp(argv[i], "--hot-mib") == 0)
            options.hot_mib = value;
        else if (strcmp(argv[i], "--blocks") == 0)
            options.blocks = value;
        else if (strcmp(argv[i], "--tell-ms") == 0)
            options.tell_ms = value;
        else
            argc = 0;
    }
    if (argc % 2 != 1 || options.total_mib == 0 || options.hot_mib > options.total_mib) {
        fputs("usage: hotset [--total-mib N] [--hot-mib N] [--blocks N] [--tell-ms N]\n", stderr);
        exit(2);
    }
    return options;
}

static void sleep_until_asked(void) {
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    while (!stop_asked)
        sigsuspend(&before);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

int main(int argc, char **argv) {
    struct options options = parse(argc, argv);
    uint64_t total_blocks = options.total_mib * MIB / BLOCK_BYTES, hot_blocks = options.hot_mib * MIB / BLOCK_BYTES;
    uint64_t *memory =
        mmap(NULL, total_blocks * BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("hotset: mmap");
        return 1;
    }
    struct sigaction action = {.sa_handler = ask_stop};
    sigaction(SIGTERM, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);

    for (uint64_t block = 0; block < total_blocks; block++)
        write_block(memory, block, 0);
    puts("ready");

    uint64_t written = 0, cold = hot_blocks;
    double longest_ms = 0, last_ms = realtime_ms();
    if (hot_blocks == 0)
        sleep_until_asked();
    while (!stop_asked && written < options.blocks) {
        uint64_t block = written % hot_blocks, generation = written / hot_blocks;
        check_block(memory, block, generation);
        write_block(memory, block, generation + 1);
        written++;
        if (cold < total_blocks && written % 16 == 0) {
            check_block(memory, cold, 0);
            cold = cold + 1 < total_blocks ? cold + 1 : hot_blocks;
        }
        double now_ms = realtime_ms(), gap_ms = now_ms - last_ms;
        last_ms = now_ms;
        if (gap_ms > longest_ms)
            longest_ms = gap_ms;
        if (gap_ms >= (double)options.tell_ms)
            printf("gap %.3f %.3f\n", gap_ms, now_ms);
    }

    for (uint64_t block = 0; block < total_blocks; block++) {
        uint64_t rounds = hot_blocks == 0 ? 0 : written / hot_blocks;
        check_block(memory, block, block < hot_blocks ? rounds + (block < written % hot_blocks) : 0);
    }
    printf("ok %" PRIu64 " longest %.3f\n", written, longest_ms);
    return fflush(stdout) == 0 ? 0 : 1;
}
