/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers, descriptors and PHY of the 82540EM, by their names in Intel's PCI/PCI-X Family of
 * Gigabit Ethernet Controllers Software Developer's Manual (SDM): chapters 3 (descriptors), 5
 * (EEPROM), 13 (registers).
 */
#ifndef VMRUN_HW_NET_E1000_REGS_H
#define VMRUN_HW_NET_E1000_REGS_H

/* ---- Registers: offsets (13.3) ---- */
enum {
    CTRL = 0x0000,
    CTRL_DUP = 0x0004,
    STATUS = 0x0008,
    EECD = 0x0010,
    EERD = 0x0014,
    CTRL_EXT = 0x0018,
    FLA = 0x001c,
    MDIC = 0x0020,
    FCAL = 0x0028,
    FCAH = 0x002c,
    FCT = 0x0030,
    VET = 0x0038,
    ICR = 0x00c0,
    ITR = 0x00c4,
    ICS = 0x00c8,
    IMS = 0x00d0,
    IMC = 0x00d8,
    RCTL = 0x0100,
    FCTTV = 0x0170,
    TXCW = 0x0178,
    RXCW = 0x0180,
    TCTL = 0x0400,
    TIPG = 0x0410,
    TBT = 0x0448,
    AIFS = 0x0458,
    LEDCTL = 0x0e00,
    PBA = 0x1000,
    FCRTL = 0x2160,
    FCRTH = 0x2168,
    RDFH = 0x2410,
    RDFT = 0x2418,
    RDFHS = 0x2420,
    RDFTS = 0x2428,
    RDFPC = 0x2430,
    RDBAL = 0x2800,
    RDBAH = 0x2804,
    RDLEN = 0x2808,
    RDH = 0x2810,
    RDT = 0x2818,
    RDTR = 0x2820,
    RXDCTL = 0x2828,
    RADV = 0x282c,
    RSRPD = 0x2c00,
    TXDMAC = 0x3000,
    TDFH = 0x3410,
    TDFT = 0x3418,
    TDFHS = 0x3420,
    TDFTS = 0x3428,
    TDFPC = 0x3430,
    TDBAL = 0x3800,
    TDBAH = 0x3804,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818,
    TIDV = 0x3820,
    TXDCTL = 0x3828,
    TADV = 0x382c,
    TSPMT = 0x3830,
    STATISTICS = 0x4000, /* CRCERRS, the first */
    MPC = 0x4010,
    XONRXC = 0x4048,
    XOFFRXC = 0x4050,
    FCRUC = 0x4058,
    PRC64 = 0x405c,
    GPRC = 0x4074,
    BPRC = 0x4078,
    MPRC = 0x407c,
    GPTC = 0x4080,
    GORCL = 0x4088,
    GOTCL = 0x4090,
    RNBC = 0x40a0,
    RUC = 0x40a4,
    ROC = 0x40ac,
    TORL = 0x40c0,
    TOTL = 0x40c8,
    TPR = 0x40d0,
    TPT = 0x40d4,
    PTC64 = 0x40d8,
    MPTC = 0x40f0,
    BPTC = 0x40f4,
    TSCTC = 0x40f8,
    TSCTFC = 0x40fc, /* the last */
    RXCSUM = 0x5000,
    MTA = 0x5200,
    RAL0 = 0x5400,
    RAH0 = 0x5404,
    VFTA = 0x5600,
    WUC = 0x5800,
    WUFC = 0x5808,
    WUS = 0x5810,
    MANC = 0x5820,
    IPAV = 0x5838,
    IP4AT = 0x5840,
    IP6AT = 0x5880,
    WUPL = 0x5900,
    WUPM = 0x5a00,
    FFLT = 0x5f00,
    REGS_END = 0x6000,
    /* Tables of filters for wake-up stand beyond it: FFMT, FFVT. */
    FFMT = 0x9000,
    FFVT = 0x9800,
    PBM = 0x10000,
    MMIO_SIZE = 0x20000,
};
/* Delays count in units of 1.024 us. */
#define DELAY_UNIT 1024
/* The time of PAUSE frames counts in slots of 512 bits at 1 Gb/s. */
#define PAUSE_UNIT 512
enum { RAR_COUNT = 16, MTA_COUNT = 128, VFTA_COUNT = 128, FILTER_WORDS = 512 };

/* ---- Registers: bits ---- */
enum {
    CTRL_FD = 1 << 0,
    CTRL_SLU = 1 << 6,
    CTRL_SPEED_1000 = 2 << 8,
    CTRL_FRCSPD = 1 << 11,
    CTRL_FRCDPX = 1 << 12,
    CTRL_RST = 1 << 26,
    CTRL_RFCE = 1 << 27,
    CTRL_VME = 1 << 30,
};
#define CTRL_PHY_RST 0x80000000u
enum { STATUS_FD = 1, STATUS_LU = 2, STATUS_TXOFF = 0x10, STATUS_SPEED_1000 = 2 << 6 };
enum { STATUS_SPEED_SHIFT = 6, STATUS_ASDV_SHIFT = 8, STATUS_ASDV_1000 = 2 << 8 };
enum {
    EECD_SK = 0x01,
    EECD_CS = 0x02,
    EECD_DI = 0x04,
    EECD_DO = 0x08,
    EECD_FWE = 0x30,
    EECD_REQ = 0x40,
    EECD_GNT = 0x80,
    EECD_PRES = 0x100,
};
enum { EERD_START = 1, EERD_DONE = 0x10 };
enum { CTRL_EXT_EE_RST = 1 << 13 };
enum { MDIC_OP_WRITE = 1 << 26, MDIC_OP_READ = 2 << 26, MDIC_READY = 1 << 28 };
enum { MDIC_I = 1 << 29, MDIC_E = 1 << 30 };
enum {
    INT_TXDW = 1 << 0,
    INT_TXQE = 1 << 1,
    INT_LSC = 1 << 2,
    INT_RXDMT0 = 1 << 4,
    INT_RXO = 1 << 6,
    INT_RXT0 = 1 << 7,
    INT_MDAC = 1 << 9,
    INT_TXD_LOW = 1 << 15,
    INT_SRPD = 1 << 16,
    INT_ALL = 0x1ffff,
};
enum {
    RCTL_EN = 1 << 1,
    RCTL_UPE = 1 << 3,
    RCTL_MPE = 1 << 4,
    RCTL_LPE = 1 << 5,
    RCTL_LBM_MAC = 1 << 6,
    RCTL_LBM = 3 << 6,
    RCTL_RDMTS_SHIFT = 8,
    RCTL_MO_SHIFT = 12,
    RCTL_BAM = 1 << 15,
    RCTL_BSIZE_SHIFT = 16,
    RCTL_VFE = 1 << 18,
    RCTL_CFIEN = 1 << 19,
    RCTL_CFI = 1 << 20,
    RCTL_DPF = 1 << 22,
    RCTL_PMCF = 1 << 23,
    RCTL_BSEX = 1 << 25,
    RCTL_SECRC = 1 << 26,
};
enum { TCTL_EN = 1 << 1, TCTL_PSP = 1 << 3 };
#define RAH_AV     0x80000000u
#define RDTR_FPD   0x80000000u
#define TIDV_FPD   0x80000000u
#define LENGTH_ALL 0x000fff80u /* RDLEN, TDLEN: a multiple of 128 */
enum { RXCSUM_PCSS = 0xff, RXCSUM_IPOFLD = 1 << 8, RXCSUM_TUOFLD = 1 << 9 };

/* ---- Descriptors (3.2.3, 3.3.3 - 3.3.7) ---- */
enum { DESC_BYTES = 16, DESC_RX_STATUS = 8, DESC_TX_STATUS = 12 };
enum {
    TX_EOP = 1 << 24,
    TX_IC = 1 << 26,  /* legacy */
    TX_TSE = 1 << 26, /* extended */
    TX_RS = 1 << 27,
    TX_RPS = 1 << 28,
    TX_DEXT = 1 << 29,
    TX_VLE = 1 << 30,
    TX_DTYP_SHIFT = 20,
    TX_DTYP_CONTEXT = 0,
    TX_DTYP_DATA = 1,
    TX_LENGTH = 0xfffff, /* extended */
    TUCMD_TCP = 1 << 24,
    TUCMD_IP = 1 << 25,
};
#define TX_IDE 0x80000000u
enum { TX_POPTS_IXSM = 1 << 8, TX_POPTS_TXSM = 1 << 9, TX_DD = 1 };
enum { RX_DD = 1, RX_EOP = 2, RX_IXSM = 4, RX_VP = 8, RX_TCPCS = 0x20, RX_IPCS = 0x40 };
enum { RX_PIF = 0x80, RX_TCPE = 0x2000, RX_IPE = 0x4000 }; /* errors stand in bits 15:8 */

/* ---- PHY (Marvell 88E1011; SDM 13.4.. and IEEE 802.3, 22.2.4) ---- */
enum {
    PHY_CTRL = 0,
    PHY_STATUS = 1,
    PHY_ID1 = 2,
    PHY_ID2 = 3,
    PHY_ANA = 4,
    PHY_LPA = 5,
    PHY_ANE = 6,
    PHY_NPT = 7,
    PHY_LPN = 8,
    PHY_GCON = 9,
    PHY_GSTATUS = 10,
    PHY_EXTSTATUS = 15,
    PHY_PSCON = 16,
    PHY_PSSTAT = 17,
    PHY_PINTE = 18,
    PHY_PINTS = 19,
    PHY_EPSCON = 20,
    PHY_RECERR = 21,
    PHY_EADD = 26,
    PHY_LEDCON = 24,
    PHY_PAGSEL = 29,
    PHY_PAGIN = 30,
    PHY_REGS = 32,
    PHY_ADDRESS = 1,
};
enum {
    PHY_CTRL_SPEED_1000 = 1 << 6,
    PHY_CTRL_FULL = 1 << 8,
    PHY_CTRL_RESTART = 1 << 9,
    PHY_CTRL_POWER_DOWN = 1 << 11,
    PHY_CTRL_AN_ENABLE = 1 << 12,
    PHY_CTRL_SPEED_100 = 1 << 13,
    PHY_CTRL_LOOPBACK = 1 << 14,
    PHY_CTRL_RESET = 1 << 15,
};
enum { PHY_STATUS_LINK = 1 << 2, PHY_STATUS_AN_DONE = 1 << 5 };
enum { PSSTAT_SPEED_SHIFT = 14, PSSTAT_FULL = 1 << 13, PSSTAT_LINK = 0xc00 };
enum { PSSTAT_UP = 0xac00 }; /* 1000 Mb/s, full duplex, resolved, link */
enum { ANE_PARTNER = 1, LPA_ALL = 0xcde1, GSTATUS_ALL = 0x3c00 };
enum { PINT_LINK = 1 << 10, PINT_AN_DONE = 1 << 11 };

#endif
