/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions as text, by Zydis, in AT&T's syntax as QEMU's monitor shows them. */
#include <Zydis/Zydis.h>

#include "monitor_private.h"

unsigned mon_disassemble(const uint8_t *code, size_t length, unsigned bits, uint64_t addr,
                         GString *out)
{
    ZydisMachineMode mode = bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
                            : bits == 32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
                                         : ZYDIS_MACHINE_MODE_LEGACY_16;
    ZydisStackWidth width = bits == 64   ? ZYDIS_STACK_WIDTH_64
                            : bits == 32 ? ZYDIS_STACK_WIDTH_32
                                         : ZYDIS_STACK_WIDTH_16;
    ZydisDecoder decoder;
    ZydisFormatter formatter;
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    char text[128];

    ZydisDecoderInit(&decoder, mode, width);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, length, &insn, operands)))
        return 0;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
    ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
    if (!ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &insn, operands,
                                                      insn.operand_count_visible, text,
                                                      sizeof(text), addr, NULL)))
        return 0;
    g_string_append(out, text);
    return insn.length;
}
