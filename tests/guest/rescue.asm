; SPDX-License-Identifier: GPL-2.0-or-later
; Instructions in ring 0 that some KVMs do not emulate: vmrun's own processor then executes them.
%include "suite64.inc"

tests:
        ; INT3 is a trap: RIP is behind it.
        begin_fault
int3_at:
        int3
        end_fault 3, 0, "INT3"
        lea rax, [int3_at + 1]
        cmp [abs FAULT_RIP], rax
        check e, "INT3's return address"

        ; CMPXCHG16B, both ways.
        mov qword [abs SCRATCH], 1
        mov qword [abs SCRATCH + 8], 2
        mov eax, 1
        mov edx, 2
        mov ebx, 3
        mov ecx, 4
        lock cmpxchg16b [abs SCRATCH]
        check e, "CMPXCHG16B that is equal"
        cmp qword [abs SCRATCH + 8], 4
        check e, "CMPXCHG16B has stored"
        lock cmpxchg16b [abs SCRATCH]
        check ne, "CMPXCHG16B that is not equal"
        cmp rdx, 4
        check e, "CMPXCHG16B has loaded"
        begin_fault
        cmpxchg16b [abs SCRATCH + 8]
        end_fault 13, 0, "CMPXCHG16B, not aligned"

        ; x87.
        fninit
        fwait
        fld1
        fld1
        faddp st1, st0
        fistp dword [abs SCRATCH]
        fwait
        cmp dword [abs SCRATCH], 2
        check e, "1 + 1 by x87"
        ; A pending exception comes with FWAIT.
        fninit
        mov word [abs SCRATCH], 0x037b          ; divide by zero is not masked
        fldcw [abs SCRATCH]
        fld1
        fldz
        fdivp st1, st0
        begin_fault
        fwait
        end_fault 16, 0, "FWAIT with an exception pending"
        fnclex
        fninit

        ; SSE: the data of many instructions, a fault, and a store across a page's end.
        mov rax, 0x0123456789abcdef
        movq xmm0, rax
        punpcklqdq xmm0, xmm0
        pxor xmm1, xmm1
        psubq xmm1, xmm0
        paddq xmm1, xmm0
        movdqu [abs PAGES + 0xff8], xmm0
        cmp [abs PAGES + 0x1000], rax
        check e, "an SSE store across pages"
        movq rax, xmm1
        test rax, rax
        check z, "SSE arithmetic"
        and dword [abs PT + 5 * 8], ~1
        invlpg [abs PAGES + 0x5000]
        fldpi
        begin_fault
        fstp tword [abs PAGES + 0x4ffc]
        end_fault 14, 2, "a store to a page that is not there"
        fninit
        mov rax, [abs FAULT_CR2]
        cmp rax, PAGES + 0x5000
        check e, "its address"
        cmp dword [abs PAGES + 0x4ffc], 0
        check e, "nothing of it is stored"
        or dword [abs PT + 5 * 8], 1
        begin_fault
        movaps xmm0, [abs SCRATCH + 1]
        end_fault 13, 0, "MOVAPS, not aligned"

        ; FXSAVE and FXRSTOR.
        mov eax, 0x1234
        movd xmm5, eax
        mov edi, PAGES
        fxsave [rdi]
        pxor xmm5, xmm5
        fxrstor [rdi]
        movd eax, xmm5
        cmp eax, 0x1234
        check e, "FXSAVE and FXRSTOR"

        ; XSAVE and XRSTOR where there are such.
        mov eax, 1
        cpuid
        bt ecx, 26
        jnc .no_xsave
        mov rax, cr4
        or eax, 1 << 18
        mov cr4, rax
        xor ecx, ecx
        xor edx, edx
        mov eax, 3
        xsetbv
        mov eax, 0x5678
        movd xmm5, eax
        mov eax, 3
        xor edx, edx
        mov edi, PAGES + 0x2000
        xsave [rdi]
        pxor xmm5, xmm5
        xrstor [rdi]
        movd eax, xmm5
        cmp eax, 0x5678
        check e, "XSAVE and XRSTOR"
        mov byte [rdi + 519], 0x40              ; a component that is not enabled
        begin_fault
        mov eax, 3
        xor edx, edx
        xrstor [rdi]
        end_fault 13, 0, "XRSTOR of what is not enabled"
        jmp .tested
.no_xsave:
        begin_fault
        xrstor [abs PAGES]
        end_fault 6, 0, "XSAVE and XRSTOR"
        cmp eax, eax
        check e, "XRSTOR of what is not enabled"
.tested:
        ; What no processor has.
        begin_fault
        ud2
        end_fault 6, 0, "UD2"
        ; The task switched flag.
        mov rax, cr0
        or al, 8
        mov cr0, rax
        begin_fault
        movq xmm0, rax
        end_fault 7, 0, "SSE with CR0.TS"
        clts
        ret

        suite_end
