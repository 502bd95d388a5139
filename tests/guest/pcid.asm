; SPDX-License-Identifier: GPL-2.0-or-later
; Process-context identifiers: two address spaces that differ in one page, CR3 with and without a flush, INVLPG and
; INVPCID of this and of another space, global pages, and more PCIDs than a processor keeps.  Whether a translation
; outlives a change of CR3 is the processor's affair; vmrun's keeps those of eight PCIDs.
%include "suite64.inc"

PML4B           equ 0x20000
PDPTB           equ 0x21000
PDB             equ 0x22000
PTB             equ 0x23000
NO_FLUSH        equ 63
CASE            equ PAGES + 0x5000      ; the page that differs
ENTRY_A         equ PT + 8 * 5
ENTRY_B         equ PTB + 8 * 5
ONE             equ PAGES + 0x10000     ; the pages that it is, with their names in them
TWO             equ PAGES + 0x11000
THREE           equ PAGES + 0x12000

; Goes to the space of tables %1 and PCID %2; 1: keeps what is known of it.
%macro go 3
        mov rax, %1 + %2
    %if %3
        bts rax, NO_FLUSH
    %endif
        mov cr3, rax
%endmacro
%macro expect 2
        cmp dword [abs CASE], %1
        check e, %2
%endmacro
; INVPCID %1 of PCID %2.
%macro invalidate 2
        mov qword [abs SCRATCH], %2
        mov qword [abs SCRATCH + 8], CASE
        mov eax, %1
        invpcid rax, [abs SCRATCH]
%endmacro
%macro map 2
        mov qword [abs %1], %2
%endmacro

tests:
        mov dword [abs ONE], 1
        mov dword [abs TWO], 2
        mov dword [abs THREE], 3
        ; The second space: what it shares with the first, and a page table of its own.
        cld
        mov esi, PML4
        mov edi, PML4B
        mov ecx, 0x3000 / 8
        rep movsq
        mov esi, PT
        mov edi, PTB
        mov ecx, 0x1000 / 8
        rep movsq
        mov dword [abs PML4B], PDPTB + 7
        mov dword [abs PDPTB], PDB + 7
        mov dword [abs PDB + (PAGES >> 21) * 8], PTB + 7
        map ENTRY_A, ONE + 7
        map ENTRY_B, TWO + 7
        mov rax, cr4
        or eax, 1 << 17 | 1 << 7        ; PCIDE, PGE
        mov cr4, rax
        mov rax, cr3
        test eax, 0xfff
        check z, "PCID 0 at first"

        go PML4, 1, 0
        expect 1, "the first space"
        go PML4B, 2, 0
        expect 2, "the second"
        go PML4, 1, 1
        expect 1, "the first, kept"
        mov rax, cr3
        cmp rax, PML4 + 1
        check e, "CR3 without bit 63"
        go PML4B, 2, 1
        expect 2, "the second, kept"
        ; Nobody has told: what is known stays known.
        map ENTRY_A, THREE + 7
        go PML4, 1, 1
        expect 1, "kept though it has changed"
        go PML4, 1, 0
        expect 3, "not over a flush"
        go PML4B, 2, 1
        map ENTRY_A, ONE + 7
        invalidate 0, 1
        go PML4, 1, 1
        expect 1, "INVPCID of one page of another space"
        map ENTRY_B, THREE + 7
        invalidate 1, 2
        map ENTRY_A, TWO + 7
        expect 1, "leaves this one alone"
        go PML4B, 2, 1
        expect 3, "INVPCID of another space"
        go PML4, 1, 1
        expect 1, "and back"
        invlpg [abs CASE]
        expect 2, "INVLPG"
        map ENTRY_A, ONE + 7
        map ENTRY_B, TWO + 7
        invalidate 3, 0
        expect 1, "INVPCID of all"
        go PML4B, 2, 1
        expect 2, "and of the other"

        ; Global: known under any PCID, and forgotten by INVLPG under all.
        map ENTRY_A, ONE + 0x107
        map ENTRY_B, TWO + 0x107
        invalidate 2, 0
        expect 2, "global here"
        go PML4, 1, 1
        mov eax, [abs CASE]             ; either
        map ENTRY_A, THREE + 7
        map ENTRY_B, THREE + 7
        invlpg [abs CASE]
        expect 3, "INVLPG of a global page"
        go PML4B, 2, 1
        expect 3, "under the other PCID, too"

        ; Twenty of them, each with its own page.
        map ENTRY_A, 0
        mov ebx, 1
.fill:  mov eax, PAGES + 0x40000
        mov ecx, ebx
        shl ecx, 12
        add rax, rcx
        mov [rax], ebx
        or eax, 7
        mov [abs ENTRY_A], rax
        lea rax, [rbx + PML4]
        mov cr3, rax
        cmp [abs CASE], ebx
        jne .filled
        inc ebx
        cmp ebx, 20
        jbe .fill
        cmp ebx, 21
.filled:
        check e, "twenty PCIDs"
        map ENTRY_A, ONE + 7
        invalidate 2, 0
        mov ebx, 1
.again: lea rax, [rbx + PML4]
        bts rax, NO_FLUSH
        mov cr3, rax
        cmp dword [abs CASE], 1
        jne .told
        inc ebx
        cmp ebx, 20
        jbe .again
        cmp ebx, 21
.told:
        check e, "INVPCID reaches them all"
        go PML4, 0, 0
        mov rax, cr4
        and eax, ~(1 << 17)
        mov cr4, rax
        expect 1, "and without PCIDs"
        ret
        suite_end
