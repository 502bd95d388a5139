; SPDX-License-Identifier: GPL-2.0-or-later
; Four-level paging: rights, accessed and dirty flags, translations that are kept, faults at page borders.
%include "suite64.inc"

P               equ 1
W               equ 2
U               equ 4
A               equ 0x20
D               equ 0x40
PAGE0           equ PAGES               ; of PT's entries 0, 1, 2
%define entry(n) abs PT + (n) * 8

%macro flush 1
        invlpg [abs PAGES + (%1) * 0x1000]
%endmacro

tests:
        ; ---- Accessed and dirty ----
        mov dword [entry(3)], PAGES + 0x3000 + P + W
        flush 3
        mov al, [abs PAGES + 0x3000]
        test dword [entry(3)], A
        check nz, "a read sets A"
        test dword [entry(3)], D
        check z, "a read does not set D"
        mov [abs PAGES + 0x3000], al
        test dword [entry(3)], D
        check nz, "a write sets D"

        ; ---- Rights ----
        and dword [entry(4)], ~W
        flush 4
        begin_fault
        mov [abs PAGES + 0x4008], eax
        end_fault 14, 3, "a write to a read-only page with WP"
        mov rax, PAGES + 0x4008
        cmp [abs FAULT_CR2], rax
        check e, "CR2"
        mov rax, cr0
        and eax, ~(1 << 16)
        mov cr0, rax
        mov qword [abs VECTOR], -1
        mov [abs PAGES + 0x4008], eax
        cmp qword [abs VECTOR], -1
        check e, "a write to a read-only page without WP"
        mov rax, cr0
        or eax, 1 << 16
        mov cr0, rax
        mov rax, 0x0000800000000000
        begin_fault
        mov al, [rax]
        end_fault 13, 0, "an address that is not canonical"
        mov rax, 0x0000800000000000
        begin_fault
        mov rbp, rax
        mov al, [rbp]
        end_fault 12, 0, "one by way of SS"
        mov rax, 1 << 51
        or [entry(5)], rax
        flush 5
        begin_fault
        mov al, [abs PAGES + 0x5000]
        end_fault 14, 9, "a reserved bit"
        mov qword [entry(5)], PAGES + 0x5000 + P + W + U

        ; ---- NX ----
        mov ecx, 0xc0000080
        rdmsr
        or eax, 1 << 11
        wrmsr
        mov byte [abs PAGES + 0x6000], 0xc3     ; RET
        mov byte [abs PAGES + 0x7000], 0xc3
        mov eax, PAGES + 0x6000
        call rax
        bts qword [entry(6)], 63
        flush 6
        begin_fault
        mov eax, PAGES + 0x6000
        call rax
        end_fault 14, 0x11, "code in an NX page"
        mov rax, PAGES + 0x6000
        cmp [abs FAULT_RIP], rax
        check e, "its RIP is the page's"
        mov al, [abs PAGES + 0x6000]
        cmp al, 0xc3
        check e, "an NX page can be read"
        btr qword [entry(6)], 63
        flush 6

        ; ---- Translations that are kept ----
        mov dword [abs PAGES + 0x8000], 0x11111111
        mov dword [abs PAGES + 0x9000], 0x22222222
        mov eax, [abs PAGES + 0x8000]
        mov dword [entry(8)], PAGES + 0x9000 + P + W + U
        flush 8
        cmp dword [abs PAGES + 0x8000], 0x22222222
        check e, "INVLPG drops a translation"
        mov dword [entry(8)], PAGES + 0x8000 + P + W + U
        mov rax, cr3
        mov cr3, rax
        cmp dword [abs PAGES + 0x8000], 0x11111111
        check e, "so does CR3"
        mov rax, cr4
        or eax, 1 << 7                          ; PGE
        mov cr4, rax
        or dword [entry(8)], 0x100
        flush 8
        mov eax, [abs PAGES + 0x8000]
        mov dword [entry(8)], PAGES + 0x9000 + 0x100 + P + W + U
        mov rax, cr4
        and eax, ~(1 << 7)
        mov cr4, rax
        cmp dword [abs PAGES + 0x8000], 0x22222222
        check e, "CR4.PGE drops a global one"
        mov dword [entry(8)], PAGES + 0x8000 + P + W + U
        flush 8

        ; ---- Borders: page 10 is there, page 11 is not ----
        and dword [entry(11)], ~P
        flush 11
        mov edi, PAGES + 0xb000
        begin_fault
        mov eax, [rdi - 1]
        end_fault 14, 0, "a read across a border"
        mov rax, PAGES + 0xb000
        cmp [abs FAULT_CR2], rax
        check e, "its CR2 is the page that lacks"
        begin_fault
        mov dword [rdi - 1], 0x11223344
        end_fault 14, 2, "a write across a border"
        mov eax, 0x12345678
        begin_fault
        xchg [rdi - 2], eax
        end_fault 14, 2, "XCHG across a border"
        cmp eax, 0x12345678
        check e, "its register is as it was"
        begin_fault
        add dword [rdi - 3], 1
        end_fault 14, 2, "ADD across a border"
        begin_fault
        mov rsp, PAGES + 0xb004
        push rax
        end_fault 14, 2, "PUSH across a border"
        mov rax, PAGES + 0xb004
        cmp [abs FAULT_RSP], rax
        check e, "its RSP is as it was"
        ; REP MOVSB ends where the page does, with its registers there.
        mov esi, PAGES + 0x1000
        mov edi, PAGES + 0xaff0
        mov ecx, 0x40
        begin_fault
        rep movsb
        end_fault 14, 2, "REP MOVSB into the page"
        cmp ecx, 0x30
        check e, "RCX says how far it came"
        cmp edi, PAGES + 0xb000
        check e, "and RDI"
        mov edi, PAGES + 0xaff8
        mov ecx, 4
        mov eax, 0x77777777
        begin_fault
        rep stosd
        end_fault 14, 2, "REP STOSD into the page"
        cmp ecx, 2
        check e, "RCX after two"
        ; Code: MOV EAX, imm32 whose last byte is beyond.
        mov edi, PAGES + 0xb000
        mov dword [rdi - 4], 0x563412b8
        mov eax, 7
        begin_fault
        lea rdx, [rdi - 4]
        jmp rdx
        end_fault 14, 0x10, "an instruction across a border"
        mov rax, PAGES + 0xb000
        cmp [abs FAULT_CR2], rax
        check e, "CR2 is the border"
        mov rax, PAGES + 0xaffc
        cmp [abs FAULT_RIP], rax
        check e, "RIP is the instruction's"
        ; RET in the last byte needs nothing of the next page.
        mov byte [rdi - 1], 0xc3
        mov qword [abs VECTOR], -1
        lea rdx, [rdi - 1]
        call rdx
        cmp qword [abs VECTOR], -1
        check e, "an instruction that ends at the border"
        or dword [entry(11)], P
        ret

        suite_end
