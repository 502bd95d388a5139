; SPDX-License-Identifier: GPL-2.0-or-later
; What tests/unit/test-gdb-modes.py looks at: loops in real mode, 32-bit protected mode and long mode, each
; until gdb writes to GO; in long mode on two CPUs.  Memory is mapped as it is.
%define FIRMWARE
%include "guest.inc"

PML4    equ 0x10000
PDPT    equ 0x11000
PD      equ 0x12000             ; and the next page: of the fourth GiB
GO      equ 0x4000              ; how far to go on
NAP     equ 0x4004              ; the second CPU is to halt
COUNT   equ 0x5000              ; of each mode's loop, 16 bytes apart
COUNT_2 equ 0x5080              ; of the second CPU
CROSS   equ 0x5ffd              ; eight bytes over a page's end
APIC    equ 0xfee00000

        cpu x64
main:
        set_up
        mov dword [GO], 0
        mov dword [NAP], 0
        mov dword [COUNT], 0
        mov dword [COUNT_2], 0
        jmp loop16

        times 0x1000 - ($ - begin) db 0xcc
loop16: mov eax, 0x16161616
        mov bx, 0x1616
        inc dword [COUNT]
        cmp byte [GO], 1
        jb loop16
        enter_flat flat

        bits 32
flat:   mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, 0x7000
        jmp loop32

        times 0x1200 - ($ - begin) db 0xcc
loop32: mov eax, 0x32323232
        mov ebx, 0x87654321
        inc dword [COUNT + 0x10]
        cmp byte [GO], 2
        jb loop32
        mov edi, PML4
        xor eax, eax
        mov ecx, 0x4000 / 4
        rep stosd
        mov dword [PML4], PDPT | 3
        mov dword [PDPT], PD | 3
        mov dword [PDPT + 3 * 8], PD + 0x1000 | 3
        mov dword [PD + 0x1000 + 0x1f7 * 8], APIC | 0x83
        mov edi, PD
        mov eax, 0x83
.page:  mov [edi], eax
        add edi, 8
        add eax, 0x200000
        cmp edi, PD + 0x1000
        jne .page
        ; The second CPU comes to 0x8000.
        mov esi, linear(trampoline)
        mov edi, 0x8000
        mov ecx, trampoline_end - trampoline
        rep movsb
        mov dword [APIC + 0xf0], 0x1ff
        mov dword [APIC + 0x300], 0x000c4500
        mov dword [APIC + 0x300], 0x000c4608
into_long:
        mov eax, PML4
        mov cr3, eax
        mov eax, 0x620          ; PAE, OSFXSR, OSXMMEXCPT
        mov cr4, eax
        mov ecx, 0xc0000080
        mov eax, 0x100          ; LME
        xor edx, edx
        wrmsr
        mov eax, 0x80000001
        mov cr0, eax
        lgdt [linear(long_gdtr)]
        jmp 0x08:linear(in_long)

        bits 64
in_long:
        mov ax, 0x10
        mov ds, ax
        mov ss, ax
        mov eax, 1
        cpuid
        shr ebx, 24
        jnz loop2
        jmp loop64

        times 0x1400 - ($ - begin) db 0xcc
loop64: mov rax, 0x6464646464646464
        mov r15, 0x123456789abcdef0
        nop
middle: nop
        inc dword [COUNT + 0x20]
        mov [CROSS], r15
        cmp byte [GO], 3
        jb loop64
        hlt

        times 0x1500 - ($ - begin) db 0xcc
loop2:  mov r14d, 0x2222
        inc dword [COUNT_2]
        cmp byte [NAP], 0
        je loop2
        cli
nap:    hlt
        jmp nap

        bits 16
trampoline:
        cli
        o32 lgdt [cs:trampoline_gdtr - trampoline]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 0x08:linear(flat_2)
trampoline_gdtr:
        dw flat_gdt_end - flat_gdt - 1
        dd linear(flat_gdt)
trampoline_end:
        bits 32
flat_2: mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        jmp into_long

        align 8
long_gdt:
        dq 0
        dq 0x00af9b000000ffff
        dq 0x00cf93000000ffff
long_gdtr:
        dw 23
        dd linear(long_gdt)

        bits 16
        guest_end
