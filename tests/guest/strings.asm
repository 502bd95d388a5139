; SPDX-License-Identifier: GPL-2.0-or-later
; String I/O at ports and in device memory: pointers, counts and directions.
%define FIRMWARE
%include "guest.inc"

VGA             equ 0xb800

main:
        set_up
        ; OUTSB forwards and backwards, to the serial port's scratch register and transmitter.
        mov dx, COM1
        push ds
        push cs
        pop ds
        mov si, forwards
        mov cx, forwards_end - forwards
        rep outsb
        std
        mov si, backwards_end - 1
        mov cx, backwards_end - backwards
        rep outsb
        cld
        pop ds
        test cx, cx
        jnz failed
        cmp si, backwards - 1
        jne failed
        ; INSB from the scratch register: the port stays, the pointer moves.
        mov dx, COM1 + 7
        mov al, 0x5a
        out dx, al
        mov di, 0x600
        mov cx, 100
        rep insb
        cmp di, 0x600 + 100
        jne failed
        mov di, 0x600
        mov cx, 100
        mov al, 0x5a
        repe scasb
        jne failed
        ; An empty one does nothing.
        mov byte [0x600], 1
        mov di, 0x600
        xor cx, cx
        rep insb
        cmp byte [0x600], 1
        jne failed
        say {"ports", 10}

        ; Enough of the VGA's registers for text memory: planes 0 and 1, odd and even, 0xb8000.
        mov dx, 0x3c2
        mov al, 0x67
        out dx, al
        mov dx, 0x3c4
        mov ax, 0x0302
        out dx, ax
        mov ax, 0x0204
        out dx, ax
        mov dx, 0x3ce
        mov ax, 0x1005
        out dx, ax
        mov ax, 0x0e06
        out dx, ax
        mov ax, 0xff08
        out dx, ax
        ; Text memory: STOS, MOVS there, there to there, and back.
        mov ax, VGA
        mov es, ax
        xor di, di
        mov cx, 2000
        mov ax, 0x0741
        rep stosw
        push ds
        mov ax, VGA
        mov ds, ax
        xor si, si
        mov di, 4000
        mov cx, 48
        rep movsw
        pop ds
        mov di, 4000
        mov cx, 48
        mov ax, 0x0741
        repe scasw
        jne failed
        say {"memory", 10}
        finish 0
failed:
        say {"wrong", 10}
        finish 1

forwards:
        db "forw", "ards", 10
forwards_end:
backwards:
        db 10, "sdrawkcab"
backwards_end:

        guest_end
