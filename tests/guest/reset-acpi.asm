; SPDX-License-Identifier: GPL-2.0-or-later
; Resets the machine by the register that the FADT names, a few times, counting in CMOS byte 0x70.
; Under SeaBIOS, which makes the tables findable.  (ACPI 5.0, 4.8.3.6 and 5.2.9.)
%define SECTOR
%include "guest.inc"

CMOS_COUNT      equ 0x70
FADT_FLAGS      equ 112
FADT_RESET_REG  equ 116
FADT_RESET_VALUE equ 128

main:
        set_up
        mov al, CMOS_COUNT
        out 0x70, al
        in al, 0x71
        inc al
        mov bl, al
        mov al, CMOS_COUNT
        out 0x70, al
        mov al, bl
        out 0x71, al
        say {"start "}
        movzx ax, bl
        call putn
        mov al, 10
        call putc
        cmp bl, RESETS
        ja over
        enter_flat flat
over:
        say {"done", 10}
        finish 0

        bits 32
flat:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        ; RSDP: "RSD PTR " on a 16-byte boundary below 1 MiB.
        mov ebx, 0xe0000
.search:
        cmp dword [ebx], 'RSD '
        jne .next
        cmp dword [ebx + 4], 'PTR '
        je .found
.next:
        add ebx, 16
        cmp ebx, 0x100000
        jb .search
        jmp failed
.found:
        mov ebx, [ebx + 16]             ; RSDT
        mov ecx, [ebx + 4]
        sub ecx, 36
        shr ecx, 2
        lea esi, [ebx + 36]
.table:
        lodsd
        cmp dword [eax], 'FACP'
        je .fadt
        loop .table
        jmp failed
.fadt:
        test dword [eax + FADT_FLAGS], 1 << 10
        jz failed
        cmp byte [eax + FADT_RESET_REG], 1 ; system I/O
        jne failed
        mov edx, [eax + FADT_RESET_REG + 4]
        mov al, [eax + FADT_RESET_VALUE]
        out dx, al
failed:
        mov al, 1
        out DEBUG_EXIT, al
        hlt

        guest_end
