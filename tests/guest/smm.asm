; SPDX-License-Identifier: GPL-2.0-or-later
; System management mode: an SMI by the power management's port, the state that is saved, SMBASE moved into
; SMRAM, which only the mode sees; an SMI inside it, which waits for RSM; a single step that waits, too.
%define FIRMWARE
%include "guest.inc"

PCI_ADDRESS     equ 0xcf8
PCI_DATA        equ 0xcfc
BRIDGE          equ 0x80000000
POWER           equ 0x80000b00          ; device 1, function 3
ENTRY           equ 0x38000             ; SMBASE + 0x8000
SMRAM           equ 0xa0000
OPEN            equ 0x4a                ; D_OPEN, G_SMRAME, C_BASE_SEG
CLOSED          equ 0x0a
APMC            equ 0xb2
COUNT           equ 0x500
SEEN_IP         equ 0x504
SEEN_AX         equ 0x508
SEEN_SMRAM      equ 0x50c
DEPTH           equ 0x510
NESTED          equ 0x514
STEPPED         equ 0x518               ; the IP of a single step, and where it came: in SMM or not
STEPPED_IN_SMM  equ 0x51c

; Byte %2 to PCI configuration register %1.
%macro pci 2
        mov eax, (%1) & ~3
        mov dx, PCI_ADDRESS
        out dx, eax
        mov al, %2
        mov dx, PCI_DATA + ((%1) & 3)
        out dx, al
%endmacro

main:
        set_up
        mov dword [COUNT], 0
        mov dword [DEPTH], 0
        mov dword [NESTED], 0
        mov dword [STEPPED], 0
        mov dword [STEPPED_IN_SMM], 0
        pci POWER + 0x5b, 2             ; APMC_EN
        ; The first handler, in plain memory: moves SMBASE to 0xa0000.
        push cs
        pop ds
        mov ax, ENTRY >> 4
        mov es, ax
        mov si, first
        xor di, di
        mov cx, first_end - first
        cld
        rep movsb
        ; SMRAM is open for a moment: the second handler, at 0xa8000.
        pci BRIDGE + 0x72, OPEN
        mov ax, (SMRAM + 0x8000) >> 4
        mov es, ax
        mov si, second
        xor di, di
        mov cx, second_end - second
        rep movsb
        mov dword [es:0x4000], 0x5ec2e7
        xor ax, ax
        mov ds, ax
        mov ax, 0x4242
        mov bp, 0x1234
        out APMC, al
after_first:
        cmp dword [COUNT], 1
        call report
        db "the first SMI", 0
        cmp word [SEEN_IP], after_first - begin
        call report
        db "the saved IP", 0
        cmp word [SEEN_AX], 0x4242
        call report
        db "the saved AX", 0
        cmp bp, 0x1234
        call report
        db "BP is back", 0
        pci BRIDGE + 0x72, CLOSED
        mov ax, (SMRAM + 0x8000) >> 4
        mov es, ax
        cmp dword [es:0x4000], 0x5ec2e7
        setne al
        cmp al, 1
        call report
        db "SMRAM is hidden outside", 0
        mov dword [es:0x4000], 0x11111111
        out APMC, al
        cmp dword [COUNT], 0x201
        call report
        db "the second SMI, in SMRAM, and one that it asks for", 0
        cmp dword [NESTED], 0
        call report
        db "not before RSM", 0
        cmp dword [SEEN_SMRAM], 0x5ec2e7
        call report
        db "SMRAM is as it was", 0
        ; A trap that is due when the SMI comes is had when all is over.
        mov word [1 * 4], step - begin
        mov word [1 * 4 + 2], cs
        pushf
        pop ax
        or ax, 0x100
        push ax
        popf
        out APMC, al
after_step:
        nop
        cmp dword [COUNT], 0x301
        call report
        db "an SMI with a single step", 0
        cmp dword [STEPPED_IN_SMM], 0
        call report
        db "no trap inside", 0
        cmp word [STEPPED], after_step - begin
        call report
        db "it came behind RSM", 0
        ; RSM has no business out here.
        mov word [6 * 4], invalid - begin
        mov word [6 * 4 + 2], cs
        xor bx, bx
        rsm
        cmp bx, 6
        call report
        db "RSM outside is undefined", 0
        finish 0
invalid:
        mov bx, 6
        push bp
        mov bp, sp
        add word [bp + 2], 2
        pop bp
        iret

step:   push bp
        mov bp, sp
        push eax
        mov ax, [bp + 2]
        mov [STEPPED], ax
        mov eax, [DEPTH]
        mov [STEPPED_IN_SMM], eax
        and word [bp + 6], ~0x100
        pop eax
        pop bp
        iret

report:
        pop di
        jz .good
        say "FAIL "
        jmp .text
.good:  say "PASS "
.text:  mov al, [cs:di]
        inc di
        test al, al
        jz .done
        call putc
        jmp .text
.done:  mov al, 10
        call putc
        push di
        ret

; At 0x38000: CS is 0x3000 with offset 0x8000; DS reaches all memory.
first:
        mov eax, [cs:0xff78]            ; RIP
        mov ebx, SEEN_IP
        mov [ds:ebx], eax
        mov eax, [cs:0xfff8]            ; RAX
        mov [ds:ebx + SEEN_AX - SEEN_IP], eax
        mov dword [cs:0xff00], SMRAM
        mov ebx, COUNT
        inc dword [ds:ebx]
        mov bp, 0
        rsm
first_end:
second:
        mov eax, [cs:0xc000]
        mov ebx, SEEN_SMRAM
        mov [ds:ebx], eax
        mov ebx, COUNT
        add dword [ds:ebx], 0x100
        inc dword [ds:ebx + DEPTH - COUNT]
        cmp dword [ds:ebx + DEPTH - COUNT], 1
        je .alone
        inc dword [ds:ebx + NESTED - COUNT]
.alone: cmp dword [ds:ebx], 0x101
        jne .end
        out APMC, al
        nop
        nop
.end:   dec dword [ds:ebx + DEPTH - COUNT]
        rsm
second_end:
        guest_end
