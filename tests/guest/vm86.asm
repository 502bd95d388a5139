; SPDX-License-Identifier: GPL-2.0-or-later
; vm86 mode: what faults by IOPL, ports by the TSS's map, and CR4.VME's interrupts and virtual flag.
%include "suite32.inc"

VM86_CODE       equ 0x3000              ; linear; 0x300:0
VM86_STACK      equ 0x600               ; a segment
EFLAGS_VM       equ 1 << 17
VIF             equ 1 << 19
VIP             equ 1 << 20

; Runs the code at the label in vm86 mode with EFLAGS as given, to end_fault.
%macro vm86_fault 2
        begin_fault
        push 0                          ; GS, FS, DS, ES
        push 0
        push 0x300
        push 0x300
        push VM86_STACK
        push 0x100
        push EFLAGS_VM | 2 | %2
        push 0x300
        push %1 - vm86_code
        iretd
%endmacro
%macro fault_at 2
        cmp dword [FAULT_EIP], %1 - vm86_code
        check e, %2
%endmacro

tests:
        mov edi, VM86_CODE
        mov esi, linear(vm86_code)
        mov ecx, vm86_end - vm86_code
        rep movsb

        vm86_fault vm86_hlt, 0
        end_fault 13, 0, "HLT"
        fault_at vm86_hlt, "HLT's EIP"
        test dword [FAULT_FLAGS], EFLAGS_VM
        check nz, "VM in the frame"
        mov eax, [FAULT_ESP]
        cmp dword [eax + 24], 0x100
        check e, "SP in the frame"
        cmp dword [eax + 28], VM86_STACK
        check e, "SS in the frame"
        cmp dword [eax + 36], 0x300
        check e, "DS in the frame"
        vm86_fault vm86_cli, 0
        end_fault 13, 0, "CLI with IOPL 0"
        fault_at vm86_cli, "its EIP"
        vm86_fault vm86_cli, 0x3000
        end_fault 13, 0, "CLI with IOPL 3"
        fault_at vm86_cli_hlt, "goes through"
        vm86_fault vm86_int, 0
        end_fault 13, 0, "INT with IOPL 0"
        fault_at vm86_int, "INT's EIP"
        vm86_fault vm86_pushf, 0
        end_fault 13, 0, "PUSHF with IOPL 0"
        fault_at vm86_pushf, "PUSHF's EIP"
        vm86_fault vm86_segments, 0
        end_fault 13, 0, "segment registers"
        fault_at vm86_segments_hlt, "hold any value"
        cmp word [VM86_CODE + 0x200], 0x4321
        check e, "and are paragraphs"

        ; ---- Ports ----
        vm86_fault vm86_in, 0x3000
        end_fault 13, 0, "a port that the map forbids, with IOPL 3"
        fault_at vm86_in, "IN's EIP"
        and byte [TSS + 0x88 + 0x80 / 8], 0xfe
        vm86_fault vm86_in, 0
        end_fault 13, 0, "one that it allows"
        fault_at vm86_in_hlt, "is read"

        ; ---- CR4.VME ----
        mov eax, 1
        cpuid
        test edx, 2
        check nz, "VME is there"
        mov eax, cr4
        or eax, 1
        mov cr4, eax
        ; Interrupt 0x21 goes to the program's own handler.
        mov dword [0x21 * 4], 0x300 << 16 | (vm86_handler - vm86_code)
        and byte [TSS + 0x68 + 0x21 / 8], ~(1 << 0x21 % 8)
        mov word [VM86_CODE + 0x202], 0
        vm86_fault vm86_int, VIF
        end_fault 13, 0, "INT that is redirected"
        fault_at vm86_int_hlt, "comes back"
        cmp word [VM86_CODE + 0x202], 0x21
        check e, "from its handler"
        test word [VM86_CODE + 0x204], 0x200
        check nz, "IF on its stack is VIF"
        test word [VM86_CODE + 0x204], 0x3000
        check nz, "and IOPL 3"
        test word [VM86_CODE + 0x206], 0x200
        check z, "VIF is clear in the handler"
        vm86_fault vm86_cli, VIF
        end_fault 13, 0, "CLI with VME"
        fault_at vm86_cli_hlt, "does not fault"
        test dword [FAULT_FLAGS], VIF
        check z, "it clears VIF"
        vm86_fault vm86_sti, 0
        end_fault 13, 0, "STI with VME"
        fault_at vm86_sti_hlt, "does not fault, either"
        test dword [FAULT_FLAGS], VIF
        check nz, "it sets VIF"
        vm86_fault vm86_sti, VIP
        end_fault 13, 0, "STI with VIP"
        fault_at vm86_sti, "faults"
        or byte [TSS + 0x68 + 0x21 / 8], 1 << 0x21 % 8
        vm86_fault vm86_int, 0
        end_fault 13, 0, "INT that is not redirected"
        fault_at vm86_int, "faults"
        ret

        bits 16
vm86_code:
vm86_hlt: hlt
vm86_cli: cli
vm86_cli_hlt: hlt
vm86_sti: sti
vm86_sti_hlt: hlt
vm86_int: int 0x21
vm86_int_hlt: hlt
vm86_pushf: pushf
        hlt
vm86_in: in al, 0x80
vm86_in_hlt: hlt
vm86_segments:
        mov ax, 0x320                   ; this segment's offset 0x200
        mov es, ax
        mov word [es:0], 0x4321
vm86_segments_hlt: hlt
vm86_handler:
        push bp
        mov bp, sp
        mov ax, [bp + 6]
        mov [0x204], ax
        mov word [0x202], 0x21
        pushf
        pop ax
        mov [0x206], ax
        pop bp
        iret
vm86_end:
        suite_end
