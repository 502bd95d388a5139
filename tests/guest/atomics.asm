; SPDX-License-Identifier: GPL-2.0-or-later
; All CPUs at once: XADD, CMPXCHG, CMPXCHG8B, XCHG, a lock by BTS, LOCK across a cache line and a page, the same
; bytes by LOCK across a border and beside it, and code that one CPU changes for the others.  -DCPUS=N; -DPAGE:
; LOCK across a page, which KVM's emulator splits.
%define FIRMWARE
%include "guest.inc"

ICR             equ 0xfee00300
SVR             equ 0xfee000f0
TRAMPOLINE      equ 0x8000
EACH            equ 2000
GO              equ 0x500
DONE            equ 0x504
BY_XADD         equ 0x508
BY_CMPXCHG      equ 0x50c
BY_CMPXCHG8B    equ 0x510
LOCK_BIT        equ 0x518
BY_LOCK         equ 0x51c
TOKEN           equ 0x520
BY_TOKEN        equ 0x524
BY_LINE         equ 0x57e               ; across a border of 64 bytes
BY_PAGE         equ 0xffe               ; of a page
MIXED           equ 20000               ; times
MIXED_PAGE      equ 0x3000              ; this word, and the doubleword two bytes below
MIXED_LINE      equ 0x3440
PATCHED         equ 0x9000              ; MOV AX, imm16; RET
WRONG           equ 0x528
PATCH_GO        equ 0x52c

main:
        set_up
        mov di, 0x500
        mov cx, 0x100
        xor ax, ax
        rep stosb
        mov dword [BY_PAGE], 0
        mov dword [BY_LINE], 0
        mov dword [MIXED_PAGE - 2], 0
        mov dword [MIXED_PAGE], 0
        mov dword [MIXED_LINE - 2], 0
        mov dword [MIXED_LINE], 0
        mov byte [PATCHED], 0xb8
        mov word [PATCHED + 1], 0
        mov byte [PATCHED + 3], 0xc3
        push cs
        pop ds
        mov si, trampoline
        mov di, TRAMPOLINE
        mov cx, trampoline_end - trampoline
        rep movsb
        xor ax, ax
        mov ds, ax
        open_fs
        mov ebx, SVR
        mov dword [fs:ebx], 0x1ff
        mov ebx, ICR
        mov dword [fs:ebx], 0x000c4500
        call settle
        mov dword [fs:ebx], 0x000c4600 | TRAMPOLINE >> 12
        call settle
        mov dword [fs:ebx], 0x000c4600 | TRAMPOLINE >> 12
        mov byte [GO], 1
        call 0:TRAMPOLINE + (work - trampoline)
.wait:  pause
        cmp dword [DONE], CPUS
        jb .wait
%macro expect_total 2
        cmp dword [%1], CPUS * EACH
        call report
        db %2, 10, 0
%endmacro
        expect_total BY_XADD, "XADD"
        expect_total BY_CMPXCHG, "CMPXCHG"
        expect_total BY_CMPXCHG8B, "CMPXCHG8B"
        expect_total BY_CMPXCHG8B + 4, "its upper half"
        expect_total BY_LOCK, "a lock by BTS"
        expect_total BY_TOKEN, "a token by XCHG"
        expect_total BY_LINE, "across a line"
%ifdef PAGE
        expect_total BY_PAGE, "across a page"
%macro expect_mixed 2
        cmp word [%1], (2 * CPUS * MIXED) & 0xffff
        call report
        db %2, 10, 0
%endmacro
        expect_mixed MIXED_PAGE, "across a page and beside it"
        expect_mixed MIXED_LINE, "across a line and beside it"
%endif
        ; The code changes; then the others are told, and look at what it returns (SDM vol. 3, 8.1.3).
        mov dword [DONE], 1
        mov word [PATCHED + 1], 0x1234
        mov dword [PATCH_GO], 1
.patch: pause
        cmp dword [DONE], CPUS
        jb .patch
        cmp dword [WRONG], 0
        call report
        db "code changed by another CPU", 10, 0
        finish 0

; Says PASS or FAIL by ZF, and the text behind the call.
report:
        pop bp
        jz .good
        say "FAIL "
        jmp .text
.good:  say "PASS "
.text:  mov al, [cs:bp]
        inc bp
        test al, al
        jz .done
        call putc
        jmp .text
.done:  push bp
        ret

settle: mov cx, 1000
.again: in al, 0x80
        loop .again
        ret

trampoline:
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov eax, 1
        lock xadd [0x530], eax
        shl ax, 8
        add ax, 0x2000
        mov sp, ax
.ready: pause
        cmp byte [GO], 0
        je .ready
        call 0:TRAMPOLINE + (work - trampoline)
        ; Called before it is changed, so that it is decoded already.
        call 0:TRAMPOLINE + (call_patched - trampoline)
.hold:  pause
        cmp dword [PATCH_GO], 0
        je .hold
        xor eax, eax
        cpuid
        call 0:TRAMPOLINE + (call_patched - trampoline)
        cmp ax, 0x1234
        je .right
        lock inc dword [WRONG]
.right: lock inc dword [DONE]
.stop:  cli
        hlt
        jmp .stop

call_patched:
        mov bx, PATCHED
        call bx
        retf

work:   mov edi, EACH
.next:  mov eax, 1
        lock xadd [BY_XADD], eax
.compare:
        mov eax, [BY_CMPXCHG]
        lea ecx, [eax + 1]
        lock cmpxchg [BY_CMPXCHG], ecx
        jne .compare
        mov eax, [BY_CMPXCHG8B]
        mov edx, [BY_CMPXCHG8B + 4]
.compare8:
        mov ebx, eax
        mov ecx, edx
        inc ebx
        inc ecx
        lock cmpxchg8b [BY_CMPXCHG8B]
        jne .compare8
.take:  lock bts dword [LOCK_BIT], 7
        jnc .taken
        pause
        jmp .take
.taken: inc dword [BY_LOCK]
        lock btr dword [LOCK_BIT], 7
.token: mov eax, 1
        xchg [TOKEN], eax
        test eax, eax
        jz .mine
        pause
        jmp .token
.mine:  inc dword [BY_TOKEN]
        mov dword [TOKEN], 0
        lock inc dword [BY_LINE]
        lock add dword [BY_PAGE], 1
        dec edi
        jnz .next
%ifdef PAGE
        mov edi, MIXED
.mixed: lock add dword [MIXED_PAGE - 2], 0x10000
        lock inc word [MIXED_PAGE]
        lock add dword [MIXED_LINE - 2], 0x10000
        lock inc word [MIXED_LINE]
        dec edi
        jnz .mixed
%endif
        lock inc dword [DONE]
        retf
trampoline_end:
        guest_end
