; SPDX-License-Identifier: GPL-2.0-or-later
; Powers off by the PIIX4's PM1a control register (82371AB, 7.2.3).
%define FIRMWARE
%include "guest.inc"

PM_DEVICE       equ 0x80000b00          ; bus 0, slot 1, function 3
PM_BASE         equ 0x600

main:
        set_up
        say {"powering off", 10}
        mov dx, COM1 + 5
.sent:
        in al, dx
        test al, 0x40
        jz .sent
        mov dx, 0xcf8
        mov eax, PM_DEVICE | 0x40       ; PMBA
        out dx, eax
        mov dx, 0xcfc
        mov eax, PM_BASE | 1
        out dx, eax
        mov dx, 0xcf8
        mov eax, PM_DEVICE | 0x80       ; PMREGMISC: I/O enable
        out dx, eax
        mov dx, 0xcfc
        mov al, 1
        out dx, al
        mov dx, PM_BASE + 4
        mov ax, 1 << 13                 ; SLP_EN, type 0: soft off
        out dx, ax
        mov cx, 0xffff
.wait:
        loop .wait
        say {"still here", 10}
        finish 1

        guest_end
