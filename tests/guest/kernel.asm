; SPDX-License-Identifier: GPL-2.0-or-later
; Kernels for -kernel, one of LINUX (a bzImage's real-mode entry), MULTIBOOT, PVH (an ELF file).  Each says
; its command line, what the initrd holds, and whether the memory map begins with RAM at 0.

COM1            equ 0x3f8
DEBUG_EXIT      equ 0xf4
KERNEL          equ 0x100000

%ifdef LINUX
        bits 16
        org 0
        times 0x1f1 db 0
        db 1                    ; setup_sects: one behind the boot sector
        times 0x1fe - ($ - $$) db 0
        dw 0xaa55
        jmp short real          ; 0x200: the entry
        db "HdrS"
        dw 0x0206
        times 0x211 - ($ - $$) db 0
        db 1                    ; loadflags: LOADED_HIGH
        times 0x218 - ($ - $$) db 0
ramdisk_image: dd 0
ramdisk_size: dd 0
        times 0x228 - ($ - $$) db 0
cmd_line_ptr: dd 0
        dd 0x37ffffff           ; initrd_addr_max
        times 0x238 - ($ - $$) db 0
        dd 255                  ; cmdline_size

; DS is the segment of the setup block, 64 KiB aligned below 1 MiB.
real:   cli
        mov eax, [cmd_line_ptr]
        mov [info_cmdline], eax
        mov eax, [ramdisk_image]
        mov [info_initrd], eax
        mov eax, [ramdisk_size]
        mov [info_initrd_size], eax
        mov dword [info_map_ok], 1      ; the map is the BIOS's own here
        xor ebp, ebp
        mov bp, ds
        shl ebp, 4
        lea eax, [ebp + gdt]
        mov [gdtr + 2], eax
        o32 lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        lea eax, [ebp + flat]
        push dword 8
        push eax
        o32 retf
gdt:    dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:   dw 23
        dd 0
        bits 32
flat:   mov eax, 0x10
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov esp, 0x7000
        cmp dword [KERNEL], "KERN"
        jne failed
%define at(label) (ebp + label)
%else
        bits 32
        org KERNEL
%define at(label) (label)
%endif

%ifdef MULTIBOOT
header: dd 0x1badb002, 0x00010000, -(0x1badb002 + 0x00010000)
        dd header, KERNEL, end, end, start
start:  mov esp, 0x7000
        xor ebp, ebp
        cmp eax, 0x2badb002
        jne failed
        mov eax, [ebx + 16]
        mov [info_cmdline], eax
        cmp dword [ebx + 20], 1
        jne failed
        mov esi, [ebx + 24]
        mov eax, [esi]
        mov [info_initrd], eax
        mov edx, [esi + 4]
        sub edx, eax
        mov [info_initrd_size], edx
        cmp dword [ebx + 44], 24
        jb failed
        mov esi, [ebx + 48]
        cmp dword [esi], 20
        jne failed
        cmp dword [esi + 4], 0
        jne failed
        cmp dword [esi + 20], 1
        jne failed
        mov dword [info_map_ok], 1
%endif

%ifdef PVH
        db 0x7f, "ELF", 1, 1, 1
        times 16 - ($ - $$) db 0
        dw 2, 3
        dd 1, start, headers - KERNEL, 0, 0
        dw 52, 32, 2, 0, 0, 0
headers: dd 1, 0, KERNEL, KERNEL, end - KERNEL, end - KERNEL, 7, 4096
        dd 4, note - KERNEL, note, note, note_end - note, note_end - note, 4, 4
note:   dd 4, 4, 18
        db "Xen", 0
        dd start
note_end:
start:  mov esp, 0x7000
        xor ebp, ebp
        cmp dword [ebx], 0x336ec578
        jne failed
        mov eax, [ebx + 24]
        mov [info_cmdline], eax
        cmp dword [ebx + 12], 1
        jne failed
        mov esi, [ebx + 16]
        mov eax, [esi]
        mov [info_initrd], eax
        mov eax, [esi + 8]
        mov [info_initrd_size], eax
        cmp dword [ebx + 48], 2
        jb failed
        mov esi, [ebx + 40]
        cmp dword [esi], 0
        jne failed
        cmp dword [esi + 16], 1
        jne failed
        mov dword [info_map_ok], 1
%endif

report: lea esi, [at(text_cmdline)]
        call puts
        mov esi, [at(info_cmdline)]
        call puts
        lea esi, [at(text_initrd)]
        call puts
        mov esi, [at(info_initrd)]
        mov ecx, [at(info_initrd_size)]
.byte:  lodsb
        call putc
        loop .byte
        cmp dword [at(info_map_ok)], 1
        jne failed
        lea esi, [at(text_map)]
        call puts
        xor al, al
        jmp finish
failed: lea esi, [at(text_failed)]
        call puts
        mov al, 1
finish: mov bl, al
        mov dx, COM1 + 5
.wait:  in al, dx
        test al, 0x40
        jz .wait
        mov al, bl
        out DEBUG_EXIT, al
stop:   hlt
        jmp stop

puts:   lodsb
        test al, al
        jz .done
        call putc
        jmp puts
.done:  ret
putc:   mov ah, al
        mov dx, COM1 + 5
.wait:  in al, dx
        test al, 0x20
        jz .wait
        mov al, ah
        mov dx, COM1
        out dx, al
        ret

text_cmdline: db "command line: ", 0
text_initrd: db 10, "initrd: ", 0
text_map: db 10, "map", 10, 0
text_failed: db 10, "failed", 10, 0
        align 4
info_cmdline: dd 0
info_initrd: dd 0
info_initrd_size: dd 0
info_map_ok: dd 0
%ifdef LINUX
        times 1024 - ($ - $$) db 0
        db "KERN"               ; what stands at 1 MiB
        times 508 db 0
%endif
end:
