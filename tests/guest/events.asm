; SPDX-License-Identifier: GPL-2.0-or-later
; Interrupts and when they come, the local APIC, HLT, single step, breakpoints, user mode and the ways
; into it and back.
;
; -DPRECISE: with what a KVM that emulates ring 0 in batches does not do: interrupts come late there, data
; breakpoints and INT in user mode not at all, and behind SYSCALL ports are still the user's.
%include "suite64.inc"

APIC            equ 0xfee00000          ; in R15
ICR             equ 0x300
VECTOR_A        equ 0x51
VECTOR_B        equ 0x71
COUNT           equ 0x580               ; interrupts so far
ORDER           equ 0x588               ; their vectors, the last one lowest
WHERE           equ 0x590               ; RIP of the last

; Asks for vector %1 on this CPU.
%macro self 1
        mov dword [r15 + ICR], 0x44000 | %1
%endmacro
%macro reset_counts 0
        mov qword [abs COUNT], 0
        mov qword [abs ORDER], 0
%endmacro

; What follows, up to end_fault, runs in user mode.
%macro user_fault 0
        begin_fault
        push USER_DS
        push USER_STACK
        push 2
        push USER_CS
        lea rax, [%%user]
        push rax
        iretq
%%user:
%endmacro

handler_a:
        push VECTOR_A
        jmp handler
handler_b:
        push VECTOR_B
handler:
        push rax
        inc qword [abs COUNT]
        mov rax, [abs ORDER]
        shl rax, 8
        or rax, [rsp + 8]
        mov [abs ORDER], rax
        mov rax, [rsp + 16]
        mov [abs WHERE], rax
        mov dword [r15 + 0xb0], 0
        pop rax
        add rsp, 8
        iretq

; A gate like set_gate's, which user code may call.
user_gate:
        call set_gate
        or byte [rdi - 16 + 5], 0x60
        ret

tests:
        mov r15d, APIC
        lea rax, [handler_a]
        mov edi, IDT + VECTOR_A * 16
        call set_gate
        lea rax, [handler_b]
        mov edi, IDT + VECTOR_B * 16
        call set_gate
        mov dword [r15 + 0xf0], 0x1ff

%ifdef PRECISE
        ; ---- When interrupts come ----
        reset_counts
        self VECTOR_A
        nop
        cmp qword [abs COUNT], 0
        check e, "none with IF clear"
        sti
after_sti:
        nop
after_nop:
        cli
        lea rax, [after_nop]
        cmp [abs WHERE], rax
        check e, "STI holds interrupts off for one instruction"
        reset_counts
        self VECTOR_A
        sti
        cli
        cmp qword [abs COUNT], 0
        check e, "STI and CLI let none in"
        sti
        nop
        cli
        cmp qword [abs COUNT], 1
        check e, "it came then"
        reset_counts
        self VECTOR_A
        pushfq
        or qword [rsp], 0x200
        popfq
after_popf:
        nop
        cli
        lea rax, [after_popf]
        cmp [abs WHERE], rax
        check e, "POPF lets it in at once"

        ; ---- Priorities ----
        reset_counts
        self VECTOR_A
        self VECTOR_B
        sti
        nop
        nop
        cli
        cmp qword [abs ORDER], VECTOR_B << 8 | VECTOR_A
        check e, "the higher vector is first"
        reset_counts
        mov eax, 6
        mov cr8, rax
        self VECTOR_A
        self VECTOR_B
        sti
        nop
        nop
        cli
        cmp qword [abs ORDER], VECTOR_B
        check e, "CR8 holds the lower one back"
        xor eax, eax
        sti
        mov cr8, rax
        nop
        cli
        cmp qword [abs ORDER], VECTOR_B << 8 | VECTOR_A
        check e, "until it is lowered"

%endif
        ; ---- HLT, with the APIC's timer ----
        reset_counts
        mov dword [r15 + 0x3e0], 0xb       ; divide by 1
        mov dword [r15 + 0x320], VECTOR_A
        mov dword [r15 + 0x380], 100000
        sti
        hlt
after_hlt:
        cli
        lea rax, [after_hlt]
        cmp [abs WHERE], rax
        check e, "the APIC's timer ends HLT"
        mov dword [r15 + 0x320], 0x10000

        ; ---- Single step ----
        begin_fault
        pushfq
        or qword [rsp], 0x100
        popfq
        nop
stepped:
        nop
        end_fault 1, 0, "a single step"
        lea rax, [stepped]
        cmp [abs FAULT_RIP], rax
        check e, "is behind the instruction after POPF"
        mov rax, dr6
        bt eax, 14
        check c, "DR6.BS"
        mov eax, 0xffff0ff0
        mov dr6, rax

        ; ---- Breakpoints ----
        lea rax, [at_break]
        mov dr0, rax
        mov eax, 0x402
        mov dr7, rax
        begin_fault
at_break:
        nop
        end_fault 1, 0, "a breakpoint"
        lea rax, [at_break]
        cmp [abs FAULT_RIP], rax
        check e, "is before its instruction"
        mov rax, dr6
        and eax, 0xf
        cmp eax, 1
        check e, "DR6.B0"
%ifdef PRECISE
        mov eax, SCRATCH + 8
        mov dr1, rax
        mov eax, 0x00d00408                     ; writes of four bytes
        mov dr7, rax
        mov eax, [abs SCRATCH + 8]
        begin_fault
        mov byte [abs SCRATCH + 9], 1
written:
        end_fault 1, 0, "a watchpoint"
        lea rax, [written]
        cmp [abs FAULT_RIP], rax
        check e, "is behind its instruction"
        cmp byte [abs SCRATCH + 9], 1
        check e, "which is done"
%endif
        mov eax, 0x400
        mov dr7, rax
        mov eax, 0xffff0ff0
        mov dr6, rax

        ; ---- User mode ----
%ifdef PRECISE
        lea rax, [from_user]
        mov edi, IDT + 0x80 * 16
        call user_gate
        mov [abs SAVED_RSP], rsp
        mov ax, USER_DS
        mov ds, ax
        push USER_DS
        push USER_STACK
        push 0x202
        push USER_CS
        lea rax, [user]
        push rax
        iretq
user:   mov rbx, rsp
        mov ecx, cs
        int 0x80
from_user:
        mov ax, KERNEL_DS
        mov ds, ax
        cmp qword [rsp + 8], USER_CS
        check e, "INT from user mode"
        cmp rbx, USER_STACK
        check e, "on the user's stack"
        lea rax, [rsp + 40]
        cmp rax, STACK - 0x8000
        check e, "to the TSS's stack"
        mov rsp, [abs SAVED_RSP]

%endif
        user_fault
        cli
        end_fault 13, 0, "CLI by the user"
        user_fault
        hlt
        end_fault 13, 0, "HLT by the user"
        user_fault
        in al, 0x80
        end_fault 13, 0, "IN by the user"
%ifdef PRECISE
        user_fault
        int 0x21
        end_fault 13, 0x21 * 8 + 2, "INT without a gate for the user"
%endif
        user_fault
        mov rax, cr0
        end_fault 13, 0, "MOV from CR0 by the user"
        and dword [abs PT], ~4
        invlpg [abs PAGES]
        user_fault
        mov al, [abs PAGES]
        end_fault 14, 5, "a system page read by the user"
        user_fault
        mov [abs PAGES], al
        end_fault 14, 7, "and written"
        user_fault
        mov eax, PAGES
        jmp rax
        end_fault 14, 5, "and executed"
        or dword [abs PT], 4
        invlpg [abs PAGES]
        user_fault
        db 0xf0                                 ; LOCK
        mov eax, ebx
        end_fault 6, 0, "LOCK where it has no business"

        ; ---- SYSCALL and SYSRET ----
%ifdef PRECISE
        mov ecx, 0xc0000081
        mov edx, (USER_DS - 8) << 16 | KERNEL_CS
        xor eax, eax
        wrmsr
        mov ecx, 0xc0000082
        lea rax, [system_call]
        xor edx, edx
        wrmsr
        mov ecx, 0xc0000084
        mov eax, 0x40200
        wrmsr
        mov [abs SAVED_RSP], rsp
        lea rcx, [.by_sysret]
        mov r11d, 0x40202
        o64 sysret
.by_sysret:
        mov esi, cs
        syscall
after_syscall:
        ud2
system_call:
        lea rax, [after_syscall]
        cmp rcx, rax
        check e, "SYSCALL's return address"
        test r11d, 0x40200
        check nz, "and flags"
        cmp esi, USER_CS
        check e, "SYSRET's CS"
        pushfq
        pop rax
        test eax, 0x40200
        check z, "SYSCALL clears what FMASK says"

%endif
        ; ---- SWAPGS ----
        mov ecx, 0xc0000102
        mov eax, SCRATCH
        xor edx, edx
        wrmsr
        mov dword [abs SCRATCH + 4], 0x600d
        swapgs
        mov eax, [gs:4]
        swapgs
        cmp eax, 0x600d
        check e, "SWAPGS"

        ; ---- What faults leave ----
        xor edx, edx
        mov eax, 5
        xor ecx, ecx
        begin_fault
        div ecx
        end_fault 0, 0, "a division by zero"
        cmp eax, 5
        check e, "its registers are as they were"
        begin_fault
        mov ax, 0x1000
        mov ds, ax
        end_fault 13, 0x1000, "a selector beyond the table"
        ret

        suite_end
