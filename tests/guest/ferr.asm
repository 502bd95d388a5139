; SPDX-License-Identifier: GPL-2.0-or-later
; x87 errors the DOS way, with CR0.NE clear: FERR#, IRQ 13 (INT 75h), port F0h and IGNNE#; in real mode.
%define FIRMWARE
%include "guest.inc"

COUNT           equ 0x500               ; of interrupts
STATUS          equ 0x502               ; FSW in the handler
RETURN          equ 0x504               ; IP that it returns to
KIND            equ 0x506               ; what the handler does
TICKS           equ 0x508
ONE             equ 0x600
RESULT          equ 0x608
FPUENV          equ 0x620

HANDLE          equ 0                   ; as a compiler's run time: port F0h, look, clear
KEEP            equ 1                   ; port F0h, the error stays
FIRST           equ 2                   ; clears the error and tells the port afterwards

%macro check 2
        j%1 %%good
        say {"FAIL ", %2, 10}
        jmp %%on
%%good: say {"PASS ", %2, 10}
%%on:
%endmacro
; An error that waits: 1 / 0 with #Z unmasked, all others masked.
%macro error 0
        fninit
        mov word [ONE], 0x37b
        fldcw [ONE]
        fld1
        fldz
        fdivp st1, st0
%endmacro

main:
        set_up
        mov word [0x75 * 4], on_error
        mov [0x75 * 4 + 2], cs
        mov word [0x08 * 4], on_tick
        mov [0x08 * 4 + 2], cs
        mov word [COUNT], 0
        mov word [TICKS], 0
        mov word [KIND], HANDLE
        mov al, 0x11
        out 0x20, al
        out 0xa0, al
        mov al, 0x08
        out 0x21, al
        mov al, 0x70
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xfb                    ; the cascade
        out 0x21, al
        mov al, 0xdf                    ; IRQ 13
        out 0xa1, al
        mov eax, cr0
        and al, ~0x2c                   ; NE, TS, EM
        mov cr0, eax
        sti

        ; The error waits for the next instruction that waits; those that do not go on.
        error
        fnstsw ax
        mov bx, ax
        and bx, 0x8084
        cmp bx, 0x8084
        check e, "the error is in the status word"
        cmp word [COUNT], 0
        check e, "it does not interrupt before the next instruction"
waits:  fwait
        cmp word [COUNT], 1
        check e, "WAIT makes it IRQ 13"
        cmp word [RETURN], waits
        check e, "the interrupt comes before WAIT"
        test word [STATUS], 0x80
        check nz, "the handler sees the error"
        fnstsw ax
        test ax, 0x80
        check z, "the handler has cleared it"
        fld1
        fwait
        cmp word [COUNT], 1
        check e, "nothing is left of it"

        ; A computing instruction, and an MMX one.
        error
computes:
        fld1
        cmp word [COUNT], 2
        check e, "FLD makes it IRQ 13"
        cmp word [RETURN], computes
        check e, "the interrupt comes before FLD"
        error
        emms
        cmp word [COUNT], 3
        check e, "EMMS makes it IRQ 13"

        ; Masked errors are none.
        fninit
        fld1
        fldz
        fdivp st1, st0
        fwait
        cmp word [COUNT], 3
        check e, "a masked error is none"

        ; IGNNE#: after port F0h the processor goes on computing although the error stays.
        mov word [KIND], KEEP
        error
        fwait
        cmp word [COUNT], 4
        check e, "IRQ 13 once more"
        fninit                          ; ends the error and IGNNE# with it
        error
        fwait
        cmp word [COUNT], 5
        check e, "the next error is not ignored"
        fld1                            ; under IGNNE#
        fld1
        faddp st1, st0
        fistp word [RESULT]
        cmp word [RESULT], 2
        check e, "IGNNE#: computes with an error that waits"
        fnstsw ax
        test ax, 0x80
        check nz, "which still waits"
        cmp word [COUNT], 5
        check e, "and does not interrupt again"
        fnclex
        mov word [KIND], FIRST
        error
        fwait
        cmp word [COUNT], 6
        check e, "FNCLEX ends IGNNE#"
        error
        fwait
        cmp word [COUNT], 7
        check e, "port F0h without an error raises no IGNNE#"

        ; FNSAVE, FNSTENV and FLDCW with the masks end an error.
        mov word [KIND], HANDLE
        error
        fnsave [FPUENV]
        fwait
        error
        fnstenv [FPUENV]
        fwait
        cmp word [COUNT], 7
        check e, "FNSAVE and FNSTENV end an error"
        fldenv [FPUENV]
        fwait
        cmp word [COUNT], 8
        check e, "FLDENV brings it back"

        ; Masked at the controller the processor stands still, but for other interrupts.
        mov al, 0xff
        out 0xa1, al
        mov al, 0x34
        out 0x43, al
        mov al, 0xa9
        out 0x40, al
        mov al, 4
        out 0x40, al
        mov al, 0xfa
        out 0x21, al
        error
        fwait
        cmp word [TICKS], 20
        check ae, "without IRQ 13 it stands still"
        cmp word [COUNT], 9
        check e, "until somebody lets IRQ 13 in"

        ; CR0.NE: exception 16, whatever the pins do.
        mov al, 0xfb
        out 0x21, al
        mov word [0x10 * 4], on_mf
        mov [0x10 * 4 + 2], cs
        mov eax, cr0
        or al, 0x20
        mov cr0, eax
        mov word [RESULT], 0
        error
        fwait
        cmp word [RESULT], 1
        check e, "CR0.NE: exception 16"
        cmp word [COUNT], 9
        check e, "and no IRQ 13"
        finish 0

on_mf:
        fnclex
        inc word [RESULT]
        iret

on_tick:
        push ax
        inc word [TICKS]
        cmp word [TICKS], 20
        jb .done
        mov al, 0xdf
        out 0xa1, al
.done:  mov al, 0x20
        out 0x20, al
        pop ax
        iret

on_error:
        push bp
        mov bp, sp
        push ax
        mov ax, [bp + 2]
        mov [RETURN], ax
        inc word [COUNT]
        fnstsw [STATUS]
        cmp word [KIND], FIRST
        jne .port
        fnclex
.port:  xor al, al
        out 0xf0, al
        cmp word [KIND], HANDLE
        jne .end
        fnclex
.end:   mov al, 0x20
        out 0xa0, al
        out 0x20, al
        pop ax
        pop bp
        iret

        guest_end
