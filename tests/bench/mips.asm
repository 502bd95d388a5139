; SPDX-License-Identifier: GPL-2.0-or-later
; Mixed integer code in 64-bit mode for bench_mips.py: a bitwise CRC, a sieve, recursive calls, a hash with
; multiplications and a table, a bytecode interpreter with indirect jumps.  Says "done" and halts.
%include "suite64.inc"

BUFFER          equ 0x1000000

tests:
        lea rsi, [.begin]
        call puts64
        mov ebp, ROUNDS
.round: call crc
        call sieve
        mov edi, 22
        call fib
        call hash
        call bytecode
        dec ebp
        jnz .round
        lea rsi, [.done]
        call puts64
.stop:  hlt
        jmp .stop
.begin: db "begin", 10, 0
.done:  db "done", 10, 0

crc:    mov edi, BUFFER
        mov ecx, 20000
        mov eax, -1
.byte:  movzx edx, byte [rdi]
        inc rdi
        xor eax, edx
        mov ebx, 8
.bit:   mov edx, eax
        and edx, 1
        neg edx
        and edx, 0xedb88320
        shr eax, 1
        xor eax, edx
        dec ebx
        jnz .bit
        dec ecx
        jnz .byte
        mov [abs BUFFER], eax
        ret

sieve:  mov edi, BUFFER + 0x10000
        mov ecx, 0x10000 / 8
        xor eax, eax
.clear: mov [rdi], rax
        add rdi, 8
        dec ecx
        jnz .clear
        mov edi, BUFFER + 0x10000
        mov ecx, 2
.next:  cmp byte [rdi + rcx], 0
        jne .skip
        mov edx, ecx
        add edx, ecx
        cmp edx, 0x10000
        jae .skip
.mark:  mov byte [rdi + rdx], 1
        add edx, ecx
        cmp edx, 0x10000
        jb .mark
.skip:  inc ecx
        cmp ecx, 0x10000
        jb .next
        ret

; RAX = fib(RDI)
fib:    cmp edi, 2
        jae .deep
        mov eax, edi
        ret
.deep:  push rbx
        push rdi
        dec edi
        call fib
        mov rbx, rax
        pop rdi
        sub edi, 2
        call fib
        add rax, rbx
        pop rbx
        ret

hash:   mov ecx, 200000
        mov rax, 0x9e3779b97f4a7c15
        mov esi, BUFFER
.again: mov rdx, rax
        shr rdx, 33
        xor rax, rdx
        mov rbx, 0xff51afd7ed558ccd
        imul rax, rbx
        mov edx, eax
        and edx, 0xffc
        add [rsi + rdx], eax
        movzx ebx, byte [rsi + rdx + 1]
        lea rax, [rax + rbx * 4 + 7]
        rol rax, 13
        dec ecx
        jnz .again
        ret

; A program of bytes: add, shift, load, store, loop.
bytecode:
        mov r12d, 30000
        lea r13, [.table]
        lea r14, [.program]
        mov r15, r14
        xor eax, eax
%macro dispatch 0
        movzx ecx, byte [r15]
        inc r15
        movsxd rcx, dword [r13 + rcx * 4]
        add rcx, r13
        jmp rcx
%endmacro
        dispatch
.add:   add eax, r12d
        dispatch
.shift: rol eax, 3
        dispatch
.load:  add eax, [abs BUFFER + 0x20]
        dispatch
.store: mov [abs BUFFER + 0x20], eax
        dispatch
.loop:  mov r15, r14
        dec r12d
        jz .end
        dispatch
.end:   ret
.program: db 0, 1, 2, 0, 3, 1, 2, 3, 0, 1, 4
        align 4
.table: dd .add - .table, .shift - .table, .load - .table, .store - .table, .loop - .table

        suite_end
