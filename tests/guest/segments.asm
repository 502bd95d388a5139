; SPDX-License-Identifier: GPL-2.0-or-later
; Segmentation: limits, types, privilege, presence; LDT, call gates; what the verifying instructions say; unreal
; mode.  -DGATES: with call gates, which KVM's emulator does not know.
%include "suite32.inc"

SMALL           equ FREE                ; data, limit 0xff at SCRATCH
READONLY        equ FREE + 0x08
DOWN            equ FREE + 0x10         ; expand-down: above 0xff
ABSENT          equ FREE + 0x18
EXECUTE         equ FREE + 0x20         ; code that cannot be read
CONFORMING      equ FREE + 0x28
LDT             equ FREE + 0x30
GATE            equ FREE + 0x38         ; to ring 0, two parameters
GATE_USER       equ FREE + 0x40         ; to no privilege
SMALL_STACK     equ FREE + 0x48
LDT_AT          equ 0xa00

tests:
        descriptor SMALL, SCRATCH, 0xff, 0x93, 4
        descriptor READONLY, SCRATCH, 0xff, 0x91, 4
        descriptor DOWN, SCRATCH, 0xff, 0x97, 4
        descriptor ABSENT, SCRATCH, 0xff, 0x13, 4
        descriptor EXECUTE, 0, 0xfffff, 0x99, 0xc
        descriptor CONFORMING, 0, 0xfffff, 0x9f, 0xc
        descriptor LDT, LDT_AT, 0x0f, 0x82, 0
        descriptor SMALL_STACK, SCRATCH, 0x7f, 0xf3, 4
        gate GDT + GATE, CODE, linear(gate_entry), 0xec, 2
        gate GDT + GATE_USER, USER_CODE, linear(gate_entry), 0x8c, 0

        ; ---- Limits ----
        mov ax, SMALL
        mov fs, ax
        mov dword [SCRATCH + 0xfc], 0x600d
        cmp dword [fs:0xfc], 0x600d
        check e, "up to the limit"
        begin_fault
        mov eax, [fs:0xfd]
        end_fault 13, 0, "beyond the limit"
        begin_fault
        mov eax, [fs:0xfffffffe]
        end_fault 13, 0, "around 4 GiB"
        mov ax, DOWN
        mov fs, ax
        begin_fault
        mov eax, [fs:0xff]
        end_fault 13, 0, "expand-down, at its limit"
        mov dword [SCRATCH + 0x100], 0xd0d0
        cmp dword [fs:0x100], 0xd0d0
        check e, "expand-down, above it"
        user_fault
        mov ax, SMALL_STACK | 3
        mov ss, ax
        mov esp, 0x82
        pop eax
        end_fault 12, 0, "POP beyond the stack's limit"
        user_fault
        mov ax, SMALL_STACK | 3
        mov ss, ax
        mov esp, 2
        push eax
        end_fault 12, 0, "PUSH below 0"

        ; ---- Types ----
        mov ax, READONLY
        mov fs, ax
        begin_fault
        mov [fs:0], eax
        end_fault 13, 0, "a write to a read-only segment"
        begin_fault
        mov [cs:linear(suite_data)], eax
        end_fault 13, 0, "a write to code"
        begin_fault
        mov ax, EXECUTE
        mov fs, ax
        end_fault 13, EXECUTE, "code that cannot be read, into FS"
        begin_fault
        mov ax, READONLY
        mov ss, ax
        end_fault 13, READONLY, "read-only data into SS"
        begin_fault
        mov ax, ABSENT
        mov fs, ax
        end_fault 11, ABSENT, "an absent segment"
        begin_fault
        mov ax, ABSENT
        mov ss, ax
        end_fault 12, ABSENT, "an absent one into SS"
        begin_fault
        xor eax, eax
        mov ss, ax
        end_fault 13, 0, "null into SS"
        xor eax, eax
        mov fs, ax
        begin_fault
        mov eax, [fs:0]
        end_fault 13, 0, "an access by null"
        begin_fault
        mov ax, 0x100
        mov fs, ax
        end_fault 13, 0x100, "a selector beyond the table"
        mov ax, SMALL
        mov fs, ax
        test byte [GDT + SMALL + 5], 1
        check nz, "a load sets the accessed bit"

        ; ---- Privilege ----
        user_fault
        mov ax, SMALL
        mov fs, ax
        end_fault 13, SMALL, "ring 0's data in ring 3"
        begin_fault
        mov ax, SMALL | 3
        mov ss, ax
        end_fault 13, SMALL, "another RPL into SS"
        begin_fault
        jmp USER_CODE:0
        end_fault 13, USER_CODE & ~3, "a jump to ring 3"
        begin_fault
        jmp DATA:0
        end_fault 13, DATA, "a jump to data"
        user_fault
        jmp CONFORMING:linear(.conforming)
.conforming:
        mov ax, cs
        cmp ax, CONFORMING | 3
        jne .wrong
        ud2
.wrong: hlt
        end_fault 6, 0, "conforming code keeps the privilege"

        ; ---- LDT ----
        begin_fault
        mov ax, 4
        mov fs, ax
        end_fault 13, 4, "the LDT without one"
        mov dword [LDT_AT], SCRATCH << 16 | 0xff
        mov dword [LDT_AT + 4], 0x00409300
        mov ax, LDT
        lldt ax
        mov ax, 4
        mov fs, ax
        cmp dword [fs:0x100 - 4], 0x600d
        check e, "a segment of the LDT"
        sldt ax
        cmp ax, LDT
        check e, "SLDT"

%ifdef GATES
        ; ---- Call gates ----
        mov dword [SCRATCH + 16], 0
        user_fault
        push 0x11
        push 0x22
        call GATE | 3:0
        cmp esp, USER_STACK
        jne .bad_stack
        ud2
.bad_stack:
        hlt
        end_fault 6, 0, "a call gate and back, parameters released"
        cmp dword [SCRATCH + 16], 0x22
        check e, "the last parameter"
        cmp dword [SCRATCH + 20], 0x11
        check e, "the first one"
        cmp dword [SCRATCH + 24], USER_CODE
        check e, "the caller's CS"
        cmp dword [SCRATCH + 28], KERNEL_STACK - 6 * 4
        check e, "the TSS's stack"
        user_fault
        call GATE_USER:0
        end_fault 13, GATE_USER, "a gate of ring 0 called in ring 3"

%endif
        ; ---- LAR, LSL, VERR, VERW, ARPL ----
        mov ecx, SMALL
        lsl eax, ecx
        cmp eax, 0xff
        check e, "LSL"
        lar eax, ecx
        cmp eax, 0x00409300
        check e, "LAR"
        mov eax, 0x123
        mov ecx, 0x100
        lar eax, ecx
        check nz, "LAR beyond the table"
        mov ax, READONLY
        verw ax
        check nz, "VERW of read-only data"
        verr ax
        check z, "VERR of it"
        mov ax, 0x10
        mov cx, 3
        arpl ax, cx
        check z, "ARPL"
        cmp ax, 0x13
        check e, "its RPL"

        ; ---- Unreal mode: limits stay when PE goes ----
        mov [SAVED_ESP], esp
        mov dword [0x200000], 0x77
        mov ax, DATA
        mov gs, ax
        jmp CODE16:(.real16 - begin)
        bits 16
.real16:
        mov ax, DATA16
        mov ds, ax
        mov ss, ax
        mov eax, cr0
        and al, 0xfe
        mov cr0, eax
        jmp 0xf000:(.real - begin)
.real:  xor ax, ax
        mov ds, ax
        mov ss, ax
        mov gs, ax
        mov sp, 0x7000
        mov ebx, [gs:dword 0x200000]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword CODE:linear(.protected)
        bits 32
.protected:
        mov ax, DATA
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, [SAVED_ESP]
        cmp ebx, 0x77
        check e, "unreal mode"
        ret

gate_entry:
        push eax
        mov ax, DATA
        mov ds, ax
        mov eax, [esp + 12]
        mov [SCRATCH + 16], eax
        mov eax, [esp + 16]
        mov [SCRATCH + 20], eax
        mov eax, [esp + 8]
        mov [SCRATCH + 24], eax
        lea eax, [esp + 4]
        mov [SCRATCH + 28], eax
        pop eax
        retf 8

        suite_end
