; SPDX-License-Identifier: GPL-2.0-or-later
; IA32_APIC_BASE moves the local APIC's page; a processor without x2APIC and TSC deadline has neither.
%include "suite32.inc"

MSR_BASE        equ 0x1b
ELSEWHERE       equ 0xfe000000
HOME            equ 0xfee00000

tests:
        mov ecx, MSR_BASE
        rdmsr
        cmp eax, HOME | 0x900
        check e, "IA32_APIC_BASE after reset"
        mov dword [HOME + 0x80], 0x20
        mov eax, ELSEWHERE | 0x900
        wrmsr
        rdmsr
        cmp eax, ELSEWHERE | 0x900
        check e, "it takes another page"
        cmp dword [ELSEWHERE + 0x80], 0x20
        check e, "the registers are there"
        cmp byte [HOME + 0x30], 0x14
        check ne, "and not where they were"
        mov dword [ELSEWHERE + 0x80], 0x30
        mov eax, HOME | 0x900
        wrmsr
        cmp dword [HOME + 0x80], 0x30
        check e, "and back"
        begin_fault
        mov eax, HOME | 0xd00
        wrmsr
        end_fault 13, 0, "x2APIC mode: #GP"
        begin_fault
        mov ecx, 0x802
        rdmsr
        end_fault 13, 0, "its registers: #GP"
        begin_fault
        mov ecx, 0x6e0
        rdmsr
        end_fault 13, 0, "IA32_TSC_DEADLINE: #GP"
        ret

        suite_end
