; SPDX-License-Identifier: GPL-2.0-or-later
; Resets the machine ten times by one path (-DPATH_...), counting in a word of memory that a reset
; leaves alone.
%ifndef SECTOR
%define FIRMWARE
%endif
%include "guest.inc"

COUNT           equ 0x500
RESETS           equ 10

main:
        set_up
        inc word [COUNT]
        say {"start "}
        mov ax, [COUNT]
        call putn
        mov al, 10
        call putc
        cmp word [COUNT], RESETS
        ja over
        mov dx, COM1 + 5
.sent:
        in al, dx
        test al, 0x40
        jz .sent

%ifdef PATH_8042
        mov al, 0xfe
        out 0x64, al
%elifdef PATH_PORT92
        in al, 0x92
        and al, 0xfe
        out 0x92, al
        or al, 1
        out 0x92, al
%elifdef PATH_CF9
        mov dx, 0xcf9
        mov al, 2
        out dx, al
        mov al, 6
        out dx, al
%elifdef PATH_TRIPLE
        ; No vector fits into an empty IDT: the protection fault, then the double fault, cannot be
        ; delivered.
        o32 lidt [cs:no_idt]
        enter_flat fault
        bits 32
fault:
        mov ax, 0x50
        mov ds, ax
        bits 16
%endif
        ; A reset may take a moment, but nothing after it may run on.
        mov cx, 0xffff
.wait:
        loop .wait
        say {"still here", 10}
        finish 1
over:
        say {"done", 10}
        finish 0

no_idt: dw 0
        dd 0

        guest_end
