/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The option ROM that starts -kernel.
 *
 * Firmware finds it as a boot entry (BEV, Plug and Play BIOS Specification 1.0A, 3.2).  It copies what
 * hw/pc/kernel.c laid into fw_cfg to where it said, by fw_cfg's DMA, and jumps:
 *
 *   entry key 0        a Linux setup block in real mode, at its second sector (Linux boot protocol)
 *   any other entry    there in flat 32-bit protected mode, after the BIOS memory map has been
 *                      written as the BootInfo at the set-up address asks (hw/pc/pc_private.h)
 *
 * It is linked into vmrun as data; kernel.c sets the checksum.  All addresses are relative to its start,
 * because firmware chooses the segment.
 */
#define AT(label) (label - bootrom_start)

/* fw_cfg: ports and keys (hw/misc/fw_cfg.c). */
#define PORT_SELECT 0x510
#define PORT_DMA_HIGH 0x514
#define PORT_DMA_LOW 0x518
#define KEY_KERNEL_ADDR 0x07
#define KEY_KERNEL_SIZE 0x08
#define KEY_INITRD_ADDR 0x0a
#define KEY_INITRD_SIZE 0x0b
#define KEY_KERNEL_ENTRY 0x10
#define KEY_KERNEL_DATA 0x11
#define KEY_INITRD_DATA 0x12
#define KEY_CMDLINE_ADDR 0x13
#define KEY_CMDLINE_SIZE 0x14
#define KEY_CMDLINE_DATA 0x15
#define KEY_SETUP_ADDR 0x16
#define KEY_SETUP_SIZE 0x17
#define KEY_SETUP_DATA 0x18
#define DMA_READ_SELECT 0x0a
#define DMA_ERROR 0x01

/* BootInfo, which must lie in the first 64 KiB. */
#define INFO_EAX 0
#define INFO_EBX 4
#define INFO_MAP_ADDR 8
#define INFO_MAP_SKIP 12
#define INFO_COUNT_ADDR 16
#define INFO_COUNT_UNIT 20
#define INFO_LOWER_ADDR 24
#define INFO_MAP_MAX 28

#define STACK 0x7c00

    .section .rodata.bootrom, "a"
    .globl bootrom_start, bootrom_end
    .code16
bootrom_start:
    .byte 0x55, 0xaa
    .byte (bootrom_end - bootrom_start) / 512
    lret                        /* nothing to initialise */
    .org bootrom_start + 0x1a
    .word AT(pnp)

    .balign 16
pnp:
    .ascii "$PnP"
    .byte 1, 2                  /* version, length / 16 */
    .word 0                     /* next */
    .byte 0, 0
    .long 0                     /* device id */
    .word AT(maker), AT(product)
    .byte 0, 0, 0x80            /* class: boot device */
    .byte 0x04                  /* may be an initial program load device */
    .word 0, 0                  /* boot connection, disconnect */
    .word AT(boot)
    .word 0, 0
maker:
    .asciz "vmrun"
product:
    .asciz "Kernel of -kernel"
trouble:
    .asciz "\r\nvmrun: fw_cfg could not copy the kernel\r\n"

    .balign 16
/* The accessed bits are set already: no CPU can set them in a ROM. */
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    /* 08: flat code */
    .quad 0x00cf93000000ffff    /* 10: flat data */
gdt_end:

/* eax = the 32-bit value of key ax.  Changes dx. */
read32:
    movw $PORT_SELECT, %dx
    outw %ax, %dx
    incw %dx
    .rept 4
    inb %dx, %al
    rorl $8, %eax
    .endr
    ret

/* Copies the data of key bx to the address in key si, if the size in key di is not 0. */
load:
    movw %di, %ax
    call read32
    movl %eax, %ecx
    jecxz 2f
    movw %si, %ax
    call read32
    /* The descriptor on the stack, big-endian: control, length, address. */
    bswapl %eax
    pushl %eax
    pushl $0
    bswapl %ecx
    pushl %ecx
    movzwl %bx, %eax
    shll $16, %eax
    movb $DMA_READ_SELECT, %al
    bswapl %eax
    pushl %eax
    movw %sp, %bp
    movzwl %sp, %ecx
    bswapl %ecx
    xorl %eax, %eax
    movw $PORT_DMA_HIGH, %dx
    outl %eax, %dx
    movl %ecx, %eax
    movw $PORT_DMA_LOW, %dx
    outl %eax, %dx
1:  movl (%bp), %eax
    bswapl %eax
    testb $DMA_ERROR, %al
    jnz fail
    testl %eax, %eax
    jnz 1b
    addw $16, %sp
2:  ret

fail:
    movw $AT(trouble), %si
1:  movb %cs:(%si), %al
    incw %si
    testb %al, %al
    jz 2f
    movb $0x0e, %ah
    movw $7, %bx
    int $0x10
    jmp 1b
2:  int $0x18                   /* the next boot device */

boot:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ss
    movl $STACK, %esp
    movw %ax, %ds
    movw %ax, %es
    movw $KEY_KERNEL_DATA, %bx
    movw $KEY_KERNEL_ADDR, %si
    movw $KEY_KERNEL_SIZE, %di
    call load
    movw $KEY_INITRD_DATA, %bx
    movw $KEY_INITRD_ADDR, %si
    movw $KEY_INITRD_SIZE, %di
    call load
    movw $KEY_CMDLINE_DATA, %bx
    movw $KEY_CMDLINE_ADDR, %si
    movw $KEY_CMDLINE_SIZE, %di
    call load
    movw $KEY_SETUP_DATA, %bx
    movw $KEY_SETUP_ADDR, %si
    movw $KEY_SETUP_SIZE, %di
    call load
    movw $KEY_SETUP_ADDR, %ax
    call read32
    movl %eax, %esi
    movw $KEY_KERNEL_ENTRY, %ax
    call read32
    movl %eax, %edi
    testl %edi, %edi
    jnz protected

/* esi: where the setup block is.  Its heap ends below the command line, and so does our stack. */
    movw $KEY_CMDLINE_ADDR, %ax
    call read32
    subl %esi, %eax
    subl $16, %eax
    shrl $4, %esi
    movw %si, %ds
    movw %si, %es
    movw %si, %fs
    movw %si, %gs
    movw %si, %ss
    movzwl %ax, %esp
    addw $0x20, %si
    pushw %si
    pushw $0
    lret

/* esi: the BootInfo; edi: the entry. */
protected:
    pushl %edi
    movw INFO_MAP_ADDR(%si), %di
    addw INFO_MAP_SKIP(%si), %di
    xorw %bp, %bp
    xorl %ebx, %ebx
1:  cmpw INFO_MAP_MAX(%si), %bp
    jae 3f
    movl $0xe820, %eax
    movl $0x534d4150, %edx
    movl $20, %ecx
    int $0x15
    jc 3f
    cmpl $0x534d4150, %eax
    jne 3f
    cmpw $0, INFO_MAP_SKIP(%si)
    je 2f
    movl $20, -4(%di)
2:  addw $24, %di
    incw %bp
    testl %ebx, %ebx
    jnz 1b
3:  movzwl %bp, %eax
    mull INFO_COUNT_UNIT(%si)
    movw INFO_COUNT_ADDR(%si), %di
    movl %eax, (%di)
    movw INFO_LOWER_ADDR(%si), %di
    testw %di, %di
    jz 4f
    int $0x12
    movzwl %ax, %eax
    movl %eax, (%di)
4:  cli
    popl %edi
    xorl %ebp, %ebp
    movw %cs, %bp
    shll $4, %ebp
    leal AT(gdt)(%ebp), %eax
    pushl %eax
    pushw $(gdt_end - gdt - 1)
    movw %sp, %bx
    lgdtl (%bx)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    leal AT(flat)(%ebp), %eax
    pushl $8
    pushl %eax
    lretl

    .code32
flat:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movzwl %si, %esi
    movl INFO_EBX(%esi), %ebx
    movl INFO_EAX(%esi), %eax
    jmp *%edi

    /* The last byte is the checksum's. */
    .byte 0
    .balign 512
bootrom_end:
    .section .note.GNU-stack, "", @progbits
