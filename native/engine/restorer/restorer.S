/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process is before it becomes a restored one: it waits to be stopped by its tracer.
 */
    .globl _start
    .text
_start:
    mov $34, %eax /* pause */
    syscall
    jmp _start
    .section .note.GNU-stack, "", @progbits
