; SPDX-License-Identifier: GPL-2.0-or-later
; Local APIC timer, and the 8254 through IOAPIC pin 2, edge- and level-triggered.  (Intel SDM vol. 3,
; ch. 10; 82093AA.)  In real mode with a wide FS: KVMs that emulate ring 0 have no IRET in protected
; mode.
%define FIRMWARE
%include "guest.inc"

APIC            equ 0xfee00000
APIC_EOI        equ APIC + 0xb0
APIC_SVR        equ APIC + 0xf0
APIC_LVT_TIMER  equ APIC + 0x320
APIC_INITIAL    equ APIC + 0x380
APIC_DIVIDE     equ APIC + 0x3e0
IOAPIC          equ 0xfec00000
COUNT           equ 0x500
VECTOR          equ 0x40
WANTED          equ 10

; write ADDRESS, VALUE: a register of either APIC.
%macro write 2
        mov ebx, %1
        mov dword [fs:ebx], %2
%endmacro

main:
        set_up
        open_fs
        mov word [VECTOR * 4], handler
        mov [VECTOR * 4 + 2], cs
        mov al, 0xff                    ; no 8259
        out 0x21, al
        out 0xa1, al
        write APIC_SVR, 0x1ff

        write APIC_DIVIDE, 3            ; by 16
        write APIC_LVT_TIMER, 1 << 17 | VECTOR
        mov word [COUNT], 0
        write APIC_INITIAL, 100000
        call wait_ticks
        write APIC_LVT_TIMER, 1 << 16
        write APIC_INITIAL, 0
        say {"local APIC timer", 10}

        ; The 8254 at 1 kHz on IOAPIC pin 2, edge-triggered.
        mov al, 0x34
        out 0x43, al
        mov al, 1193 & 0xff
        out 0x40, al
        mov al, 1193 >> 8
        out 0x40, al
        mov word [COUNT], 0
        write IOAPIC, 0x10 + 2 * 2 + 1
        write IOAPIC + 0x10, 0
        write IOAPIC, 0x10 + 2 * 2
        write IOAPIC + 0x10, VECTOR
        call wait_ticks
        say {"IOAPIC, edge", 10}

        ; Level-triggered: the next interrupt needs the EOI of the one before.
        mov word [COUNT], 0
        write IOAPIC + 0x10, 1 << 15 | VECTOR
        call wait_ticks
        write IOAPIC + 0x10, 1 << 16
        say {"IOAPIC, level", 10}
        finish 0

; Sleeps until the handler has run WANTED times.
wait_ticks:
        sti
        hlt
        cli
        cmp word [COUNT], WANTED
        jb wait_ticks
        ret

handler:
        inc word [COUNT]
        push ebx
        write APIC_EOI, 0
        pop ebx
        iret

        guest_end
