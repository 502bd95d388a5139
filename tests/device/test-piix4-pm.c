/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PIIX4 power management: reset values, PM timer and its arithmetic, SCI, sleep, APM, SMBus. */
#include "hw/registry.h"
#include "test-pci.h"
#include "util/timer.h"

#define PM      PCI_DEVFN(1, 3)
#define PM_BASE 0x600
#define GPE     0xafe0
#define SMB     0x700
/* PM1 */
#define STS   PM_BASE
#define EN    (PM_BASE + 2)
#define CNT   (PM_BASE + 4)
#define TIMER (PM_BASE + 8)
#define HZ    3579545
#define HALF  0x800000ULL /* ticks between two changes of bit 23 */

static Machine *m;
static Device *pm;
static TestIrq sci;

/* Sets it up as SeaBIOS does. */
static void set_up(const char *props)
{
    m = test_machine_new(4 << 20);
    test_device(m, &i440fx_class, NULL);
    test_device(m, &piix3_class, NULL);
    pm = test_device(m, &piix4_pm_class, props);
    sci = (TestIrq){0};
    test_isa_irq(m, 9, &sci);
    cfg_writel(m, PM, 0x40, PM_BASE | 1);
    cfg_writeb(m, PM, 0x80, 1);
    cfg_writel(m, PM, 0x90, SMB | 1);
    cfg_writeb(m, PM, 0xd2, 9);
}

static void test_reset_values(void)
{
    static const struct {
        unsigned reg;
        uint32_t value;
    } rows[] = {
        {0x00, 0x71138086}, {0x04, 0x02800000}, {0x08, 0x06800003}, {0x0c, 0},
        {0x2c, 0x11001af4}, {0x3c, 0x00000100}, {0x40, 1},          {0x58, 0x02000000},
        {0x5c, 0x10000000}, {0x60, 0x60000000}, {0x64, 0},          {0x80, 0},
        {0x90, 0xb101},     {0xd0, 0x00090000},
    };
    set_up(NULL);
    device_reset(pm);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        g_assert_cmphex(cfg_readl(m, PM, rows[i].reg), ==, rows[i].value);
    g_assert_cmphex(inl(m, PM_BASE), ==, 0xffffffff); /* not decoded */
    g_assert_cmphex(inb(m, 0xb104), ==, 0);
    g_assert_cmphex(inl(m, GPE), ==, 0);
    test_machine_free(m);
}

static void test_base(void)
{
    set_up(NULL);
    g_assert_cmphex(inw(m, CNT), ==, 0);
    cfg_writel(m, PM, 0x40, 0xffff3f7f);
    g_assert_cmphex(cfg_readl(m, PM, 0x40), ==, 0x3f41);
    g_assert_cmphex(inw(m, CNT), ==, 0xffff);
    g_assert_cmphex(inw(m, 0x3f44), ==, 0);
    cfg_writeb(m, PM, 0x80, 0);
    g_assert_cmphex(inw(m, 0x3f44), ==, 0xffff);
    test_machine_free(m);
}

static void test_timer_counts(void)
{
    set_up(NULL);
    g_assert_cmphex(inl(m, TIMER), ==, 0);
    vclock_step(NS_PER_SEC);
    g_assert_cmphex(inl(m, TIMER), ==, HZ);
    g_assert_cmphex(inw(m, TIMER), ==, HZ & 0xffff);
    g_assert_cmphex(inb(m, TIMER + 2), ==, HZ >> 16);
    outl(m, TIMER, 0);
    g_assert_cmphex(inl(m, TIMER), ==, HZ);
    /* One tick is 279.36 ns; the count wraps at 24 bits. */
    vclock_set(ticks_to_ns(0xffffff, HZ));
    g_assert_cmphex(inl(m, TIMER), ==, 0xffffff);
    vclock_step(280);
    g_assert_cmphex(inl(m, TIMER), ==, 0);
    /* A year later it is still right. */
    vclock_set(365LL * 86400 * NS_PER_SEC);
    g_assert_cmphex(inl(m, TIMER), ==, (365ULL * 86400 * HZ) & 0xffffff);
    test_machine_free(m);
}

/* TMR_STS without a timer running: seen when the guest looks. */
static void test_timer_status(void)
{
    set_up(NULL);
    g_assert_cmpint(vclock_next_deadline(), ==, -1); /* idle costs nothing */
    vclock_set(ticks_to_ns(HALF, HZ) - 1);
    g_assert_cmphex(inw(m, STS), ==, 0);
    vclock_step(1);
    g_assert_cmphex(inw(m, STS), ==, 1);
    outw(m, STS, 0xfffe);
    g_assert_cmphex(inw(m, STS), ==, 1);
    outw(m, STS, 1);
    g_assert_cmphex(inw(m, STS), ==, 0);
    vclock_set(ticks_to_ns(2 * HALF, HZ) - 1);
    g_assert_cmphex(inw(m, STS), ==, 0);
    vclock_step(1);
    g_assert_cmphex(inw(m, STS), ==, 1);
    g_assert_cmpuint(sci.rises, ==, 0);
    test_machine_free(m);
}

static void test_timer_interrupt(void)
{
    set_up(NULL);
    outb(m, 0xb2, 0xf1);
    outw(m, EN, 1);
    g_assert_cmpint(vclock_next_deadline(), ==, ticks_to_ns(HALF, HZ));
    vclock_step(ticks_to_ns(HALF, HZ) - 1);
    g_assert_cmpuint(sci.rises, ==, 0);
    vclock_step(1);
    g_assert_cmpuint(sci.rises, ==, 1);
    g_assert_true(sci.level);
    g_assert_cmpint(vclock_next_deadline(), ==, -1); /* until acknowledged */
    vclock_step(10 * NS_PER_SEC);
    g_assert_cmpuint(sci.rises, ==, 1);
    outw(m, STS, 1);
    g_assert_false(sci.level);
    g_assert_cmpint(vclock_next_deadline(), >, 0);
    vclock_step(ticks_to_ns(HALF, HZ));
    g_assert_cmpuint(sci.rises, ==, 2);
    outw(m, EN, 0);
    g_assert_false(sci.level);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    test_machine_free(m);
}

static void test_acpi_enable(void)
{
    set_up(NULL);
    outl(m, GPE, 0x00010000);
    outb(m, 0xb3, 0x77);
    outb(m, 0xb2, 0xf1);
    g_assert_cmphex(inb(m, 0xb2), ==, 0xf1);
    g_assert_cmphex(inb(m, 0xb3), ==, 0x77);
    g_assert_cmphex(inw(m, CNT), ==, 1);
    outb(m, 0xb2, 0xf0);
    g_assert_cmphex(inw(m, CNT), ==, 0);
    test_machine_free(m);
}

static unsigned smis;

static void count_smi(Machine *machine)
{
    smis++;
}

static void test_smi(void)
{
    smis = 0;
    set_up("smm-enabled=on");
    m->hooks.smi = count_smi;
    g_assert_cmphex(cfg_readb(m, PM, 0x5b), ==, 0); /* the firmware has to set it up */
    outb(m, 0xb2, 0);
    g_assert_cmpuint(smis, ==, 0);
    cfg_writeb(m, PM, 0x5b, 2);
    outb(m, 0xb2, 0);
    g_assert_cmpuint(smis, ==, 1);
    test_machine_free(m);
    set_up(NULL);
    m->hooks.smi = count_smi;
    outb(m, 0xb2, 0);
    g_assert_cmpuint(smis, ==, 1);
    test_machine_free(m);
}

static void run_loop(void)
{
    while (loop_step(m->loop, false))
        continue;
}

static void press(void)
{
    machine_request_powerdown(m);
    run_loop();
}

static void test_power_button(void)
{
    set_up(NULL);
    outb(m, 0xb2, 0xf1);
    press();
    g_assert_cmphex(inw(m, STS), ==, 0); /* nobody listens */
    outw(m, EN, 0x0100);
    press();
    g_assert_cmphex(inw(m, STS), ==, 0x0100);
    g_assert_true(sci.level);
    outw(m, STS, 0x0100);
    g_assert_false(sci.level);
    /* Without SCI_EN there is no SCI. */
    outb(m, 0xb2, 0xf0);
    press();
    g_assert_false(sci.level);
    outb(m, 0xb2, 0xf1);
    g_assert_true(sci.level);
    test_machine_free(m);
}

static void sleep_s3(uint16_t enable)
{
    cfg_writel(m, PM, 0x40, PM_BASE | 1); /* waking resets it */
    cfg_writeb(m, PM, 0x80, 1);
    outb(m, 0xb2, 0xf1);
    outw(m, STS, 0xffff);
    outw(m, EN, enable);
    outw(m, CNT, 1 << 10 | 0x2000);
    run_loop();
    g_assert_cmpint(m->status, ==, MACHINE_SUSPENDED);
}

static void wake(WakeCause cause, uint16_t status)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(machine_resume(m, &error)); /* waking is no "cont" */
    g_assert_nonnull(strstr(error->message, "system_wakeup"));
    machine_pause(m, MACHINE_PAUSED);
    g_assert_cmpint(m->status, ==, MACHINE_SUSPENDED);
    machine_request_wakeup(m, cause);
    run_loop();
    g_assert_cmpint(m->status, ==, MACHINE_RUNNING);
    cfg_writel(m, PM, 0x40, PM_BASE | 1);
    cfg_writeb(m, PM, 0x80, 1);
    g_assert_cmphex(inw(m, STS), ==, status);
    g_assert_cmphex(inw(m, CNT), ==, 0);
}

static void test_suspend(void)
{
    set_up(NULL);
    machine_start(m, true);
    dma_write(&m->mem, 0x1000, "kept", 4);
    sleep_s3(0);
    wake(WAKE_OTHER, 0x8000);
    sleep_s3(0x0400);
    wake(WAKE_RTC, 0x8400);
    sleep_s3(0);
    machine_request_wakeup(m, WAKE_RTC); /* not asked for */
    run_loop();
    g_assert_cmpint(m->status, ==, MACHINE_SUSPENDED);
    press();
    g_assert_cmpint(m->status, ==, MACHINE_RUNNING);
    sleep_s3(0);
    machine_request_reset(m, RESET_HOST);
    run_loop();
    g_assert_cmpint(m->status, ==, MACHINE_RUNNING);
    machine_request_wakeup(m, WAKE_OTHER); /* awake already */
    run_loop();
    cfg_writel(m, PM, 0x40, PM_BASE | 1);
    cfg_writeb(m, PM, 0x80, 1);
    g_assert_cmphex(inw(m, STS), ==, 0);
    char kept[4];
    dma_read(&m->mem, 0x1000, kept, 4);
    g_assert_cmpmem(kept, 4, "kept", 4);
    test_machine_free(m);
}

static void test_registers(void)
{
    set_up(NULL);
    outw(m, EN, 0xffff);
    g_assert_cmphex(inw(m, EN), ==, 0x0521);
    outb(m, EN, 0);
    g_assert_cmphex(inw(m, EN), ==, 0x0500);
    outl(m, STS, 0x01000000);
    g_assert_cmphex(inl(m, STS), ==, 0x01000000);
    outw(m, CNT, 0x1403); /* BM_RLD, SCI_EN, a sleep type, no SLP_EN */
    g_assert_cmphex(inw(m, CNT), ==, 0x1403);
    outb(m, CNT + 1, 0x08);
    g_assert_cmphex(inw(m, CNT), ==, 0x0803);
    g_assert_false(machine_request_pending(m));
    outl(m, GPE, 0x00ff0000);
    g_assert_cmphex(inl(m, GPE), ==, 0x00ff0000);
    outb(m, GPE + 2, 0x12);
    g_assert_cmphex(inw(m, GPE + 2), ==, 0x0012);
    test_machine_free(m);
}

static void test_sleep(void)
{
    set_up(NULL);
    outw(m, CNT, 0x2000 | 3 << 10); /* a type that means nothing */
    g_assert_false(machine_request_pending(m));
    g_assert_cmphex(inw(m, CNT), ==, 3 << 10); /* SLP_EN reads as 0 */
    outw(m, CNT, 0x2000);
    g_assert_cmpint(m->shutdown_pending, ==, SHUTDOWN_GUEST + 1);
    g_assert_cmpint(m->reset_pending, ==, 0);
    test_machine_free(m);
}

static void test_smbus(void)
{
    set_up(NULL);
    outb(m, SMB + 4, 0xa1);
    outb(m, SMB + 3, 0x12);
    outb(m, SMB + 5, 0x34);
    outb(m, SMB + 2, 0x48); /* start a byte read; nobody is there */
    g_assert_cmphex(inb(m, SMB), ==, 0x04);
    g_assert_cmphex(inb(m, SMB + 2), ==, 0x08);
    g_assert_cmphex(inb(m, SMB + 4), ==, 0xa1);
    g_assert_cmphex(inb(m, SMB + 5), ==, 0x34);
    g_assert_false(sci.level);
    outb(m, SMB, 0xff);
    g_assert_cmphex(inb(m, SMB), ==, 0);
    outb(m, SMB + 2, 0x49); /* with the interrupt */
    g_assert_true(sci.level);
    outb(m, SMB, 0x04);
    g_assert_false(sci.level);
    outb(m, SMB + 2, 0x02);
    g_assert_cmphex(inb(m, SMB), ==, 0x10);
    /* The block buffer is a ring of 32. */
    inb(m, SMB + 2);
    for (unsigned i = 0; i < 33; i++)
        outb(m, SMB + 7, (uint8_t)i);
    inb(m, SMB + 2);
    g_assert_cmphex(inb(m, SMB + 7), ==, 32);
    g_assert_cmphex(inb(m, SMB + 7), ==, 1);
    cfg_writeb(m, PM, 0xd2, 8);
    g_assert_cmphex(inb(m, SMB + 4), ==, 0xff);
    test_machine_free(m);
}

static void test_state(void)
{
    set_up(NULL);
    outb(m, 0xb2, 0xf1);
    outw(m, EN, 0x0101);
    outb(m, SMB + 7, 5);
    vclock_step(NS_PER_SEC);
    press();
    test_device_state(pm);
    g_assert_cmphex(inw(m, STS), ==, 0x0100);
    g_assert_cmphex(inw(m, CNT), ==, 1);
    g_assert_cmpint(vclock_next_deadline(), ==, ticks_to_ns(HALF, HZ));
    outw(m, STS, 0x0100);
    vclock_step(2 * NS_PER_SEC);
    g_assert_cmphex(inw(m, STS), ==, 1);
    device_reset(pm);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    test_machine_free(m);
}

static void test_hostile(void)
{
    set_up(NULL);
    for (unsigned base = 0; base < 3; base++) {
        static const uint16_t bases[] = {PM_BASE, GPE, SMB};
        for (unsigned port = bases[base]; port < bases[base] + 64u; port++) {
            outb(m, (uint16_t)port, 0xff);
            outw(m, (uint16_t)port, 0xdfff);
            outl(m, (uint16_t)port, 0xffffdfff);
            inb(m, (uint16_t)port);
            inw(m, (uint16_t)port);
            inl(m, (uint16_t)port);
        }
    }
    cfg_hammer(m, PM);
    device_reset(pm);
    g_assert_cmphex(cfg_readl(m, PM, 0), ==, 0x71138086);
    test_machine_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/piix4-pm/reset-values", test_reset_values);
    g_test_add_func("/piix4-pm/base", test_base);
    g_test_add_func("/piix4-pm/timer/counts", test_timer_counts);
    g_test_add_func("/piix4-pm/timer/status", test_timer_status);
    g_test_add_func("/piix4-pm/timer/interrupt", test_timer_interrupt);
    g_test_add_func("/piix4-pm/acpi-enable", test_acpi_enable);
    g_test_add_func("/piix4-pm/smi", test_smi);
    g_test_add_func("/piix4-pm/power-button", test_power_button);
    g_test_add_func("/piix4-pm/suspend", test_suspend);
    g_test_add_func("/piix4-pm/registers", test_registers);
    g_test_add_func("/piix4-pm/sleep", test_sleep);
    g_test_add_func("/piix4-pm/smbus", test_smbus);
    g_test_add_func("/piix4-pm/state", test_state);
    g_test_add_func("/piix4-pm/hostile", test_hostile);
    return g_test_run();
}
