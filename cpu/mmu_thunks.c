/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The slow paths of mmu.c for callers that keep their registers (cpu_private.h tells why). */
#include "cpu_private.h"

#ifdef CPU_TAIL_CALLS

#define THUNK(name, function)                                                                      \
    __asm__(".pushsection .text\n"                                                                 \
            ".globl " #name "\n"                                                                   \
            ".hidden " #name "\n"                                                                  \
            ".type " #name ", @function\n" #name ":\n"                                             \
            "    .cfi_startproc\n"                                                                 \
            "    push %rbp\n"                                                                      \
            "    .cfi_def_cfa_offset 16\n"                                                         \
            "    .cfi_offset rbp, -16\n"                                                           \
            "    mov %rsp, %rbp\n"                                                                 \
            "    .cfi_def_cfa_register rbp\n"                                                      \
            "    push %rcx\n"                                                                      \
            "    push %rdx\n"                                                                      \
            "    push %rsi\n"                                                                      \
            "    push %rdi\n"                                                                      \
            "    push %r8\n"                                                                       \
            "    push %r9\n"                                                                       \
            "    push %r10\n"                                                                      \
            "    push %r11\n"                                                                      \
            "    and $-16, %rsp\n"                                                                 \
            "    call " #function "\n"                                                             \
            "    lea -64(%rbp), %rsp\n"                                                            \
            "    pop %r11\n"                                                                       \
            "    pop %r10\n"                                                                       \
            "    pop %r9\n"                                                                        \
            "    pop %r8\n"                                                                        \
            "    pop %rdi\n"                                                                       \
            "    pop %rsi\n"                                                                       \
            "    pop %rdx\n"                                                                       \
            "    pop %rcx\n"                                                                       \
            "    pop %rbp\n"                                                                       \
            "    .cfi_def_cfa rsp, 8\n"                                                            \
            "    ret\n"                                                                            \
            "    .cfi_endproc\n"                                                                   \
            "    .size " #name ", . - " #name "\n"                                                 \
            ".popsection\n")

THUNK(cpu_linear_thunk, cpu_linear_checked);
THUNK(cpu_load_thunk, cpu_load_slow);
THUNK(cpu_store_thunk, cpu_store_slow);
THUNK(cpu_host_rmw_thunk, cpu_host_rmw);
THUNK(cpu_host_lock_thunk, cpu_host_lock);
THUNK(cpu_tell_store_thunk, cpu_tell_store);

#endif
