/* SPDX-License-Identifier: Apache-2.0 */
#include "capsule_wire.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int send_all(int fd, const void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t sent = send(fd, (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return -errno;
        done += (size_t)sent;
    }
    return 0;
}

int capsule_send(int fd, uint32_t type, int32_t value, const void *payload, size_t length, const int *fds,
                 size_t count) {
    if (length > CAPSULE_MAX_PAYLOAD || count > CAPSULE_MAX_FDS)
        return -EMSGSIZE;
    struct capsule_header header = {type, value, (uint32_t)length};
    struct iovec iov = {&header, sizeof header};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * CAPSULE_MAX_FDS)];
        struct cmsghdr align;
    } control = {0};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    /* A stream may take part of it; descriptors go with the first byte. */
    int result = send_all(fd, (char *)&header + sent, sizeof header - (size_t)sent);
    return result ? result : send_all(fd, payload, length);
}

static int receive_all(int fd, void *to, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t got = recv(fd, (char *)to + done, length - done, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got ? -errno : -EPIPE;
        done += (size_t)got;
    }
    return 0;
}

int capsule_receive(int fd, struct capsule_header *header, void **payload, int *fds, size_t *count) {
    struct iovec iov = {header, sizeof *header};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * CAPSULE_MAX_FDS)];
        struct cmsghdr align;
    } control;
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    size_t room = count ? *count : 0;
    if (count)
        *count = 0;
    *payload = NULL;
    ssize_t got;
    do
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got ? -errno : -EPIPE;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int received;
            memcpy(&received, CMSG_DATA(part) + i * sizeof(int), sizeof received);
            if (count && *count < room)
                fds[(*count)++] = received;
            else
                close(received);
        }
    }
    int result = receive_all(fd, (char *)header + got, sizeof *header - (size_t)got);
    if (result)
        return result;
    if (header->length > CAPSULE_MAX_PAYLOAD)
        return -EMSGSIZE;
    if (!header->length)
        return 0;
    *payload = malloc(header->length + 1);
    if (!*payload)
        return -ENOMEM;
    ((char *)*payload)[header->length] = 0;
    if ((result = receive_all(fd, *payload, header->length))) {
        free(*payload);
        *payload = NULL;
    }
    return result;
}
