; SPDX-License-Identifier: GPL-2.0-or-later
; Starts the other CPUs by INIT and SIPI; each adds to a counter with LOCK, a thousand times.  -DCPUS=N.
%define FIRMWARE
%include "guest.inc"

APIC_ICR        equ 0xfee00300
APIC_SVR        equ 0xfee000f0
TRAMPOLINE      equ 0x8000
STARTED         equ 0x500
TOTAL           equ 0x504
FINISHED        equ 0x508
EACH            equ 1000

main:
        set_up
        xor eax, eax
        mov [STARTED], eax
        mov [TOTAL], eax
        mov [FINISHED], eax
        ; The trampoline goes where a SIPI can reach it.
        push ds
        push cs
        pop ds
        mov si, trampoline
        mov di, TRAMPOLINE
        mov cx, trampoline_end - trampoline
        rep movsb
        pop ds
        enter_flat flat

trampoline:
        xor ax, ax
        mov ds, ax
        lock inc dword [STARTED]
        mov cx, EACH
.add:
        lock inc dword [TOTAL]
        loop .add
        lock inc dword [FINISHED]
.stop:
        cli
        hlt
        jmp .stop
trampoline_end:

        bits 32
flat:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, 0x7000
        mov dword [APIC_SVR], 0x1ff
        ; All but this one: INIT, then two start-ups.
        mov dword [APIC_ICR], 0x000c4500
        call settle
        mov dword [APIC_ICR], 0x000c4600 | TRAMPOLINE >> 12
        call settle
        mov dword [APIC_ICR], 0x000c4600 | TRAMPOLINE >> 12
.wait:
        pause
        cmp dword [FINISHED], CPUS - 1
        jb .wait
        mov eax, [STARTED]
        call put_decimal
        mov al, ' '
        call put
        mov eax, [TOTAL]
        call put_decimal
        mov al, 10
        call put
        mov dx, COM1 + 5
.sent:
        in al, dx
        test al, 0x40
        jz .sent
        xor al, al
        out DEBUG_EXIT, al
        hlt

; Some accesses to a port that nobody has, as firmware used to wait.
settle:
        mov ecx, 1000
.again:
        in al, 0x80
        loop .again
        ret

put_decimal:
        xor ecx, ecx
        mov ebx, 10
.digit:
        xor edx, edx
        div ebx
        push edx
        inc ecx
        test eax, eax
        jnz .digit
.print:
        pop eax
        add al, '0'
        call put
        loop .print
        ret

put:
        mov dx, COM1
        out dx, al
        ret

        bits 16
        guest_end
