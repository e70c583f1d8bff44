/* SPDX-License-Identifier: Apache-2.0
 *
 * struct process_image to bytes and back. Fixed parts go as they are: the magic and version stand for their layout.
 */
#include "process.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void process_free(struct process_image *image) {
    for (size_t i = 0; image->threads && i < image->thread_count; i++) {
        free(image->threads[i].xstate);
        free(image->threads[i].pending);
    }
    for (size_t i = 0; image->fds && i < image->fd_count; i++) {
        free(image->fds[i].path);
        free(image->fds[i].bytes);
    }
    free(image->threads);
    free(image->fds);
    free(image->timers);
    free(image->pending);
    free(image->auxv);
    free(image->executable);
    free(image->directory);
    maps_free(&image->areas);
    *image = (struct process_image){0};
}

void process_pack(struct image_writer *writer, const struct process_image *image) {
    image_put(writer, &image->core, sizeof image->core);
    image_put_text(writer, image->executable);
    image_put_text(writer, image->directory);
    image_put_bytes(writer, image->auxv, image->auxv_length);
    image_put_bytes(writer, image->pending, image->pending_count * sizeof *image->pending);
    image_put_bytes(writer, image->timers, image->timer_count * sizeof *image->timers);
    image_put_u32(writer, (uint32_t)image->thread_count);
    for (size_t i = 0; i < image->thread_count; i++) {
        const struct thread_image *thread = &image->threads[i];
        image_put(writer, &thread->core, sizeof thread->core);
        image_put_bytes(writer, thread->xstate, thread->xstate_length);
        image_put_bytes(writer, thread->pending, thread->pending_count * sizeof *thread->pending);
    }
    image_put_u32(writer, (uint32_t)image->fd_count);
    for (size_t i = 0; i < image->fd_count; i++) {
        struct fd_image fixed = image->fds[i];
        fixed.path = NULL;
        fixed.bytes = NULL;
        image_put(writer, &fixed, sizeof fixed);
        image_put_text(writer, image->fds[i].path ? image->fds[i].path : "");
        image_put_bytes(writer, image->fds[i].bytes, image->fds[i].bytes_length);
    }
    maps_pack(writer, &image->areas);
}

/* A fresh array of whole objects. */
static void *get_array(struct image_reader *reader, size_t size, size_t limit, size_t *count) {
    size_t length;
    const uint8_t *bytes = image_get_bytes(reader, size * limit, &length);
    *count = 0;
    if (!bytes || length % size) {
        image_fail(reader);
        return NULL;
    }
    void *copy = malloc(length ? length : 1);
    if (!copy) {
        image_fail(reader);
        return NULL;
    }
    memcpy(copy, bytes, length);
    *count = length / size;
    return copy;
}

static bool signals_sane(const siginfo_t *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (list[i].si_signo < 1 || list[i].si_signo > PROCESS_SIGNALS)
            return false;
    return true;
}

static void unpack_threads(struct image_reader *reader, struct process_image *image) {
    size_t count = image_get_count(reader, TRACEE_MAX_THREADS, sizeof(struct thread_core));
    image->threads = calloc(count ? count : 1, sizeof *image->threads);
    if (!image->threads || !count) {
        image_fail(reader);
        return;
    }
    for (; image->thread_count < count && image_reader_ok(reader); image->thread_count++) {
        struct thread_image *thread = &image->threads[image->thread_count];
        image_get(reader, &thread->core, sizeof thread->core);
        thread->xstate = get_array(reader, 1, PROCESS_MAX_XSTATE, &thread->xstate_length);
        thread->pending = get_array(reader, sizeof *thread->pending, PROCESS_MAX_PENDING, &thread->pending_count);
        if (thread->core.tid <= 0 || thread->core.pending_signal > PROCESS_SIGNALS ||
            !signals_sane(thread->pending, thread->pending_count))
            image_fail(reader);
        thread->core.name[sizeof thread->core.name - 1] = 0;
    }
}

static void unpack_fds(struct image_reader *reader, struct process_image *image) {
    size_t count = image_get_count(reader, PROCESS_MAX_FDS, sizeof(struct fd_image));
    image->fds = calloc(count ? count : 1, sizeof *image->fds);
    if (!image->fds) {
        image_fail(reader);
        return;
    }
    int32_t floor = -1;
    for (; image->fd_count < count && image_reader_ok(reader); image->fd_count++) {
        struct fd_image *fd = &image->fds[image->fd_count];
        image_get(reader, fd, sizeof *fd);
        fd->path = NULL;
        fd->bytes = NULL;
        fd->bytes_length = 0;
        fd->path = image_get_text(reader, MAPS_MAX_PATH);
        fd->bytes = get_array(reader, 1, 16u << 20, &fd->bytes_length);
        if (fd->fd <= floor || fd->fd >= 1 << 20 || fd->kind < FD_KIND_STDIO || fd->kind > FD_KIND_PATH ||
            fd->same_as >= fd->fd || fd->index > 2)
            image_fail(reader);
        floor = fd->fd;
    }
}

int process_unpack(struct image_reader *reader, struct process_image *image) {
    *image = (struct process_image){0};
    image_get(reader, &image->core, sizeof image->core);
    if (!image_reader_ok(reader) || image->core.magic != IMAGE_MAGIC || image->core.version != IMAGE_VERSION ||
        image->core.pid <= 0) {
        image_fail(reader);
        return -EBADMSG;
    }
    image->executable = image_get_text(reader, MAPS_MAX_PATH);
    image->directory = image_get_text(reader, MAPS_MAX_PATH);
    image->auxv = get_array(reader, 1, 4096, &image->auxv_length);
    image->pending = get_array(reader, sizeof *image->pending, PROCESS_MAX_PENDING, &image->pending_count);
    image->timers = get_array(reader, sizeof *image->timers, PROCESS_MAX_TIMERS, &image->timer_count);
    if (!signals_sane(image->pending, image->pending_count))
        image_fail(reader);
    if (image_reader_ok(reader))
        unpack_threads(reader, image);
    if (image_reader_ok(reader))
        unpack_fds(reader, image);
    if (image_reader_ok(reader))
        (void)maps_unpack(reader, &image->areas);
    if (image_reader_ok(reader) && image->threads[0].core.tid == image->core.pid)
        return 0;
    process_free(image);
    return -EBADMSG;
}
