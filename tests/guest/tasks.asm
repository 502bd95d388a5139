; SPDX-License-Identifier: GPL-2.0-or-later
; Hardware task switches: CALL, JMP, IRET, gates, and what is refused.
%include "suite32.inc"

OTHER           equ FREE                ; a TSS
OTHER_GATE      equ FREE + 0x08         ; a task gate to it
OTHER_TSS       equ 0x2400
OTHER_STACK     equ 0x70000

; The other task begins at the label.
%macro other_at 1
        mov dword [OTHER_TSS + 32], linear(%1)
        mov dword [OTHER_TSS + 36], 2
        mov dword [OTHER_TSS + 56], OTHER_STACK
        and byte [GDT + OTHER + 5], 0xfd        ; not busy
%endmacro

tests:
        mov edi, OTHER_TSS
        mov ecx, 104 / 4
        xor eax, eax
        rep stosd
        descriptor OTHER, OTHER_TSS, 103, 0x89, 0
        gate GDT + OTHER_GATE, OTHER, 0, 0x85, 0
        mov eax, DATA
        mov edi, OTHER_TSS + 72
        mov ecx, 6
        rep stosd
        mov dword [OTHER_TSS + 76], CODE
        mov dword [OTHER_TSS + 40], 0x1111      ; EAX
        mov dword [OTHER_TSS + 52], 0x2222      ; EBX
        mov eax, cr0
        and eax, ~8
        mov cr0, eax

        ; ---- CALL and IRET ----
        other_at .called
        mov ebx, 0x5555
        call OTHER:0
        jmp .back
.called:
        mov [SCRATCH], eax
        mov [SCRATCH + 4], ebx
        str [SCRATCH + 8]
        pushfd
        pop dword [SCRATCH + 12]
        mov eax, cr0
        mov [SCRATCH + 16], eax
        mov ecx, [OTHER_TSS]
        mov [SCRATCH + 20], ecx
        mov al, [GDT + TSS_SELECTOR + 5]
        mov [SCRATCH + 24], al
        iretd
        jmp .again
.back:  cmp dword [SCRATCH], 0x1111
        check e, "a task's EAX"
        cmp ebx, 0x5555
        check e, "this one's EBX"
        cmp word [SCRATCH + 8], OTHER
        check e, "TR in the task"
        test dword [SCRATCH + 12], 0x4000
        check nz, "NT is set by CALL"
        test dword [SCRATCH + 16], 8
        check nz, "CR0.TS, too"
        cmp word [SCRATCH + 20], TSS_SELECTOR
        check e, "the back link"
        cmp byte [SCRATCH + 24], 0x8b
        check e, "the caller stays busy"
        cmp byte [GDT + OTHER + 5], 0x89
        check e, "the task is not, after IRET"
        str ax
        cmp ax, TSS_SELECTOR
        check e, "TR is back"
        clts
        ; The task goes on behind its IRET.
        call OTHER:0
        jmp .back_again
.again: mov dword [SCRATCH], 0x77
        iretd
.back_again:
        cmp dword [SCRATCH], 0x77
        check e, "a task goes on where it was"

        ; ---- JMP ----
        other_at .jumped
        jmp OTHER:0
        jmp .from_jump
.jumped:
        pushfd
        pop dword [SCRATCH]
        mov al, [GDT + TSS_SELECTOR + 5]
        mov [SCRATCH + 4], al
        jmp TSS_SELECTOR:0
.from_jump:
        test dword [SCRATCH], 0x4000
        check z, "JMP does not nest"
        cmp byte [SCRATCH + 4], 0x89
        check e, "and leaves no busy task behind"

        ; ---- Gates and faults ----
        other_at .gate
        gate IDT + 0x40 * 8, OTHER, 0, 0x85, 0
        int 0x40
        jmp .from_gate
.gate:  mov dword [SCRATCH], 0x99
        iretd
.from_gate:
        cmp dword [SCRATCH], 0x99
        check e, "an interrupt through a task gate"
        other_at .gate
        mov dword [SCRATCH], 0
        call OTHER_GATE:0
        cmp dword [SCRATCH], 0x99
        check e, "a call through a task gate"
        begin_fault
        call TSS_SELECTOR:0
        end_fault 13, TSS_SELECTOR, "a busy task"
        mov word [GDT + OTHER], 102
        other_at .gate
        begin_fault
        call OTHER:0
        end_fault 10, OTHER, "a TSS that is too small"
        mov word [GDT + OTHER], 103
        and byte [GDT + OTHER + 5], 0x7f
        begin_fault
        call OTHER:0
        end_fault 11, OTHER, "an absent TSS"
        or byte [GDT + OTHER + 5], 0x80
        clts

        ret

        suite_end
