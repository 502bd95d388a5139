; SPDX-License-Identifier: GPL-2.0-or-later
; Code that is written over: by itself, right in front of itself, from another page's alias, by strings, and
; across page borders.
%include "suite64.inc"

CODE            equ PAGES + 0x2000
ALIAS           equ PAGES + 0x6000      ; mapped to CODE's page
COUNT           equ SCRATCH

tests:
        ; MOV EAX, imm32; RET, whose constant changes each time.
        mov byte [abs CODE], 0xb8
        mov byte [abs CODE + 5], 0xc3
        mov edi, CODE
        xor ecx, ecx
        xor edx, edx
.again: mov [rdi + 1], ecx
        call rdi
        cmp eax, ecx
        setne al
        or dl, al
        inc ecx
        cmp ecx, 2000
        jb .again
        test dl, dl
        check z, "a constant that changes 2000 times"

        ; The same by way of another address.
        mov dword [abs PT + 6 * 8], CODE + 7
        invlpg [abs ALIAS]
        mov esi, ALIAS
        xor ecx, ecx
        xor edx, edx
.alias: mov [rsi + 1], ecx
        call rdi
        cmp eax, ecx
        setne al
        or dl, al
        inc ecx
        cmp ecx, 500
        jb .alias
        test dl, dl
        check z, "written through an alias"

        ; An instruction writes over the next one: MOV BYTE [next], 0x40 ... where INC ESI (FF C6) becomes
        ; DEC ESI (FF CE).
        mov edi, CODE + 0x100
        lea rsi, [.template]
        mov ecx, .template_end - .template
        rep movsb
        mov edi, CODE + 0x100
        mov esi, 10
        call rdi
        cmp esi, 9
        check e, "the next instruction is another"
        jmp .next
.template:
        mov byte [rel .changed + 1], 0xce
.changed:
        inc esi
        ret
.template_end:
.next:
        ; A loop that counts by an instruction which it changes in every round.
        mov edi, CODE + 0x200
        lea rsi, [.loop]
        mov ecx, .loop_end - .loop
        rep movsb
        mov edi, CODE + 0x200
        xor eax, eax
        mov ecx, 100
        call rdi
        cmp eax, 5050
        check e, "a loop that changes itself"
        jmp .strings
.loop:  mov [rel .add + 1], ecx
.add:   add eax, strict dword 0
        dec ecx
        jnz .loop
        ret
.loop_end:
.strings:
        ; REP MOVSB and REP STOSB over code.
        mov edi, CODE + 0x300
        lea rsi, [.one]
        mov ecx, 6
        rep movsb
        mov edi, CODE + 0x300
        call rdi
        mov ebx, eax
        lea rsi, [.two]
        mov ecx, 6
        rep movsb
        mov edi, CODE + 0x300
        lea rsi, [.two]
        mov ecx, 6
        rep movsb
        mov edi, CODE + 0x300
        call rdi
        lea eax, [rax + rbx * 2]
        cmp eax, 4
        check e, "a string copied over code"
        jmp .border
.one:   mov eax, 1
        ret
.two:   mov eax, 2
        ret
.border:
        ; MOV EAX, imm32 across a page's end; then its second half is changed.
        mov edi, CODE + 0xffe
        mov byte [rdi], 0xb8
        mov dword [rdi + 1], 0x11111111
        mov byte [rdi + 5], 0xc3
        call rdi
        mov ebx, eax
        mov word [rdi + 3], 0x2222
        call rdi
        cmp ebx, 0x11111111
        check e, "an instruction across pages"
        cmp eax, 0x22221111
        check e, "and its second half changed"
        ; The second page is another one now.
        mov dword [abs PAGES + 0x7000], 0xc3333333
        mov dword [abs PT + 3 * 8], PAGES + 0x7000 + 7
        invlpg [abs CODE + 0x1000]
        call rdi
        cmp eax, 0x33333311
        check e, "and its second page"
        mov dword [abs PT + 3 * 8], PAGES + 0x3000 + 7
        invlpg [abs CODE + 0x1000]
        ; A page that the one before simply goes on into is another one now.
        mov edi, CODE + 0xfff
        mov byte [rdi], 0x90
        mov dword [rdi + 1], 0x000001b8         ; MOV EAX, 1; RET
        mov word [rdi + 5], 0xc300
        mov dword [abs PAGES + 0x7000], 0x000002b8
        mov word [abs PAGES + 0x7004], 0xc300
        call rdi
        call rdi
        mov ebx, eax
        mov dword [abs PT + 3 * 8], PAGES + 0x7000 + 7
        invlpg [abs CODE + 0x1000]
        call rdi
        lea eax, [rax + rbx * 4]
        cmp eax, 6
        check e, "the page behind the last instruction of one"
        mov dword [abs PT + 3 * 8], PAGES + 0x3000 + 7
        invlpg [abs CODE + 0x1000]
        ; Data beside code.
        mov edi, CODE + 0x400
        mov dword [rdi], 0x4047ff48             ; INC QWORD [RDI + 64]
        mov byte [rdi + 4], 0xc3
        mov qword [rdi + 64], 0
        mov ecx, 10000
.data:  call rdi
        loop .data
        cmp qword [rdi + 64], 10000
        check e, "data beside code"
        ret

        suite_end
