; SPDX-License-Identifier: GPL-2.0-or-later
; The guest code of test-cpu-prot: snippets that the tests copy to CODE and run.
; HLT ends one at privilege 0, int 80h elsewhere.

CODE equ 0x8000

; SNIP name, bits: AT(label) is a label's address in the guest
%macro SNIP 2
    align 16
    bits %2
    global snip_%1
snip_%1:
    %define CUR snip_%1
%endmacro
%define AT(label) (CODE + label - CUR)

section .rodata align=16

SNIP hlt, 32
    hlt
SNIP done, 32
    int 0x80
SNIP ud2, 32
    ud2

; ---- real mode ----
SNIP real_int, 16
    sti
    int 0x21
    hlt
SNIP real_iret, 16
    pushf
    push cs
    push word AT(.back)
    iret
    ud2
.back:
    hlt
SNIP real_far, 16
    call 0:AT(.sub)
    mov dx, sp
    hlt
.sub:
    mov bx, sp
    retf
; into protected mode for a limit of 4 GiB, and back; gdt and eax come from outside
SNIP unreal, 16
    cli
    lgdt [0xb000]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov cx, 0x10
    mov ds, cx
    and al, 0xfe
    mov cr0, eax
    xor cx, cx
    mov ds, cx
    mov ebx, 0x200000
    mov dword [ebx], 0x12345678
    mov esi, [ebx]
    hlt
SNIP limit16, 16
    mov ax, [bx]
    hlt
; the whole way to 64-bit code: tables come from outside
SNIP to_long, 16
    lgdt [0xb000]
    mov eax, cr4
    or al, 0x20
    mov cr4, eax
    mov eax, 0x100000
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or ah, 1
    wrmsr
    mov eax, cr0
    or eax, 0x80000001
    mov cr0, eax
    rdmsr
    mov ebx, eax
    jmp 0x28:AT(.wide)
    bits 64
.wide:
    mov r8, 0x123456789abcdef0
    hlt

; ---- segments ----
SNIP load_ds, 32
    mov ds, ax
    hlt
SNIP load_ss, 32
    mov ss, ax
    hlt
SNIP load_ds_user, 32
    mov ds, ax
    int 0x80
SNIP load_read, 32
    mov ds, ax
    mov ecx, [ebx]
    hlt
SNIP load_write, 32
    mov ds, ax
    mov [ebx], ecx
    hlt
SNIP lss, 32
    lss esp, [ebx]
    hlt
SNIP pushpop, 32
    push ds
    push word 0
    pop ax
    pop es
    hlt
SNIP lar, 32
    lar ecx, eax
    setz bl
    hlt
SNIP lsl, 32
    lsl ecx, eax
    setz bl
    hlt
SNIP verr, 32
    verr ax
    setz bl
    hlt
SNIP verw, 32
    verw ax
    setz bl
    hlt
SNIP arpl, 32
    arpl ax, cx
    setz bl
    hlt
SNIP lldt, 32
    lldt ax
    sldt ecx
    hlt
SNIP ltr, 32
    ltr ax
    str ecx
    hlt
SNIP sgdt, 32
    sgdt [0xb100]
    sidt [0xb110]
    hlt
SNIP umip, 32
    smsw eax
    sidt [0xb110]
    int 0x80

; ---- transfers ----
SNIP jmp_far, 32
    jmp far [0xb000]
SNIP call_far, 32
    call far [0xb000]
    hlt
SNIP call_far_user, 32
    push dword 0x11111111
    push dword 0x22222222
    call far [0xb000]
    int 0x80
SNIP gate_return, 32
    retf 8
SNIP call_far64, 64
    call dword far [rbx]
    hlt
SNIP retf, 32
    retf
SNIP iretd, 32
    iretd
SNIP iretq, 64
    iretq
SNIP int30, 32
    int 0x30
    hlt
SNIP int30_user, 32
    int 0x30
    int 0x80
SNIP int30_user64, 64
    int 0x30
    int 0x80
SNIP int3, 32
    int3
SNIP into, 32
    mov al, 0x7f
    add al, 1
    into
SNIP bound, 32
    bound eax, [0xb000]
    hlt
SNIP div, 32
    xor ecx, ecx
    div ecx
SNIP hlt64, 64
    hlt
SNIP noncanonical, 64
    mov rax, [rbx]
    hlt
SNIP swapgs, 64
    swapgs
    mov rax, [gs:0]
    hlt
SNIP fsbase, 64
    wrfsbase rax
    rdfsbase rcx
    hlt

; ---- system calls ----
SNIP syscall, 64
    syscall
    int 0x80
SNIP sysret, 64
    o64 sysret
SNIP sysret32, 64
    sysret
SNIP sysenter, 32
    sysenter
SNIP sysexit, 32
    sysexit

; ---- stacks that lead nowhere ----
SNIP stack_push, 64
    push rax
SNIP stack_push_memory, 64
    push qword [rbx]
SNIP stack_pop, 64
    pop rax
SNIP stack_pop_memory, 64
    pop qword [rbx]
SNIP stack_call, 64
    call $
SNIP stack_call_register, 64
    call rbx
SNIP stack_call_memory, 64
    call [rbx]
SNIP stack_ret, 64
    ret
SNIP stack_leave, 64
    leave
SNIP stack_pushf, 64
    pushfq
SNIP stack_popf, 64
    popfq
SNIP stack_read, 64
    mov eax, [rbp]
SNIP stack_other, 64
    push qword [rsi]
SNIP stack_enter, 32
    enter 0x2000, 0
    hlt

; ---- alignment ----
SNIP align_m80, 32
    fld tword [ebx]
    int 0x80
SNIP align_environment, 32
    fnstenv [ebx]
    int 0x80
SNIP align_far, 32
    o16 les ax, [ebx]
    int 0x80
SNIP align_far32, 32
    les eax, [ebx]
    int 0x80
SNIP align_string, 32
    rep movsb
    int 0x80
SNIP align_sgdt, 32
    sgdt [ebx]
    int 0x80

; ---- vm86 ----
SNIP vm86_int, 16
    int 0x21
    hlt
SNIP vm86_flags, 16
    sti
    pushf
    pop ax
    cli
    pushf
    pop bx
    int 0x30
SNIP vm86_out, 16
    out dx, al
    int 0x30
SNIP vm86_handler, 16
    mov cx, 0x1234
    iret
SNIP vm86_segments, 16
    mov ax, ds
    mov bx, [0]
    int 0x30

; ---- tasks ----
SNIP jmp_task, 32
    jmp far [0xb000]
    hlt
SNIP call_task, 32
    call far [0xb000]
    mov edx, 0x600d
    hlt
SNIP task_iret, 32
    mov ecx, 0x7a5c
    iretd
SNIP task_body, 32
    mov ecx, 0x7a5c
    hlt

; ---- control ----
SNIP write_cr0, 32
    mov cr0, eax
    mov ecx, cr0
    hlt
SNIP write_cr4, 32
    mov cr4, eax
    mov ecx, cr4
    hlt
SNIP lmsw, 32
    lmsw ax
    smsw ecx
    hlt
SNIP clts, 32
    clts
    hlt
SNIP write_dr7, 32
    mov dr7, eax
    hlt
SNIP read_dr4, 32
    mov eax, dr4
    hlt
SNIP write_dr6_64, 64
    mov dr6, rax
    hlt
SNIP step, 32
    nop
    nop
    hlt
SNIP step_ss, 32
    mov ss, ax
    nop
    nop
    hlt
SNIP step_ss_twice, 32
    mov ss, ax
    mov ss, ax
    nop
    nop
    hlt
SNIP step_into, 32
    into
    nop
    hlt
SNIP step_lss, 32
    lss esp, [ebx]
    nop
    hlt
SNIP step_rep, 32
    rep stosb
    nop
    hlt
SNIP step_branch, 32
    nop
    test eax, eax
    jnz .not
    nop
    jmp .on
.not:
    nop
.on:
    nop
    hlt
SNIP step_popf, 32
    push dword 0x102
    popfd
    nop
    nop
    hlt
SNIP watch, 32
    mov eax, [ebx]
    nop
    mov [ebx], eax
    nop
    hlt
SNIP io_watch, 32
    in al, dx
    nop
    hlt
SNIP rdmsr, 32
    rdmsr
    hlt
SNIP wrmsr, 32
    wrmsr
    rdmsr
    hlt
SNIP cpuid, 32
    cpuid
    hlt
SNIP xsetbv, 32
    xsetbv
    xgetbv
    hlt
SNIP rdtsc, 32
    rdtsc
    int 0x80
SNIP rdrand, 64
    rdrand rax
    setc cl
    hlt
SNIP sti_nop, 32
    sti
    inc ecx
    inc ecx
    hlt
SNIP user_cli, 32
    cli
    int 0x80
SNIP smap, 64
    stac
    mov eax, [rbx]
    clac
    mov ecx, [rbx]
    hlt
SNIP invpcid, 64
    invpcid rax, [rbx]
    hlt

; ---- ports ----
SNIP in_out, 32
    out dx, al
    out dx, ax
    out dx, eax
    in al, dx
    mov bl, al
    in ax, dx
    mov cx, ax
    in eax, dx
    hlt
SNIP out_user, 32
    out dx, al
    int 0x80
SNIP out_user32, 32
    out dx, eax
    int 0x80
SNIP rep_insw, 32
    rep insw
    hlt
SNIP rep_outsd, 32
    rep outsd
    hlt
SNIP rep_outsb_down, 32
    std
    rep outsb
    hlt
SNIP rep_insb16, 16
    rep insb
    hlt

; ---- system management mode ----
SNIP smm_handler, 16
    mov ebx, cs
    mov [cs:0xff00], eax            ; new SMBASE
    mov eax, 0x5afe
    rsm
SNIP smm_count, 16
    inc dword [cs:0xfff0]           ; ECX
    rsm
SNIP rsm, 32
    rsm
SNIP count, 32
    inc ecx
    inc ecx
    hlt

    times 256 db 0xf4
section .note.GNU-stack noalloc noexec nowrite progbits
