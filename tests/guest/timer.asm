; SPDX-License-Identifier: GPL-2.0-or-later
; 8254 channel 0 through the 8259: counts interrupts from HLT, and none while masked.
%define FIRMWARE
%include "guest.inc"

PIT_HZ          equ 1193182
WANTED          equ 50

main:
        set_up
        mov word [0x20 * 4], tick
        mov [0x20 * 4 + 2], cs
        mov word [count], 0
        ; 8259 pair: vectors 0x20 and 0x28, IRQ 0 only.
        mov al, 0x11
        out 0x20, al
        out 0xa0, al
        mov al, 0x20
        out 0x21, al
        mov al, 0x28
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xff
        out 0xa1, al
        mov al, 0xfe
        out 0x21, al
        ; Channel 0, rate generator, 1 kHz.
        mov al, 0x34
        out 0x43, al
        mov al, (PIT_HZ / 1000) & 0xff
        out 0x40, al
        mov al, (PIT_HZ / 1000) >> 8
        out 0x40, al
        sti
.wait:
        hlt
        cmp word [count], WANTED
        jb .wait
        cli
        say {"50 ticks from HLT", 10}

        ; Masked: let ten more periods pass, by the counter itself.
        mov al, 0xff
        out 0x21, al
        mov ax, [count]
        mov [before], ax
        sti
        mov cx, 10
.period:
        call wait_wrap
        loop .period
        mov ax, [count]
        cmp ax, [before]
        jne failed
        say {"none while masked", 10}
        ; IRQ 0 is edge-triggered and its request is latched: it comes once unmasked.
        mov al, 0xfe
        out 0x21, al
        nop
        nop
        hlt
        mov ax, [count]
        cmp ax, [before]
        je failed
        say {"again after unmasking", 10}
        finish 0
failed:
        say {"wrong count", 10}
        finish 1

; Until the counter has passed its end: it counts down, so that it is larger than before.
wait_wrap:
        call read_counter
        mov bx, ax
.same:
        call read_counter
        cmp ax, bx
        ja .done
        mov bx, ax
        jmp .same
.done:
        ret

read_counter:
        xor al, al
        out 0x43, al
        in al, 0x40
        mov ah, al
        in al, 0x40
        xchg al, ah
        ret

tick:
        push ax
        push ds
        xor ax, ax
        mov ds, ax
        inc word [count]
        mov al, 0x20
        out 0x20, al
        pop ds
        pop ax
        iret

count           equ 0x500
before          equ 0x502

        guest_end
