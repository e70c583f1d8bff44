/*
 * wire: what this machine's own loopback can do, to hold Skein's numbers against.
 *
 *     wire tcp BYTES      seconds to send so many bytes over one TCP connection
 *     wire plain BYTES    the same over a pair of ZeroMQ sockets, 1 MiB a message
 *     wire curve BYTES    the same under CURVE, as Skein sends pages
 *
 * Theory of operation. The process forks before any ZeroMQ context is made; the child sends, the parent
 * receives and answers with one byte, the child takes the time from the first byte to that answer, so that both
 * ends' work is in it. One unmeasured pass warms up memory and the connection. Prints seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum { CHUNK_BYTES = 1024 * 1024, WARM_UP_BYTES = 64 * 1024 * 1024, KEY_TEXT_BYTES = 41 };

static char *chunk;

static void check(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "wire: %s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

static double now_seconds(void) {
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0, "clock_gettime");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t step(uint64_t left) {
    return left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
}

/* ---- TCP */

static void tcp_send(int connection, uint64_t bytes) {
    for (uint64_t left = bytes; left > 0;) {
        ssize_t count = send(connection, chunk, step(left), MSG_NOSIGNAL);
        check(count > 0, "send");
        left -= (uint64_t)count;
    }
    char answer;
    check(recv(connection, &answer, 1, MSG_WAITALL) == 1, "answer");
}

static void tcp_receive(int connection, uint64_t bytes) {
    for (uint64_t left = bytes; left > 0;) {
        ssize_t count = recv(connection, chunk, step(left), 0);
        check(count > 0, "recv");
        left -= (uint64_t)count;
    }
    check(send(connection, "", 1, MSG_NOSIGNAL) == 1, "answer");
}

static int tcp_listen(struct sockaddr_in *address) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof *address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    check(listener >= 0 && bind(listener, (struct sockaddr *)address, length) == 0 && listen(listener, 1) == 0 &&
              getsockname(listener, (struct sockaddr *)address, &length) == 0,
          "listen");
    return listener;
}

static void tcp_child(const struct sockaddr_in *address, uint64_t bytes) {
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(connection >= 0 && connect(connection, (const struct sockaddr *)address, sizeof *address) == 0, "connect");
    tcp_send(connection, WARM_UP_BYTES);
    double start = now_seconds();
    tcp_send(connection, bytes);
    printf("%.6f\n", now_seconds() - start);
}

static void tcp_parent(int listener, uint64_t bytes) {
    int connection = accept(listener, NULL, NULL);
    check(connection >= 0, "accept");
    tcp_receive(connection, WARM_UP_BYTES);
    tcp_receive(connection, bytes);
    close(connection);
}

/* ---- ZeroMQ */

struct keys {
    char server_public[KEY_TEXT_BYTES], server_secret[KEY_TEXT_BYTES];
    char client_public[KEY_TEXT_BYTES], client_secret[KEY_TEXT_BYTES];
};

static void zmq_send_bytes(void *pair, uint64_t bytes) {
    char answer;
    for (uint64_t left = bytes; left > 0;) {
        size_t count = step(left);
        check(zmq_send(pair, chunk, count, 0) == (int)count, "zmq_send");
        left -= count;
    }
    check(zmq_recv(pair, &answer, 1, 0) == 1, "answer");
}

static void zmq_receive_bytes(void *pair, uint64_t bytes) {
    for (uint64_t left = bytes; left > 0;) {
        int count = zmq_recv(pair, chunk, CHUNK_BYTES, 0);
        check(count > 0, "zmq_recv");
        left -= (uint64_t)count;
    }
    check(zmq_send(pair, "", 1, 0) == 1, "answer");
}

static void *zmq_open(void *context, bool curve, const struct keys *keys, bool server) {
    void *pair = zmq_socket(context, ZMQ_PAIR);
    int is_server = 1;
    check(pair != NULL, "zmq_socket");
    if (curve && server) {
        check(zmq_setsockopt(pair, ZMQ_CURVE_SERVER, &is_server, sizeof is_server) == 0 &&
                  zmq_setsockopt(pair, ZMQ_CURVE_SECRETKEY, keys->server_secret, KEY_TEXT_BYTES) == 0,
              "curve");
    } else if (curve) {
        check(zmq_setsockopt(pair, ZMQ_CURVE_SERVERKEY, keys->server_public, KEY_TEXT_BYTES) == 0 &&
                  zmq_setsockopt(pair, ZMQ_CURVE_PUBLICKEY, keys->client_public, KEY_TEXT_BYTES) == 0 &&
                  zmq_setsockopt(pair, ZMQ_CURVE_SECRETKEY, keys->client_secret, KEY_TEXT_BYTES) == 0,
              "curve");
    }
    return pair;
}

static void zmq_side(bool server, bool curve, const struct keys *keys, int pipe_end, uint64_t bytes) {
    char endpoint[256] = "tcp://127.0.0.1:*";
    size_t length = sizeof endpoint;
    void *context = zmq_ctx_new();
    check(context != NULL, "zmq_ctx_new");
    void *pair = zmq_open(context, curve, keys, server);
    if (server) {
        check(zmq_bind(pair, endpoint) == 0, "zmq_bind");
        check(zmq_getsockopt(pair, ZMQ_LAST_ENDPOINT, endpoint, &length) == 0, "endpoint");
        check(write(pipe_end, endpoint, sizeof endpoint) == (ssize_t)sizeof endpoint, "pipe");
        zmq_receive_bytes(pair, WARM_UP_BYTES);
        zmq_receive_bytes(pair, bytes);
    } else {
        check(read(pipe_end, endpoint, sizeof endpoint) == (ssize_t)sizeof endpoint, "pipe");
        check(zmq_connect(pair, endpoint) == 0, "zmq_connect");
        zmq_send_bytes(pair, WARM_UP_BYTES);
        double start = now_seconds();
        zmq_send_bytes(pair, bytes);
        printf("%.6f\n", now_seconds() - start);
    }
    check(zmq_close(pair) == 0 && zmq_ctx_term(context) == 0, "close");
}

int main(int argc, char **argv) {
    uint64_t bytes = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    const char *mode = argc == 3 ? argv[1] : "";
    bool tcp = strcmp(mode, "tcp") == 0, curve = strcmp(mode, "curve") == 0;
    if (bytes == 0 || (!tcp && !curve && strcmp(mode, "plain") != 0)) {
        fputs("usage: wire tcp|plain|curve BYTES\n", stderr);
        return 2;
    }
    chunk = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    check(chunk != MAP_FAILED, "mmap");
    memset(chunk, 0x5a, CHUNK_BYTES);

    struct keys keys;
    struct sockaddr_in address;
    int listener = -1, ends[2];
    check(zmq_curve_keypair(keys.server_public, keys.server_secret) == 0 &&
              zmq_curve_keypair(keys.client_public, keys.client_secret) == 0,
          "keys");
    check(pipe(ends) == 0, "pipe");
    if (tcp)
        listener = tcp_listen(&address);

    pid_t child = fork();
    check(child >= 0, "fork");
    if (tcp && child == 0)
        tcp_child(&address, bytes);
    else if (tcp)
        tcp_parent(listener, bytes);
    else
        zmq_side(child != 0, curve, &keys, ends[child != 0 ? 1 : 0], bytes);
    if (child == 0)
        return fflush(stdout) == 0 ? 0 : 1;
    int status;
    check(waitpid(child, &status, 0) == child, "waitpid");
    return status == 0 ? 0 : 1;
}
