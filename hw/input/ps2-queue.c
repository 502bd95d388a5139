/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes that wait in a PS/2 device. */
#include "hw/input/ps2.h"

#include <string.h>

#include "util/error.h"

void ps2_queue_clear(Ps2Queue *queue, bool replies_too)
{
    queue->fifo_count = 0;
    if (replies_too)
        queue->reply_count = 0;
}

/* No command answers with more than fits; one that comes before the last answer was read takes its
 * place, as the devices do. */
void ps2_queue_reply(Ps2Queue *queue, uint8_t byte)
{
    if (queue->reply_count < PS2_REPLIES)
        queue->reply[queue->reply_count++] = byte;
}

static void append(Ps2Queue *queue, uint8_t byte)
{
    queue->fifo[(queue->fifo_head + queue->fifo_count++) % sizeof(queue->fifo)] = byte;
}

bool ps2_queue_put(Ps2Queue *queue, const uint8_t *bytes, unsigned count, unsigned limit)
{
    if (queue->fifo_count + count > limit)
        return false;
    for (unsigned i = 0; i < count; i++)
        append(queue, bytes[i]);
    return true;
}

void ps2_queue_overrun(Ps2Queue *queue, uint8_t code)
{
    unsigned end = (queue->fifo_head + queue->fifo_count - 1u) % sizeof(queue->fifo);
    if (queue->fifo_count <= PS2_KEY_FIFO && !(queue->fifo_count && queue->fifo[end] == code))
        append(queue, code);
}

bool ps2_queue_readable(const Ps2Queue *queue)
{
    return queue->reply_count || queue->fifo_count;
}

uint8_t ps2_queue_read(Ps2Queue *queue)
{
    if (queue->reply_count) {
        queue->last = queue->reply[0];
        queue->reply_count--;
        memmove(queue->reply, queue->reply + 1, queue->reply_count);
    } else if (queue->fifo_count) {
        queue->last = queue->fifo[queue->fifo_head];
        queue->fifo_head = (queue->fifo_head + 1) % sizeof(queue->fifo);
        queue->fifo_count--;
    }
    return queue->last;
}

static bool queue_post_load(void *state, GError **error)
{
    const Ps2Queue *queue = state;
    if (queue->reply_count > PS2_REPLIES || queue->fifo_count > sizeof(queue->fifo) ||
        queue->fifo_head >= sizeof(queue->fifo))
        return fail(error, "ps2-queue: more bytes than there is room for");
    return true;
}

static const StateField queue_fields[] = {
    STATE_BYTES(Ps2Queue, reply),
    STATE_U(Ps2Queue, reply_count, 0),
    STATE_BYTES(Ps2Queue, fifo),
    STATE_U(Ps2Queue, fifo_head, 0),
    STATE_U(Ps2Queue, fifo_count, 0),
    STATE_U(Ps2Queue, last, 0),
    STATE_END,
};
const StateDesc ps2_queue_state = {
    .name = "ps2-queue",
    .version = 1,
    .size = sizeof(Ps2Queue),
    .fields = queue_fields,
    .post_load = queue_post_load,
};
