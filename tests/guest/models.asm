; SPDX-License-Identifier: GPL-2.0-or-later
; What a processor of a model has not is no instruction, and what it has is one: -DFAMILY=4 (-cpu 486), 5 (-cpu
; pentium), 6 (-cpu pentium3) or 15 (-cpu qemu64).  And who runs it.
%include "suite32.inc"

UNDEFINED       equ 6
NONE            equ -1

; One instruction, which is to end in %1, from the family %2 on without an exception.
%macro since 3
        begin_fault
        %3
%if FAMILY >= %2
        end_fault NONE, 0, %1
%else
        end_fault UNDEFINED, 0, %1
%endif
%endmacro

tests:
        mov dword [ERROR], 0
        mov dword [SCRATCH], 0
        mov dword [SCRATCH + 4], 0
        xor eax, eax
        xor edx, edx
        xor ecx, ecx
        since "BSWAP", 4, bswap eax
        since "XADD", 4, {xadd [SCRATCH], edx}
        since "CMPXCHG8B", 5, cmpxchg8b [SCRATCH]
        since "RDTSC", 5, rdtsc
        xor ecx, ecx
        since "RDPMC", 5, rdpmc
        mov ecx, 0x8b
        since "RDMSR", 5, rdmsr
        since "multi-byte NOP", 6, nop dword [SCRATCH]
        since "ENDBR", 6, {db 0xf3, 0x0f, 0x1e, 0xfb}
        since "PREFETCHNTA", 6, prefetchnta [SCRATCH]
        since "PREFETCHW", 6, prefetchw [SCRATCH]
        since "CMOV", 6, {cmovc eax, ebx}
        since "CRC32", 16, {crc32 eax, ebx}
        since "MOVBE", 16, {movbe eax, [SCRATCH]}
        since "POPCNT", 16, {popcnt eax, ebx}
        since "RSM", 16, rsm
        ; CR4.PCE comes with RDPMC.
        begin_fault
        mov eax, cr4
        or eax, 0x100
        mov cr4, eax
%if FAMILY >= 5
        end_fault NONE, 0, "CR4.PCE"
        mov eax, cr4
        and eax, ~0x100
        mov cr4, eax
        ; There are two counters, of AMD's processors four; none counts.
        mov ecx, 4
        begin_fault
        rdpmc
        end_fault 13, 0, "RDPMC of a fifth"
        mov dword [ERROR], 0
        mov ecx, 1
        rdpmc
        or eax, edx
        check z, "the second stands"
%else
        end_fault 13, 0, "CR4.PCE"
        mov dword [ERROR], 0
%endif
        ; It is a virtual processor, and says whose.
        mov eax, 1
        cpuid
        test ecx, ecx
        check s, "the hypervisor bit"
        mov eax, 0x40000000
        cpuid
        cmp ebx, 'vmru'
        check e, "vmrun's leaf"
        cmp eax, 0x40000001
        check e, "the last of its kind"
        cmp ecx, 'nvmr'
        check e, "its name goes on"
        cmp edx, 'un'
        check e, "its name ends there"
        ret
        suite_end
