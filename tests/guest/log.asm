; SPDX-License-Identifier: GPL-2.0-or-later
; What -d exec,int,mmu tell of: interrupts with a known number of instructions between them, a page of 4 MiB, and
; one that is not there, which ends in a triple fault.
%define FIRMWARE
%include "guest.inc"

DIRECTORY       equ 0x10000

main:
        set_up
        mov word [0x40 * 4], back - begin
        mov [0x40 * 4 + 2], cs
        mov word [0x41 * 4], back - begin
        mov [0x41 * 4 + 2], cs
        int 0x40
        times 5 nop
        int 0x41
        enter_flat flat
back:   iret

        bits 32
flat:   mov ax, 0x10
        mov ds, ax
        mov dword [DIRECTORY], 0x83
        mov dword [DIRECTORY + 0x100 * 4], 0
        mov eax, cr4
        or eax, 0x10
        mov cr4, eax
        mov eax, DIRECTORY
        mov cr3, eax
        mov eax, cr0
        or eax, 1 << 31
        mov cr0, eax
        mov ebx, [0x1234]
        mov [0x5678], ebx
        lidt [linear(no_idt)]
        mov ebx, [0x40000010]
        align 8
no_idt: dw 0
        dd 0
        bits 16
        guest_end
