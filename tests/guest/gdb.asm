; SPDX-License-Identifier: GPL-2.0-or-later
; What tests/unit/test-gdb.py looks at: a loop in long mode that calls functions at known addresses.
; The first GiB of linear addresses is physical memory, and so is the second.
%define FIRMWARE
%include "guest.inc"

PML4    equ 0x10000
PDPT    equ 0x11000
PD      equ 0x12000
COUNTER equ 0x5000
WATCHED equ 0x5008

        cpu x64
main:
        set_up
        enter_flat flat

        bits 32
flat:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov edi, PML4
        xor eax, eax
        mov ecx, 0x3000 / 4
        rep stosd
        mov dword [PML4], PDPT | 3
        mov dword [PDPT], PD | 3
        mov dword [PDPT + 8], PD | 3
        mov edi, PD
        mov eax, 0x83
.page:  mov [edi], eax
        add edi, 8
        add eax, 0x200000
        cmp edi, PD + 0x1000
        jne .page
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
        mov esp, 0x7000
        mov qword [COUNTER], 0
        jmp linear_loop

        align 8
long_gdt:
        dq 0
        dq 0x00af9b000000ffff
        dq 0x00cf93000000ffff
long_gdtr:
        dw 23
        dd linear(long_gdt)

        times 0x1000 - ($ - begin) db 0x90
linear_loop:                    ; 0xf1000
        call first
        call second
        call third
        inc qword [COUNTER]
        jmp linear_loop

%macro function 3               ; name, offset, what it does
        times %2 - ($ - begin) db 0xcc
%1:     mov rbx, %2
        %3
        ret
%endmacro
        function first, 0x1100, {mov rax, [COUNTER]}
        function second, 0x1200, {mov [WATCHED], rax}
        function third, 0x1300, {add rax, 1}
        function fourth, 0x1400, nop
        function fifth, 0x1500, nop

        bits 16
        guest_end
