; SPDX-License-Identifier: GPL-2.0-or-later
; System calls as a kernel has them: its entry is in pages that the user may not touch, so that a
; SYSCALL that does not reach ring 0 shows.
%include "suite64.inc"

CALLS           equ 1000
COUNT           equ 0x580               ; system calls so far
WRONG           equ 0x588               ; of those: how many found something amiss
USER_RSP        equ 0x590
USER_TOP        equ PAGES + 0x3000

tests:
        cld
        lea rsi, [user]
        mov edi, PAGES
        mov ecx, user_end - user
        rep movsb
        mov qword [abs COUNT], 0
        mov qword [abs WRONG], 0
        mov ecx, 0xc0000081
        mov edx, (USER_DS - 8) << 16 | KERNEL_CS
        xor eax, eax
        wrmsr
        mov ecx, 0xc0000082
        lea rax, [system_call]
        xor edx, edx
        wrmsr
        mov ecx, 0xc0000084
        mov eax, 0x47700
        wrmsr
        ; An instruction that KVM may not have, with which vmrun comes to look at the guest.
        lock cmpxchg16b [abs SCRATCH]
        ; The kernel's own: all but PAGES.
        and dword [abs PD], ~4
        mov rax, cr3
        mov cr3, rax
        mov [abs SAVED_RSP], rsp
        mov ecx, PAGES
        mov r11d, 0x202
        mov esp, USER_TOP
        o64 sysret

; AL: 0: counts; 1: says what it knows of the calls before; 2: the next exception ends the tests.
system_call:
        mov [abs USER_RSP], rsp
        mov rsp, [abs SAVED_RSP]
        push rcx
        push r11
        cmp al, 1
        je .report
        cmp al, 2
        je .expect
        ; What SYSCALL leaves.
        inc qword [abs COUNT]
        mov edx, cs
        cmp edx, KERNEL_CS
        jne .wrong
        mov edx, ss
        cmp edx, KERNEL_CS + 8
        jne .wrong
        pushfq
        pop rdx
        test edx, 0x47700
        jnz .wrong
        test r11d, 0x200
        jz .wrong
        cmp qword [abs USER_RSP], USER_TOP
        je .back
.wrong: inc qword [abs WRONG]
.back:  pop r11
        pop rcx
        mov rsp, [abs USER_RSP]
        o64 sysret

.report:
        cmp qword [abs COUNT], CALLS
        check e, "every system call arrives"
        cmp qword [abs WRONG], 0
        check e, "in ring 0, with its segments, flags and stack"
        jmp .back

        ; The user's next instruction faults.
.expect:
        inc qword [abs COUNT]
        lea rax, [touched]
        cmp qword [abs COUNT], CALLS + 1
        je .go
        lea rax, [jumped]
.go:    mov [abs RESUME], rax
        mov qword [abs VECTOR], -1
        jmp .back

touched:
        cmp qword [abs ERROR], 7
        check e, "the user does not write the kernel's memory"
        cmp qword [abs FAULT_CR2], SCRATCH
        check e, "and the kernel is told where"
        mov [abs SAVED_RSP], rsp
        mov ecx, PAGES + user_jumps - user
        mov r11d, 0x202
        mov esp, USER_TOP
        o64 sysret

jumped:
        cmp qword [abs VECTOR], 14
        check e, "a jump to the kernel's entry is a page fault"
        lea rax, [system_call]
        cmp [abs FAULT_RIP], rax
        check e, "at the entry"
        test dword [abs FAULT_CS], 3
        check nz, "in ring 3"
        ret

; ---- The user's, at PAGES ----
user:
        mov ebx, CALLS
.next:  xor eax, eax
        syscall
        dec ebx
        jnz .next
        mov al, 1
        syscall
        mov al, 2
        syscall
        mov [abs SCRATCH], eax
user_jumps:
        mov al, 2
        syscall
        mov ecx, PAGES + user_jumps - user + 4  ; as if by SYSCALL
        mov r11d, 0x202
        mov eax, linear(system_call)
        jmp rax
user_end:
        suite_end
