; SPDX-License-Identifier: GPL-2.0-or-later
; Says hello, once as firmware, once as a boot sector.
%ifndef SECTOR
%define FIRMWARE
%endif
%include "guest.inc"

main:
        set_up
        say {"hello from a guest", 10}
        finish 0

        guest_end
