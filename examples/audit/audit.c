/*
 * audit: looks for weak passwords, the way administrators of the 1990s did.
 *
 * Theory of operation. A shadow file has lines `user:hash`. Every word of a word list is hashed with each
 * user's salt by crypt(3) and compared; nothing is clever about it, which is the point: it is a plain
 * CPU-bound program with a file to read, a little memory and a little output, that knows nothing of Skein.
 * The list can be split between several audits: `--share 2/3` takes the second word of every three.
 *
 *     audit [--share K/N] SHADOW WORDS     prints `user: word` for each password found, then a summary
 *     audit --hash SALT WORD               prints the hash of one word (to make a shadow file)
 *     audit --rate SALT                    prints how many words a second this machine hashes
 */
#include <crypt.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_USERS = 100, MAX_LINE_BYTES = 512, RATE_SAMPLE_MS = 300 };

struct user {
    char name[64];
    char hash[CRYPT_OUTPUT_SIZE];
    bool found;
};

static struct crypt_data scratch;

static void stop(const char *what, const char *which) {
    fprintf(stderr, "audit: %s %s%s%s\n", what, which, errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
    exit(1);
}

static const char *hash_of(const char *word, const char *salt) {
    errno = 0;
    const char *hash = crypt_r(word, salt, &scratch);
    if (hash == NULL || hash[0] == '*')
        stop("crypt does not know the salt", salt);
    return hash;
}

/* Reads one line without its newline; false at the end of the file. Overlong lines are errors. */
static bool read_line(FILE *file, const char *path, char line[MAX_LINE_BYTES]) {
    errno = 0;
    if (fgets(line, MAX_LINE_BYTES, file) == NULL) {
        if (ferror(file))
            stop("cannot read", path);
        return false;
    }
    size_t length = strcspn(line, "\n");
    if (line[length] == '\0' && !feof(file))
        stop("a line is too long in", path);
    line[length] = '\0';
    return true;
}

static FILE *open_for_reading(const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL)
        stop("cannot open", path);
    return file;
}

static int read_users(const char *path, struct user users[MAX_USERS]) {
    char line[MAX_LINE_BYTES];
    FILE *file = open_for_reading(path);
    int count = 0;
    while (read_line(file, path, line)) {
        char *colon = strchr(line, ':');
        if (colon == NULL || count == MAX_USERS || colon - line >= (long)sizeof users->name ||
            strlen(colon + 1) >= sizeof users->hash)
            stop("cannot use a line of", path);
        struct user *user = &users[count++];
        *colon = '\0';
        memcpy(user->name, line, (size_t)(colon - line) + 1);
        memcpy(user->hash, colon + 1, strlen(colon + 1) + 1);
        user->found = false;
    }
    fclose(file);
    return count;
}

static int audit(const char *shadow_path, const char *words_path, unsigned share, unsigned shares) {
    static struct user users[MAX_USERS];
    int user_count = read_users(shadow_path, users);
    FILE *words = open_for_reading(words_path);
    char word[MAX_LINE_BYTES];
    unsigned long line_number = 0, tried = 0;
    int found = 0;

    while (read_line(words, words_path, word)) {
        if (line_number++ % shares != share - 1)
            continue;
        tried++;
        for (int i = 0; i < user_count; i++) {
            struct user *user = &users[i];
            if (user->found || strcmp(hash_of(word, user->hash), user->hash) != 0)
                continue;
            user->found = true;
            found++;
            printf("%s: %s\n", user->name, word);
            fflush(stdout);
        }
    }
    fclose(words);
    printf("%lu words tried, %d found\n", tried, found);
    return fflush(stdout) == 0 ? 0 : 1;
}

static double now_seconds(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        stop("cannot read", "the clock");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_rate(const char *salt) {
    double start = now_seconds(), elapsed;
    unsigned long count = 0;
    do {
        hash_of("gosling", salt);
        count++;
        elapsed = now_seconds() - start;
    } while (elapsed < RATE_SAMPLE_MS / 1e3);
    printf("%.0f\n", (double)count / elapsed);
}

int main(int argc, char **argv) {
    unsigned share = 1, shares = 1;
    if (argc == 4 && strcmp(argv[1], "--hash") == 0) {
        puts(hash_of(argv[3], argv[2]));
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "--rate") == 0) {
        print_rate(argv[2]);
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "--share") == 0) {
        if (sscanf(argv[2], "%u/%u", &share, &shares) != 2 || share < 1 || share > shares)
            stop("no such share:", argv[2]);
        argv += 2;
        argc -= 2;
    }
    if (argc != 3) {
        fputs("usage: audit [--share K/N] SHADOW WORDS | --hash SALT WORD | --rate SALT\n", stderr);
        return 2;
    }
    return audit(argv[1], argv[2], share, shares);
}
