/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The e1000's PHY, a Marvell 88E1011 behind MDIC, and its EEPROM behind EECD and EERD. */
#include "e1000.h"

#include "util/log.h"

#define AUTONEGOTIATION (500 * NS_PER_MS)
#define EEPROM_SUM      0xbaba

/* ---- PHY ---- */

typedef struct PhyRow {
    uint8_t number;
    uint16_t reset, mask; /* mask: what the guest can write */
} PhyRow;

static const PhyRow phy_rows[] = {
    {PHY_CTRL, 0x1140, 0x7dff},
    {PHY_STATUS, 0x7949, 0},
    {PHY_ID1, 0x0141, 0},
    {PHY_ID2, 0x0c20, 0},
    {PHY_ANA, 0x0de1, 0xffff},
    {PHY_LPA, 0, 0},
    {PHY_ANE, 0, 0},
    {PHY_NPT, 0x2001, 0xffff},
    {PHY_LPN, 0, 0},
    {PHY_GCON, 0x0f00, 0xff00},
    {PHY_GSTATUS, 0, 0},
    {PHY_EXTSTATUS, 0x3000, 0},
    {PHY_PSCON, 0x0068, 0xffff},
    {PHY_PSSTAT, 0, 0},
    {PHY_PINTE, 0, 0xffff},
    {PHY_PINTS, 0, 0},
    {PHY_EPSCON, 0x0d60, 0xffff},
    {PHY_RECERR, 0, 0},
    {PHY_LEDCON, 0x4100, 0xffff},
    {PHY_EADD, 0x000a, 0xffff},
    {PHY_PAGSEL, 0, 0xffff},
    {PHY_PAGIN, 0, 0xffff},
};

static const PhyRow *phy_row(unsigned number)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(phy_rows); i++)
        if (phy_rows[i].number == number)
            return &phy_rows[i];
    return NULL;
}

bool e1000_loops_back(const E1000 *s)
{
    return (s->phy[PHY_CTRL] & PHY_CTRL_LOOPBACK) || (s->regs[RCTL / 4] & RCTL_LBM) == RCTL_LBM_MAC;
}

/* Speed as STATUS has it: 0 for 10, 1 for 100, 2 for 1000 Mb/s. */
typedef struct Mode {
    uint8_t speed;
    bool full;
} Mode;

/* The best that the PHY offers, as the partner takes anything; or what it is set to. */
static Mode phy_mode(const E1000 *s)
{
    static const struct {
        uint8_t number;
        uint16_t bit;
        Mode mode;
    } offers[] = {
        {PHY_GCON, 0x200, {2, true}}, {PHY_GCON, 0x100, {2, false}}, {PHY_ANA, 0x100, {1, true}},
        {PHY_ANA, 0x080, {1, false}}, {PHY_ANA, 0x040, {0, true}},
    };
    uint16_t ctrl = s->phy[PHY_CTRL];

    if (!(ctrl & PHY_CTRL_AN_ENABLE))
        return (Mode){ctrl & PHY_CTRL_SPEED_1000 ? 2 : !!(ctrl & PHY_CTRL_SPEED_100),
                      ctrl & PHY_CTRL_FULL};
    for (unsigned i = 0; i < G_N_ELEMENTS(offers); i++)
        if (s->phy[offers[i].number] & offers[i].bit)
            return offers[i].mode;
    return (Mode){0, false};
}

/* Shows the mode where the guest looks for it: the MAC follows the PHY, unless it is forced. */
static void show_mode(E1000 *s)
{
    uint32_t ctrl = *reg(s, CTRL), status = *reg(s, STATUS);
    Mode phy = phy_mode(s), mac = phy;

    if (ctrl & CTRL_FRCSPD)
        mac.speed = MIN(ctrl >> 8 & 3, 2);
    if (ctrl & CTRL_FRCDPX)
        mac.full = ctrl & CTRL_FD;
    status &= ~(uint32_t)(STATUS_FD | 3 << STATUS_SPEED_SHIFT | 3 << STATUS_ASDV_SHIFT);
    *reg(s, STATUS) = status | (mac.full ? STATUS_FD : 0) |
                      (uint32_t)mac.speed << STATUS_SPEED_SHIFT |
                      (uint32_t)phy.speed << STATUS_ASDV_SHIFT;
    s->phy[PHY_PSSTAT] = status & STATUS_LU ? (uint16_t)(phy.speed << PSSTAT_SPEED_SHIFT |
                                                         (phy.full ? PSSTAT_FULL : 0) | PSSTAT_LINK)
                                            : 0;
}

void e1000_link_update(E1000 *s)
{
    bool off = s->phy[PHY_CTRL] & PHY_CTRL_POWER_DOWN;
    bool up = net_link_up(&s->end) && !off && !timer_armed(&s->an_timer);
    bool was_up = *reg(s, STATUS) & STATUS_LU;
    uint16_t link = PHY_STATUS_LINK | PHY_STATUS_AN_DONE;

    if (up != was_up) {
        s->phy[PHY_STATUS] = (uint16_t)((s->phy[PHY_STATUS] & ~link) | (up ? link : 0));
        s->phy[PHY_LPA] = up ? LPA_ALL : 0;
        s->phy[PHY_ANE] = up ? ANE_PARTNER : 0;
        s->phy[PHY_GSTATUS] = up ? GSTATUS_ALL : 0;
        s->phy[PHY_PINTS] |= up ? PINT_LINK | PINT_AN_DONE : PINT_LINK;
        s->link_failed |= !up;
        s->rx_held = false;
        *reg(s, STATUS) = (*reg(s, STATUS) & ~(uint32_t)STATUS_LU) | (up ? STATUS_LU : 0);
        e1000_cause(s, INT_LSC);
    }
    show_mode(s);
}

static void negotiate(E1000 *s)
{
    timer_arm(&s->an_timer, clock_now(VM_CLOCK_VIRTUAL) + AUTONEGOTIATION);
    e1000_link_update(s);
}

void e1000_an_done(void *opaque)
{
    e1000_link_update(opaque);
}

/* Power-on: the link stands already, as on a card that had power before the guest came. */
void e1000_phy_init(E1000 *s)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(phy_rows); i++)
        s->phy[phy_rows[i].number] = phy_rows[i].reset;
}

void e1000_phy_reset(E1000 *s)
{
    e1000_phy_init(s);
    negotiate(s);
}

static void phy_write(E1000 *s, unsigned number, uint16_t value)
{
    const PhyRow *row = phy_row(number);
    if (!row || !row->mask) {
        guest_error("e1000: PHY register %u is not for writing", number);
        return;
    }
    s->phy[number] = (uint16_t)((s->phy[number] & ~row->mask) | (value & row->mask));
    if (number != PHY_CTRL)
        return;
    if (value & PHY_CTRL_RESET)
        e1000_phy_reset(s);
    else if ((value & PHY_CTRL_RESTART) && (value & PHY_CTRL_AN_ENABLE))
        negotiate(s);
    else
        e1000_link_update(s);
}

static uint16_t phy_read(E1000 *s, unsigned number)
{
    uint16_t value = s->phy[number];
    if (!phy_row(number))
        guest_unimp("e1000: PHY register %u", number);
    if (number == PHY_PINTS)
        s->phy[number] = 0;
    /* A link that failed is told once, even if it stands again (IEEE 802.3, 22.2.4.2.13). */
    if (number == PHY_STATUS && s->link_failed) {
        value &= (uint16_t)~PHY_STATUS_LINK;
        s->link_failed = false;
    }
    return value;
}

void e1000_mdic_write(E1000 *s, uint32_t value)
{
    unsigned number = value >> 16 & 31, address = value >> 21 & 31;
    uint32_t done = (value & ~(uint32_t)MDIC_E) | MDIC_READY;

    if (address != PHY_ADDRESS)
        done |= MDIC_E;
    else if (value & MDIC_OP_READ)
        done = (done & ~0xffffu) | phy_read(s, number);
    else if (value & MDIC_OP_WRITE)
        phy_write(s, number, (uint16_t)value);
    *reg(s, MDIC) = done;
    if (value & MDIC_I)
        e1000_cause(s, INT_MDAC);
}

/* ---- EEPROM (SDM 5.6) ---- */

/* Words that are not 0: as a desktop adapter has them. */
static const struct {
    uint8_t word;
    uint16_t value;
} eeprom_words[] = {
    {0x03, 0x0400},                 /* compatibility: a client card */
    {0x05, 0x1000},                 /* version of this image */
    {0x08, 0x3000}, {0x09, 0x1000}, /* printed board assembly */
    {0x0a, 0x6403},                 /* initialization control 1: load the ids below */
    {0x0b, 0x1100}, {0x0c, 0x1af4}, /* subsystem and its vendor */
    {0x0d, 0x100e}, {0x0e, 0x8086}, /* device and its vendor */
    {0x0f, 0x3040},                 /* initialization control 2: pause in both directions */
    {0x10, 0x0008}, {0x14, 0x1000}, /* software defined pins */
    {0x21, 0x7863}, {0x2f, 0x0602}, /* LEDs */
};

void e1000_eeprom_init(E1000 *s)
{
    uint16_t sum = 0, *word = s->eeprom.word;

    for (unsigned i = 0; i < G_N_ELEMENTS(eeprom_words); i++)
        word[eeprom_words[i].word] = eeprom_words[i].value;
    for (unsigned i = 0; i < NET_MAC_BYTES / 2; i++)
        word[i] = (uint16_t)(s->mac[2 * i] | s->mac[2 * i + 1] << 8);
    for (unsigned i = 0; i < EEPROM93_WORDS - 1; i++)
        sum = (uint16_t)(sum + word[i]);
    word[EEPROM93_WORDS - 1] = (uint16_t)(EEPROM_SUM - sum);
}

void e1000_load_address(E1000 *s)
{
    const uint16_t *word = s->eeprom.word;
    *reg(s, RAL0) = word[0] | (uint32_t)word[1] << 16;
    *reg(s, RAH0) = word[2] | RAH_AV;
}

/* The guest asks for the EEPROM by REQ, and has it at once. */
uint32_t e1000_eecd_read(E1000 *s)
{
    uint32_t value = *reg(s, EECD) | EECD_PRES;
    if (value & EECD_REQ)
        value |= EECD_GNT;
    return eeprom93_out(&s->eeprom) ? value | EECD_DO : value;
}

void e1000_eecd_write(E1000 *s, uint32_t value)
{
    eeprom93_set(&s->eeprom, value & EECD_CS, value & EECD_SK, value & EECD_DI);
}

void e1000_eerd_write(E1000 *s, uint32_t value)
{
    unsigned word = value >> 8 & 0xff;
    if (!(value & EERD_START))
        return;
    if (word >= EEPROM93_WORDS)
        guest_error("e1000: EERD: there is no word 0x%x in the EEPROM", word);
    uint16_t data = word < EEPROM93_WORDS ? s->eeprom.word[word] : 0xffff;
    *reg(s, EERD) = (uint32_t)data << 16 | word << 8 | EERD_DONE;
}
