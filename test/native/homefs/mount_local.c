/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounts a folder by homefs, without network and capsule, and runs a command that sees it.
 *
 *   mount_local FOLDER PLACE COMMAND ARGUMENT…
 *
 * Theory of operation. As between shepherd and deputy: the mount is made in a user and mount namespace of its own, with
 * one id mapped, by a process that hands the descriptor of /dev/fuse to this one, which stays outside, sees FOLDER and
 * serves. FOLDER is served whole: its root is shown at PLACE. Notifications are written by a thread of their own, as
 * the relay does, since the kernel may make them wait for an answer. The exit status is that of the command. With
 * HOMEFS_COUNT=1 in the environment the number of requests of each kind is printed at the end.
 */
#include "../../../native/homefs/homefs.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPCODES 64

static void check(bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "mount_local: %s: %s\n", what, strerror(errno));
    exit(99);
}

/* --- in the namespaces -------------------------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
    close(fd);
}

static void send_descriptor(int socket, int fd) {
    char control[CMSG_SPACE(sizeof fd)] = {0}, byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    check(sendmsg(socket, &message, 0) == 1, "hand over /dev/fuse");
}

static void run_inside(int socket, const char *place, char **command) {
    char text[160];
    uid_t uid = getuid();
    gid_t gid = getgid();
    check(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0, "new namespaces");
    write_file("/proc/self/setgroups", "deny");
    snprintf(text, sizeof text, "%u %u 1", uid, uid);
    write_file("/proc/self/uid_map", text);
    snprintf(text, sizeof text, "%u %u 1", gid, gid);
    write_file("/proc/self/gid_map", text);
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private mounts");
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    check(fuse >= 0, "open /dev/fuse");
    snprintf(text, sizeof text, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other", fuse, uid, gid);
    check(mount("home", place, "fuse", MS_NOSUID | MS_NODEV, text) == 0, "mount");
    send_descriptor(socket, fuse);
    close(fuse);
    close(socket);
    /* A mount's root has no owner, and can't be written to, until someone has asked. */
    struct stat status;
    check(stat(place, &status) == 0 && chdir(place) == 0, "enter the mount");
    execvp(command[0], command);
    check(false, command[0]);
}

/* --- the server --------------------------------------------------------------------------------------------------- */

static int receive_descriptor(int socket) {
    int fd = -1;
    char control[CMSG_SPACE(sizeof fd)], byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
        exit(99); /* it has said why */
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    check(header && header->cmsg_type == SCM_RIGHTS, "take over /dev/fuse");
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

/* The mount ended with the command, while requests were under way. */
static bool is_gone(int error) {
    return error == ENODEV || error == ECONNABORTED;
}

struct server {
    int fuse, notices[2]; /* a socket pair that keeps messages apart */
    struct homefs *homefs;
    unsigned counts[OPCODES];
};

static void notify(void *arg, int slot, const void *bytes, size_t length) {
    struct server *server = arg;
    (void)slot;
    check(send(server->notices[0], bytes, length, 0) == (ssize_t)length, "keep a notification");
}

static void *write_notices(void *arg) {
    struct server *server = arg;
    char bytes[4096];
    ssize_t length;
    while ((length = recv(server->notices[1], bytes, sizeof bytes, 0)) > 0) {
        struct fuse_out_header header;
        memcpy(&header, bytes, sizeof header);
        if (header.error > 0 && header.error < OPCODES)
            server->counts[OPCODES - header.error]++;
        if (write(server->fuse, bytes, (size_t)length) < 0 && errno != ENOENT && !is_gone(errno) && errno != ENOTDIR &&
            errno != ENOTEMPTY)
            fprintf(stderr, "mount_local: the kernel refuses a notification: %m\n");
    }
    return NULL;
}

static void serve_one(struct server *server, uint8_t *request, uint8_t *reply) {
    ssize_t length = read(server->fuse, request, HOMEFS_REPLY_MAX);
    if (length < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOENT || is_gone(errno)))
        return;
    check(length >= (ssize_t)sizeof(struct fuse_in_header), "read a request");
    struct fuse_in_header in;
    memcpy(&in, request, sizeof in);
    if (in.opcode < OPCODES)
        server->counts[in.opcode]++;
    size_t size = in.opcode == FUSE_INIT
                      ? homefs_init_reply(request, (size_t)length, reply, HOMEFS_REPLY_MAX)
                      : homefs_handle(server->homefs, 0, request, (size_t)length, reply, HOMEFS_REPLY_MAX);
    if (size > 0 && write(server->fuse, reply, size) != (ssize_t)size && errno != ENOENT && !is_gone(errno))
        fprintf(stderr, "mount_local: the kernel refuses the answer to operation %u: %m\n", in.opcode);
}

/* Until the other end of `alive`, which only the command holds, is closed. */
static void serve(struct server *server, int alive) {
    uint8_t *request = malloc(HOMEFS_REPLY_MAX), *reply = malloc(HOMEFS_REPLY_MAX);
    check(request && reply, "memory");
    for (;;) {
        struct pollfd wait[] = {
            {alive, POLLIN, 0}, {server->fuse, POLLIN, 0}, {homefs_poll_fd(server->homefs), POLLIN, 0}};
        check(poll(wait, 3, -1) > 0 || errno == EINTR, "poll");
        if (wait[2].revents)
            homefs_poll(server->homefs);
        if (wait[1].revents & POLLIN)
            serve_one(server, request, reply);
        if (wait[0].revents)
            break;
    }
    free(request);
    free(reply);
}

int main(int count, char **arguments) {
    struct rlimit files;
    int ends[2];
    if (count < 4) {
        fprintf(stderr, "usage: mount_local FOLDER PLACE COMMAND ARGUMENT…\n");
        return 99;
    }
    struct server server = {0};
    struct homefs_config config = {.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC),
                                   .root = open(arguments[1], O_PATH | O_DIRECTORY | O_CLOEXEC),
                                   .shown_uid = getuid(),
                                   .shown_gid = getgid(),
                                   .single_id = true,
                                   .notify = notify,
                                   .arg = &server};
    check(config.root >= 0 && config.proc >= 0, arguments[1]);
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socket pair");
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0)
        run_inside(ends[1], arguments[2], arguments + 3);
    close(ends[1]);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        check(setrlimit(RLIMIT_NOFILE, &files) == 0, "raise the limit of open files");
    }
    umask(0);
    server.fuse = receive_descriptor(ends[0]);
    close(ends[0]);
    check(fcntl(server.fuse, F_SETFL, O_NONBLOCK) == 0, "set /dev/fuse non-blocking");
    check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, server.notices) == 0, "socket pair");
    errno = -homefs_new(&config, &server.homefs);
    check(errno == 0, "homefs");
    homefs_session_begin(server.homefs, 0);
    homefs_session_writable(server.homefs, 0, true);
    pthread_t writer;
    errno = pthread_create(&writer, NULL, write_notices, &server);
    check(errno == 0, "thread");
    int pidfd = pidfd_open(pid, 0);
    check(pidfd >= 0, "pidfd");
    serve(&server, pidfd);
    close(pidfd);
    int status;
    check(waitpid(pid, &status, 0) == pid, "wait");
    close(server.fuse); /* ends what may wait in it */
    shutdown(server.notices[0], SHUT_RDWR);
    pthread_join(writer, NULL);
    homefs_session_end(server.homefs, 0);
    homefs_free(server.homefs);
    for (int i = 0; i < OPCODES && getenv("HOMEFS_COUNT"); i++)
        if (server.counts[i])
            fprintf(stderr, "operation %d: %u\n", i, server.counts[i]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
