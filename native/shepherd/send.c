/* SPDX-License-Identifier: Apache-2.0
 *
 * A task leaves.
 *
 * Theory of operation. While the task runs, its areas and pages go to the target in rounds: each round sends what was
 * written during the one before. When little is left, or it gets no less, the task is frozen; the last pages, all its
 * state and what its streams hold follow. Then the target claims the next epoch at home. Until home has granted that,
 * whatever fails lets the task go on here: this is where rollback ends, and only home's answer says on which side we
 * are.
 *
 * A source that hears nothing claims the epoch itself: granted, the target can't have it any more and the task goes on
 * here; refused, the target has it and this copy is dropped.
 */
#include "../common/log.h"
#include "shepherd.h"
#include "terminal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#define MOST_ROUNDS 8
#define SMALL_ENOUGH_BYTES (4u << 20)
#define ANSWER_TIMEOUT_MS 60000
#define CLAIM_TIMEOUT_MS 5000
#define FREEZE_TIMEOUT_MS 5000

struct move {
    struct shepherd *shepherd;
    struct stream stream;
    struct remote *remote;
    struct rptr insn;
    struct tracee tracee;
    struct page_tracker tracker;
    struct page_runs dirty, fresh, gone;
    struct area_list areas;
    struct process_image image;
    struct relay_streams streams;
    struct held_input input;
    struct stay_reasons reasons;
    int mem_fd;
    bool session, frozen, streams_frozen, input_taken;
    const char *stage;
    char message[256];
    uint64_t rounds, bytes_total, bytes_frozen, began_ns, frozen_ns;
    uint32_t epoch;
};

static int idle(void *arg) {
    struct move *move = arg;
    /* Frozen, there is nothing that the agent or home could still change before the claim, except to call it off. */
    return shepherd_pump(move->shepherd);
}

static void note_reasons(struct move *move) {
    if (move->reasons.count)
        snprintf(move->message, sizeof move->message, "%.30s: %.200s", move->reasons.reasons[0].kind,
                 move->reasons.reasons[0].detail);
}

static void find_reasons(struct shepherd *shepherd, struct stay_reasons *reasons) {
    int count = capsule_count(&shepherd->capsule);
    if (count > 1)
        stay_because(reasons, shepherd->inner, "children",
                     "the task has %d processes: only single processes can be moved yet", count);
    if (shepherd->stopped_by)
        stay_because(reasons, shepherd->inner, "stopped",
                     "it is stopped by signal %d: continue it first (skein kill -s CONT, or fg)", shepherd->stopped_by);
    int result = process_probe(shepherd->pid, &shepherd->facts, reasons);
    for (size_t i = 0; i < reasons->count; i++)
        reasons->reasons[i].pid = shepherd->inner; /* as `skein ps` shows it, not as we see it */
    if (result && result != -ESRCH)
        stay_because(reasons, shepherd->inner, "unreadable", "it can't be looked at: %s", strerror(-result));
}

void shepherd_why(struct shepherd *shepherd, uint64_t id) {
    struct stay_reasons reasons = {0};
    if (!shepherd->ended)
        find_reasons(shepherd, &reasons);
    struct mp_packer *answer = agentlink_begin(shepherd->agent, "ok");
    mp_add_bool(answer, "movable", reasons.count == 0);
    mp_add_array(answer, "reasons");
    for (size_t i = 0; i < reasons.count; i++) {
        mp_put_map(answer);
        mp_add_u64(answer, "pid", (uint64_t)reasons.reasons[i].pid);
        mp_add_str(answer, "kind", reasons.reasons[i].kind);
        mp_add_str(answer, "detail", reasons.reasons[i].detail);
        mp_end(answer);
    }
    mp_end(answer);
    int result = agentlink_answer(shepherd->agent, id);
    if (result)
        log_line("can't answer why: %s", strerror(-result));
}

static int connect_target(struct move *move, const msgpack_object *request) {
    char endpoint[128], server[KEY_TEXT], secret[KEY_TEXT], public[KEY_TEXT];
    uint64_t epoch;
    if (!mp_get_str(request, "endpoint", endpoint, sizeof endpoint) ||
        !mp_get_str(request, "serverKey", server, sizeof server) ||
        !mp_get_str(request, "clientSecret", secret, sizeof secret) ||
        !mp_get_str(request, "clientPublic", public, sizeof public) || !mp_get_u64(request, "epoch", &epoch) ||
        epoch != (uint64_t)move->shepherd->epoch + 1)
        return -EBADMSG;
    move->epoch = (uint32_t)epoch;
    move->stream.socket = zmq_socket(move->shepherd->context, ZMQ_DEALER);
    if (!move->stream.socket)
        return -zmq_errno();
    int result = stream_prepare(move->stream.socket);
    if (!result)
        result = keys_dial(move->stream.socket, server, public, secret);
    if (!result)
        result = stream_watch(&move->stream, move->shepherd->context);
    if (!result && zmq_connect(move->stream.socket, endpoint))
        result = -zmq_errno();
    return result;
}

static int session_begin(struct move *move) {
    int result =
        remote_begin(move->remote, move->shepherd->pid, move->shepherd->pid, move->insn, (struct rptr){0}, true);
    move->session = result == 0;
    return result;
}

static int session_end(struct move *move) {
    int result = move->session ? remote_end(move->remote) : 0;
    move->session = false;
    return result;
}

/* Stop the leader for a moment and set up the tracking of pages. */
static int begin_tracking(struct move *move) {
    int result = tracee_freeze_leader(&move->tracee, move->shepherd->pid, FREEZE_TIMEOUT_MS);
    if (result)
        return result;
    if (!(result = session_begin(move)) && !(result = page_tracker_start(&move->tracker, move->remote)))
        result = wait_memo_note(&move->shepherd->waits, move->remote, &move->tracee);
    int ended = session_end(move);
    tracee_thaw(&move->tracee);
    return result ? result : ended;
}

static int send_areas(struct move *move) {
    struct image_writer writer = {0};
    maps_pack(&writer, &move->areas);
    int result = writer.failed ? -ENOMEM : stream_send(&move->stream, STREAM_AREAS, 0, writer.bytes, writer.length);
    image_writer_free(&writer);
    return result;
}

static int await_synced(struct move *move) {
    struct stream_message message;
    int result = stream_send(&move->stream, STREAM_SYNC, 0, NULL, 0);
    if (!result)
        result = stream_receive(&move->stream, &message, ANSWER_TIMEOUT_MS);
    if (result)
        return result;
    if (message.type == STREAM_FAILED)
        snprintf(move->message, sizeof move->message, "%.*s", (int)message.first_length, (const char *)message.first);
    result = message.type == STREAM_SYNCED ? 0 : message.type == STREAM_FAILED ? -EREMOTEIO : -EBADMSG;
    stream_message_done(&message);
    return result;
}

static int round_of_pages(struct move *move) {
    maps_free(&move->areas);
    page_runs_clear(&move->dirty);
    page_runs_clear(&move->fresh);
    int result = maps_read(move->shepherd->pid, 0, move->shepherd->facts.file_device, &move->areas);
    if (result)
        return result;
    for (size_t i = 0; i < move->areas.count; i++)
        if (move->areas.areas[i].kind == AREA_OTHER)
            return -EAGAIN; /* something that can't move has appeared */
    if ((result = page_tracker_collect(&move->tracker, &move->areas, false, &move->dirty, &move->fresh, &move->gone)) ||
        (result = send_areas(move)) || (result = stream_send_runs(&move->stream, STREAM_FRESH, &move->fresh)) ||
        (result =
             stream_send_pages(&move->stream, move->shepherd->pid, move->mem_fd, &move->dirty, &move->bytes_total)))
        return result;
    move->rounds++;
    return await_synced(move);
}

static int precopy(struct move *move) {
    uint64_t before = UINT64_MAX;
    for (int round = 0; round < MOST_ROUNDS; round++) {
        int result = round_of_pages(move);
        if (result)
            return result;
        uint64_t sent = move->dirty.bytes;
        if (sent <= SMALL_ENOUGH_BYTES || (round > 1 && sent > before / 10 * 8))
            break;
        before = sent;
    }
    return 0;
}

static int take_state(struct move *move) {
    struct shepherd *shepherd = move->shepherd;
    int result = session_begin(move);
    if (!result)
        result =
            process_dump(&move->tracee, move->remote, &shepherd->facts, &shepherd->waits, &move->image, &move->reasons);
    int ended = session_end(move);
    if (result == -EOPNOTSUPP)
        note_reasons(move);
    if (result || ended)
        return result ? result : ended;
    if ((result = relay_freeze_stdio(shepherd->relay, &move->streams)))
        return result;
    move->streams_frozen = true;
    if (shepherd->terminal >= 0) {
        result = input_of_terminal(shepherd->terminal, &move->input);
        move->input_taken = result == 0;
    } else if (shepherd->stdin_path >= 0) {
        result = input_of_pipe(shepherd->stdin_path, &move->input);
        if (result == -ENXIO || result == -EPIPE)
            result = 0; /* nobody has it open any more */
    }
    return result;
}

static int send_last(struct move *move) {
    page_runs_clear(&move->dirty);
    page_runs_clear(&move->fresh);
    page_runs_clear(&move->gone);
    maps_free(&move->areas);
    int result =
        page_tracker_collect(&move->tracker, &move->image.areas, true, &move->dirty, &move->fresh, &move->gone);
    struct image_writer writer = {0};
    streams_pack(&writer, &move->streams, &move->input);
    process_pack(&writer, &move->image);
    if (!result && writer.failed)
        result = -ENOMEM;
    move->areas = move->image.areas;
    if (!result)
        result = send_areas(move);
    move->areas = (struct area_list){0};
    if (!result)
        result = stream_send_runs(&move->stream, STREAM_FRESH, &move->fresh);
    if (!result)
        result = stream_send_runs(&move->stream, STREAM_FRESH, &move->gone);
    if (!result)
        result = stream_send_pages(&move->stream, move->shepherd->pid, move->mem_fd, &move->dirty, &move->bytes_frozen);
    if (!result)
        result = stream_send(&move->stream, STREAM_FINAL, 0, writer.bytes, writer.length);
    image_writer_free(&writer);
    move->bytes_total += move->bytes_frozen;
    return result;
}

/* 0: the target runs it. Otherwise it does not, as far as we know. */
static int await_resumed(struct move *move) {
    struct stream_message message;
    int result = stream_receive(&move->stream, &message, ANSWER_TIMEOUT_MS);
    if (result)
        return result;
    if (message.type == STREAM_FAILED)
        snprintf(move->message, sizeof move->message, "%.*s", (int)message.first_length, (const char *)message.first);
    result = message.type == STREAM_RESUMED ? 0 : -EREMOTEIO;
    stream_message_done(&message);
    return result;
}

/* The outcome is open: ask home, by claiming the epoch for ourselves. True: the target has it. */
static bool target_has_it(struct move *move) {
    struct shepherd *shepherd = move->shepherd;
    for (;;) {
        uint32_t current = 0;
        int result = relay_claim(shepherd->relay, move->epoch, &current, CLAIM_TIMEOUT_MS);
        if (result == 0) {
            shepherd->epoch = move->epoch;
            return false;
        }
        if (result == -EBUSY || result == -ESTALE) {
            log_line("epoch %u is taken: the task runs on its new host", move->epoch);
            return true;
        }
        /* Home is out of reach. The task stays frozen until home answers, or ends us. */
        (void)shepherd_pump(shepherd);
        if (shepherd->fenced || shepherd->quit)
            return true;
    }
}

static int step(struct move *move, const char *stage, int (*run)(struct move *)) {
    move->stage = stage;
    shepherd_stage(move->shepherd, stage);
    return run(move);
}

static int probe(struct move *move) {
    find_reasons(move->shepherd, &move->reasons);
    note_reasons(move);
    return move->reasons.count ? -EOPNOTSUPP : 0;
}

static int greet(struct move *move) {
    struct shepherd *shepherd = move->shepherd;
    struct stream_hello hello = {.pid = shepherd->inner, .pgid = shepherd->inner};
    hello.terminal = shepherd->facts.has_terminal;
    hello.foreground = 1;
    for (int i = 0; i < 3; i++)
        hello.pipes |= shepherd->facts.stdio_inode[i] ? 1u << i : 0;
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/mem", shepherd->pid);
    move->mem_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (move->mem_fd < 0)
        return -errno;
    int result = remote_find_insn(shepherd->pid, &move->insn);
    return result ? result : stream_send(&move->stream, STREAM_HELLO, 0, &hello, sizeof hello);
}

static int freeze(struct move *move) {
    move->frozen_ns = monotonic_ns();
    int result = tracee_freeze(&move->tracee, move->shepherd->pid, FREEZE_TIMEOUT_MS);
    move->frozen = result == 0;
    return result;
}

/* Let the task go on here, as it was. */
static void undo(struct move *move) {
    struct shepherd *shepherd = move->shepherd;
    int result = 0;
    if (move->input_taken)
        result = input_to_terminal(shepherd->terminal, &move->input);
    if (result)
        log_line("unread input of the terminal is lost: %s", strerror(-result));
    if (move->streams_frozen && (result = relay_thaw_stdio(shepherd->relay)))
        log_line("the streams stand still: %s", strerror(-result));
    if (move->frozen) {
        if (move->image.thread_count && (result = wait_memo_fill(&shepherd->waits, &move->image)))
            log_line("waits are forgotten: %s", strerror(-result));
        tracee_thaw(&move->tracee);
    }
}

static void release(struct move *move) {
    page_tracker_stop(&move->tracker);
    page_runs_free(&move->dirty);
    page_runs_free(&move->fresh);
    page_runs_free(&move->gone);
    maps_free(&move->areas);
    process_free(&move->image);
    relay_streams_free(&move->streams);
    input_free(&move->input);
    if (move->mem_fd >= 0)
        close(move->mem_fd);
    stream_close(&move->stream);
    free(move->remote);
}

static void answer(struct move *move, int result) {
    struct shepherd *shepherd = move->shepherd;
    int sent;
    if (result) {
        if (!*move->message)
            snprintf(move->message, sizeof move->message, "%s: %s", move->stage, strerror(-result));
        struct mp_packer *error = agentlink_begin(shepherd->agent, "error");
        mp_add_u64(error, "re", shepherd->asked_id);
        mp_add_str(error, "code", result == -EOPNOTSUPP ? "refused" : result == -ECANCELED ? "aborted" : "failed");
        mp_add_str(error, "stage", move->stage);
        mp_add_str(error, "message", move->message);
        sent = agentlink_event(shepherd->agent);
    } else {
        struct mp_packer *ok = agentlink_begin(shepherd->agent, "ok");
        mp_add_u64(ok, "rounds", move->rounds);
        mp_add_u64(ok, "bytesTotal", move->bytes_total);
        mp_add_u64(ok, "bytesFrozen", move->bytes_frozen);
        mp_add_double(ok, "downtimeMs", (double)(monotonic_ns() - move->frozen_ns) / 1e6);
        mp_add_double(ok, "totalMs", (double)(monotonic_ns() - move->began_ns) / 1e6);
        sent = agentlink_answer(shepherd->agent, shepherd->asked_id);
    }
    if (sent)
        log_line("can't answer the agent: %s", strerror(-sent));
}

bool shepherd_send(struct shepherd *shepherd, const msgpack_object *request) {
    struct move move = {.shepherd = shepherd, .mem_fd = -1, .stage = "connect", .began_ns = monotonic_ns()};
    move.tracker.uffd = move.tracker.pagemap_fd = -1;
    move.stream.idle = idle;
    move.stream.arg = &move;
    move.remote = calloc(1, sizeof *move.remote);
    int result = move.remote ? connect_target(&move, request) : -ENOMEM;
    bool left = false;
    if (!result && !(result = step(&move, "probe", probe)) && !(result = step(&move, "greet", greet)) &&
        !(result = step(&move, "track", begin_tracking)) && !(result = step(&move, "precopy", precopy)) &&
        !(result = step(&move, "freeze", freeze)) && !(result = step(&move, "state", take_state)) &&
        !(result = step(&move, "last-pages", send_last))) {
        result = step(&move, "commit", await_resumed);
        left = result == 0 || target_has_it(&move);
        if (left)
            result = 0;
    }
    if (left) {
        answer(&move, 0);
        capsule_kill(&shepherd->capsule);
        tracee_free(&move.tracee);
    } else {
        if (!move.message[0] && result == -EAGAIN)
            snprintf(move.message, sizeof move.message, "the task has something by now that can't be moved");
        log_line("the task stays: %s: %s", move.stage, move.message[0] ? move.message : strerror(-result));
        undo(&move);
        answer(&move, result);
    }
    release(&move);
    return left;
}
