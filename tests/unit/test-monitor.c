/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitor commands on a machine with an engine that only knows register values. */
#include "accel/engine.h"
#include "accel/test.h"
#include "block/block.h"
#include "monitor/monitor.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

#include "../../monitor/command.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* No device of vmrun's is needed. */
const DeviceClass *const device_classes[] = {NULL};

/* ---- A machine with CPUs that stand still ---- */

static CpuState cpu_states[2];
static uint8_t port_value;
static unsigned nmis;

static bool fake_init(Machine *machine, const EngineConfig *config, GError **error)
{
    return true;
}

static bool fake_pull(Vcpu *cpu, CpuState *state)
{
    *state = cpu_states[cpu->index];
    return true;
}

static void fake_describe(Machine *machine, GString *out)
{
    g_string_append(out, "fake details\n");
}

static const CpuEngine fake_engine = {
    .name = "fake", .init = fake_init, .pull = fake_pull, .describe = fake_describe};

static uint64_t port_read(void *opaque, hwaddr offset, unsigned size)
{
    return port_value + offset;
}

static void port_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    port_value = (uint8_t)value;
}

static const RegionOps port_ops = {.read = port_read, .write = port_write, .max_size = 1};

static void count_nmi(Machine *machine)
{
    nmis++;
}

typedef struct Fixture {
    Machine *machine;
    Region port;
    char *dir;
} Fixture;

/* The machine's RAM holds a counting pattern. */
static void set_up(Fixture *f, gconstpointer data)
{
    f->machine = test_machine_new(1 << 20);
    f->machine->cpu_count = 2;
    GError *error = NULL;
    EngineConfig config = {0};
    g_assert_true(vcpus_init(f->machine, &fake_engine, &config, &error));
    f->machine->hooks.nmi = count_nmi;
    region_init_io(&f->port, "port", 4, &port_ops, NULL, NULL);
    region_add(&f->machine->io_root, 0x64, &f->port);
    for (unsigned i = 0; i < 1 << 20; i++)
        region_ram_ptr(f->machine->ram)[i] = (uint8_t)i;
    for (unsigned i = 0; i < 2; i++) {
        cpu_state_reset(&cpu_states[i], i == 0, i, 0x663);
        cpu_states[i].gpr[GPR_RBX] = 0x1122334455667788 + i;
        cpu_states[i].rip = 0x100;
    }
    port_value = 0x1c;
    nmis = 0;
    f->dir = g_dir_make_tmp("monitor-XXXXXX", NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    region_fini(&f->port);
    vcpus_fini(f->machine);
    test_machine_free(f->machine);
    g_rmdir(f->dir);
    g_free(f->dir);
}

static void check(Fixture *f, const char *line, const char *expected)
{
    g_autofree char *output = monitor_run(f->machine, line);
    g_test_message("%s", line);
    g_assert_cmpstr(output, ==, expected);
}

static void check_has(Fixture *f, const char *line, const char *expected)
{
    g_autofree char *output = monitor_run(f->machine, line);
    if (!strstr(output, expected))
        g_test_message("'%s' gave '%s', not '%s'", line, output, expected);
    g_assert_nonnull(strstr(output, expected));
}

/* ---- Parsing ---- */

static void test_unknown(Fixture *f, gconstpointer data)
{
    check(f, "", "");
    check(f, "   ", "");
    check(f, "qiut", "unknown command: 'qiut'; did you mean 'quit'?\n");
    check(f, "info blokc", "unknown command: 'info blokc'; did you mean 'info block'?\n");
    check(f, "frobnicate", "unknown command: 'frobnicate'; 'help' lists them\n");
    check(f, "info frobnicate", "unknown command: 'info frobnicate'; 'help info' lists them\n");
    check(f, "stop now",
          "stop: extraneous characters at the end of line: 'now'\n"
          "Try \"help stop\" for more information\n");
    check(f, "eject", "eject: device is missing\nTry \"help eject\" for more information\n");
    check(f, "sum 0", "sum: size is missing\nTry \"help sum\" for more information\n");
    check_has(f, "screendump \"x", "a quote is not closed");
    check_has(f, "x/99999999999x 0", "the count is too large");
    check_has(f, "x/4q 0", "invalid char in format: 'q'");
}

static void test_help(Fixture *f, gconstpointer data)
{
    check(f, "help x", "x /fmt addr -- virtual memory dump starting at 'addr'\n");
    check(f, "help quit", "quit|q -- end vmrun\n");
    check(f, "? info status", "info status -- whether the guest runs\n");
    check(f, "help nothing", "there is no command 'nothing'\n");
    check(f, "help info nothing", "there is no command 'info nothing'\n");
    /* Every row is described, each on one line of its own. */
    g_autofree char *all = monitor_run(f->machine, "help");
    for (const MonCommand *row = mon_commands; row->name; row++)
        g_assert_nonnull(strstr(all, row->name));
    g_autofree char *info = monitor_run(f->machine, "info");
    for (const MonCommand *row = mon_info_commands; row->name; row++) {
        g_autofree char *start = g_strdup_printf("info %s", row->name);
        g_assert_nonnull(strstr(info, start));
    }
    g_autofree char *help_info = monitor_run(f->machine, "help info");
    g_assert_cmpstr(info, ==, help_info);
}

static void test_expressions(Fixture *f, gconstpointer data)
{
    check(f, "p 1+2", "0x3\n");
    check(f, "p/d 10 + 2*3", "16\n");
    check(f, "print /x (1+2)*0x10", "0x30\n");
    check(f, "p/d 7-10", "-3\n");
    check(f, "p/u -1", "18446744073709551615\n");
    check(f, "p/o 8", "010\n");
    check(f, "p/d 010", "8\n");
    check(f, "p/c 65", "'A'\n");
    check(f, "p/c 10", "'\\n'\n");
    check(f, "p/d 'A'", "65\n");
    check(f, "p/d ' '", "32\n");
    check(f, "p/x ~0 ^ 0xff", "0xffffffffffffff00\n");
    check(f, "p/d 1+6&3", "3\n"); /* & binds closer than + in this grammar */
    check(f, "p/d -7/2", "-3\n");
    check(f, "p/d -7%4", "-3\n");
    check(f, "p/d (-0x7fffffffffffffff-1)/(0-1)", "-9223372036854775808\n");
    check(f, "p/d (-0x7fffffffffffffff-1)%(0-1)", "0\n");
    check(f, "p/x $rbx", "0x1122334455667788\n");
    check(f, "p/x $ebx+1", "0x55667789\n");
    check(f, "p $cs_base+$eip", "0xffff0100\n");
    check(f, "p $cs", "0xf000\n");
    check_has(f, "p 1/0", "division by zero");
    check_has(f, "p 1%0", "division by zero");
    check_has(f, "p (3", "')' expected");
    check_has(f, "p", "expr is missing");
    check_has(f, "p 1+", "unexpected end of expression");
    check_has(f, "p 1x", "invalid char 'x' in number");
    check_has(f, "p @", "invalid char '@' in expression");
    check_has(f, "p $ripp", "unknown register '$ripp'; did you mean '$rip'?");
    check_has(f, "p 'AB'", "a character constant");
    g_autofree char *deep = g_strnfill(4000, '(');
    g_autofree char *line = g_strconcat("p ", deep, NULL);
    check_has(f, line, "nested too deeply");
    memset(deep, '-', 4000);
    g_autofree char *minus = g_strconcat("p ", deep, "1", NULL);
    check_has(f, minus, "nested too deeply");
}

/* ---- Memory and ports ---- */

static void test_dumps(Fixture *f, gconstpointer data)
{
    check(f, "xp /4xw 0x10", "0000000000000010: 0x13121110 0x17161514 0x1b1a1918 0x1f1e1d1c\n");
    check(f, "xp /10xb 0x7c",
          "000000000000007c: 0x7c 0x7d 0x7e 0x7f 0x80 0x81 0x82 0x83\n"
          "0000000000000084: 0x84 0x85\n");
    check(f, "xp /2xg 0", "0000000000000000: 0x0706050403020100 0x0f0e0d0c0b0a0908\n");
    check(f, "xp/3dh 0x7e", "000000000000007e: 32638 -32384 -31870\n");
    check(f, "xp /3uh 0x7e", "000000000000007e: 32638 33152 33666\n");
    check(f, "xp /2db 0x7f", "000000000000007f: 127 -128\n");
    check(f, "xp /2ob 7", "0000000000000007:  07 010\n");
    check(f, "xp /3c 0x40", "0000000000000040: '@' 'A' 'B'\n");
    check(f, "xp /1c 10", "000000000000000a: '\\n'\n");
    check(f, "xp 0", "0000000000000000: 0x03020100\n");
    check(f, "xp /1xw 0xfffffff0", "00000000fffffff0: 0xffffffff\n");
    /* Real mode: virtual is physical. */
    check(f, "x /1xw $rip+4", "0000000000000104: 0x07060504\n");
    check(f, "x /2xb 0xfffff", "00000000000fffff: 0xff 0xff\n");
}

static void test_code(Fixture *f, gconstpointer data)
{
    static const uint8_t code[] = {0xea, 0x5b, 0xe0, 0x00, 0xf0, 0x90, 0xff, 0xff};
    memcpy(region_ram_ptr(f->machine->ram) + 0x100, code, sizeof(code));
    check_has(f, "x /2i $eip", "0x00000100:  ea 5b e0 00 f0          ljmp");
    check_has(f, "x /2i $eip", "\n0x00000105:  90                      nop\n");
    check_has(f, "x /i 0x106", "0x00000106:  ff                      .byte    0xff\n");
    /* The same bytes mean other things in 64 bits. */
    region_ram_ptr(f->machine->ram)[0x200] = 0x48;
    region_ram_ptr(f->machine->ram)[0x201] = 0x90;
    check_has(f, "xp /i 0x200", "dec");
    cpu_states[0].cr0 |= 1;
    cpu_states[0].efer = 1 << 10;
    cpu_states[0].seg[SEG_CS].attr |= ATTR_L;
    check_has(f, "xp /i 0x200", "nop");
}

static void test_ports(Fixture *f, gconstpointer data)
{
    check(f, "i 0x64", "portb[0x0064] = 0x1c\n");
    check(f, "i /b 0x65", "portb[0x0065] = 0x1d\n");
    check(f, "i /h 0x64", "portw[0x0064] = 0x1d1c\n");
    check(f, "i /w 0x64", "portl[0x0064] = 0x1f1e1d1c\n");
    check(f, "i 0x70", "portb[0x0070] = 0xff\n");
    check(f, "o 0x64 0x30", "");
    g_assert_cmpuint(port_value, ==, 0x30);
    check(f, "o /b 0x64 0x31", "");
    g_assert_cmpuint(port_value, ==, 0x31);
    check(f, "i 0x10000", "Error: ports are 0 to 0xffff\n");
    check(f, "o 0x12345 1", "Error: ports are 0 to 0xffff\n");
}

static void test_saving(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "out", NULL), *contents = NULL;
    g_autofree char *line = g_strdup_printf("pmemsave 0xff8 5000 %s", path);
    size_t length;

    check(f, line, "");
    g_assert_true(g_file_get_contents(path, &contents, &length, NULL));
    g_assert_cmpuint(length, ==, 5000);
    g_assert_cmpmem(contents, length, region_ram_ptr(f->machine->ram) + 0xff8, 5000);
    g_autofree char *virtual = g_strdup_printf("memsave 0x1234 3 \"%s\"", path), *three = NULL;
    check(f, virtual, "");
    g_assert_true(g_file_get_contents(path, &three, &length, NULL));
    g_assert_cmpmem(three, length, "\x34\x35\x36", 3);
    g_unlink(path);
    check_has(f, "pmemsave 0 10 /nonexistent/x", "Error: cannot write '/nonexistent/x'");
    check_has(f, "pmemsave 0 ~0 /nonexistent/x", "there is no memory");
    check_has(f, "pmemsave 0xffffffffffffffff 1 /nonexistent/x", "there is no memory");
}

static void test_sum(Fixture *f, gconstpointer data)
{
    uint16_t sum = 0;
    for (unsigned i = 0; i < 100; i++)
        sum = (uint16_t)((sum >> 1 | sum << 15) + i);
    g_autofree char *expected = g_strdup_printf("%05d\n", sum);
    check(f, "sum 0 100", expected);
    check(f, "sum 0 0", "00000\n");
}

/* ---- Page tables ---- */

enum { PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000 };

static void put(Fixture *f, hwaddr table, unsigned index, uint64_t entry)
{
    st64_le(region_ram_ptr(f->machine->ram) + table + index * 8, entry);
}

/* Virtual 0x40000000: one 2 MiB page; 0x40200000: two small pages, the second read-only. */
static void build_tables(Fixture *f)
{
    memset(region_ram_ptr(f->machine->ram) + PML4, 0, 0x4000);
    put(f, PML4, 0, PDPT | 7);
    put(f, PDPT, 1, PD | 7);
    put(f, PD, 0, 0x0 | 0x87);
    put(f, PD, 1, PT | 3);
    put(f, PT, 0, 0x5000 | 0x63);
    put(f, PT, 1, 0x8000000000006000 | 1);
    cpu_states[0].cr0 |= 0x80000001;
    cpu_states[0].cr4 |= 0x20;
    cpu_states[0].efer |= 0x500;
    cpu_states[0].cr3 = PML4;
}

static void test_paging(Fixture *f, gconstpointer data)
{
    check(f, "info mem", "PG disabled\n");
    check(f, "info tlb", "PG disabled\n");
    check(f, "gva2gpa 0x1234", "gpa: 0x1234\n");
    build_tables(f);
    check(f, "gva2gpa 0x40201010", "gpa: 0x6010\n");
    check(f, "gva2gpa 0x40202000", "Unmapped\n");
    check(f, "x /1xw 0x40200010", "0000000040200010: 0x13121110\n");
    check(f, "x /8xb 0x40201ffc", "0000000040201ffc: Cannot access memory\n");
    check(f, "x /1i 0x50000000", "0x50000000:  Cannot access memory\n");
    check(f, "info tlb",
          "0000000040000000: 0000000000000000 --P----UW\n"
          "0000000040200000: 0000000000005000 ---DA---W\n"
          "0000000040201000: 0000000000006000 X--------\n");
    check(f, "info mem",
          "0000000040000000-0000000040200000 0000000000200000 urw\n"
          "0000000040200000-0000000040201000 0000000000001000 -rw\n"
          "0000000040201000-0000000040202000 0000000000001000 -r-\n");
    /* The upper half is sign-extended. */
    put(f, PML4, 0, 0);
    put(f, PML4, 511, PDPT | 7);
    check_has(f, "info tlb", "ffffff8040000000: ");
}

static void test_paging_32(Fixture *f, gconstpointer data)
{
    uint8_t *ram = region_ram_ptr(f->machine->ram);
    memset(ram + PML4, 0, 0x2000);
    st32_le(ram + PML4 + 4, PDPT | 7);
    st32_le(ram + PML4 + 8, 0x00400083);
    st32_le(ram + PDPT, 0x00005007);
    cpu_states[0].cr0 |= 0x80000001;
    cpu_states[0].cr4 = 1 << 4;
    cpu_states[0].cr3 = PML4;
    check(f, "info tlb",
          "0000000000400000: 0000000000005000 -------UW\n"
          "0000000000800000: 0000000000400000 --P-----W\n");
}

/* Tables that point at themselves must neither hang nor fill the memory. */
static void test_paging_hostile(Fixture *f, gconstpointer data)
{
    build_tables(f);
    for (unsigned i = 0; i < 512; i++)
        put(f, PML4, i, PML4 | 7);
    check_has(f, "info tlb", "(there is more: stopped here)");
    g_autofree char *mem = monitor_run(f->machine, "info mem");
    g_assert_cmpuint(strlen(mem), <, 4 << 20);
    cpu_states[0].cr3 = 0xfffffffff000;
    check(f, "info mem", "");
}

/* ---- State ---- */

static void test_info(Fixture *f, gconstpointer data)
{
    check(f, "info version", VMRUN_VERSION "\n");
    check(f, "version", VMRUN_VERSION "\n");
    check(f, "info uuid", "00000000-0000-0000-0000-000000000000\n");
    f->machine->uuid[0] = 0x12;
    f->machine->uuid[15] = 0xfe;
    check(f, "info uuid", "12000000-0000-0000-0000-0000000000fe\n");
    check(f, "info name", "");
    f->machine->name = g_strdup("guest");
    check(f, "info name", "guest\n");
    check(f, "info kvm", "kvm support: disabled\nfake details\n");
    check(f, "info irq", "IRQ statistics:\n");
    f->machine->irq_count[4] = 17;
    check(f, "info irq", "IRQ statistics:\n 4: 17\n");
    check(f, "info pci", "this machine has no PCI bus\n");
    check(f, "info pic", "this machine has no interrupt controller\n");
    check(f, "info mice", "No mouse devices connected\n");
    check(f, "info history", "");
    check_has(f, "info mtree", "port");
    check_has(f, "info mtree -f", "ram");
    check_has(f, "info ramblock", "1 MiB");
    check_has(f, "info network", "no network cards");
    check(f, "info usernet", "");
    check(f, "netdev_add user", "Error: netdev_add user: id= is missing\n");
    check_has(f, "netdev_add usr,id=n", "did you mean 'user'?");
    check_has(f, "netdev_add help", "  user,id=ID[,net=ADDR/BITS]");
    check_has(f, "netdev_add user,id=f,hostfwd=tcp:127.0.0.1:0-:22",
              "network 'f' forwards tcp 127.0.0.1:");
    check(f, "netdev_del f", "");
    check(f, "netdev_add hubport,id=h,hubid=3", "");
    check(f, "netdev_add hubport,id=g,hubid=3,netdev=x",
          "Error: there is no network 'x'; there are: h\n");
    check(f, "info network", "hub 3\n \\ h\n");
    check(f, "netdev_del h", "");
    check(f, "netdev_add user,id=n,restrict=on", "");
    check_has(f, "info network",
              "n: index=0,type=user,net=10.0.2.0,mask=255.255.255.0,restrict=on");
    check(f, "set_link m off", "Error: there is no network or network card 'm'; there are: n\n");
    check(f, "set_link n of", "Error: set_link: 'of': must be on or off\n");
    check(f, "set_link n off", "");
    check_has(f, "info network", "link=off");
    check_has(f, "info usernet", "no connection yet");
    check_has(f, "hostfwd_add x", "'x' must begin with tcp: or udp:");
    check(f, "hostfwd_add n udp:127.0.0.1:0-:53", "");
    check_has(f, "info usernet", "UDP[HOST_FORWARD]");
    check(f, "hostfwd_remove udp:127.0.0.1:0", "");
    check_has(f, "hostfwd_remove m udp:127.0.0.1:0", "there is no network 'm'");
    check(f, "netdev_del m", "Error: there is no network 'm'; there are: n\n");
    check(f, "netdev_del n", "");
    check(f, "hostfwd_add x", "Error: there is no user network\n");
    check(f, "info network", "there are no network cards\n");
    check_has(f, "info block nothing", "nothing");
}

static void test_cpus(Fixture *f, gconstpointer data)
{
    check_has(f, "info cpus", "* CPU #0: apic_id=0");
    check_has(f, "info cpus", "  CPU #1: apic_id=1");
    check_has(f, "info registers", "55667788");
    check_has(f, "info registers -a", "CPU#1");
    check_has(f, "info registers 1", "55667789");
    check(f, "info registers 2", "CPU#2 not available\n");
    check(f, "cpu 1", "");
    check(f, "cpu 2", "invalid CPU index\n");
    check(f, "nmi", "");
    g_assert_cmpuint(nmis, ==, 1);
}

static void test_life(Fixture *f, gconstpointer data)
{
    check(f, "info status", "VM status: running\n");
    check(f, "stop", "");
    check(f, "info status", "VM status: paused\n");
    check(f, "c", "");
    check(f, "info status", "VM status: running\n");
    machine_pause(f->machine, MACHINE_IO_ERROR);
    check(f, "info status", "VM status: paused (io-error)\n");
    g_assert_false(machine_request_pending(f->machine));
    check(f, "system_reset", "");
    g_assert_true(machine_request_pending(f->machine));
}

static char *boot_order;

static bool take_boot_order(Machine *machine, const char *order, GError **error)
{
    boot_order = g_strdup(order);
    return strcmp(order, "x") || fail(error, "no such letter");
}

static void test_boot_set(Fixture *f, gconstpointer data)
{
    check(f, "boot_set dc", "Error: this machine has no boot order\n");
    f->machine->boot_set = take_boot_order;
    check(f, "boot_set dc", "");
    g_assert_cmpstr(boot_order, ==, "dc");
    g_free(boot_order);
    check(f, "boot_set x", "Error: no such letter\n");
    g_free(boot_order);
}

static void test_quit(Fixture *f, gconstpointer data)
{
    check(f, "q", "");
    g_assert_true(machine_request_pending(f->machine));
}

static void test_log(Fixture *f, gconstpointer data)
{
    check(f, "log int,guest_errors", "");
    g_assert_cmpuint(log_mask_bits, ==, LOG_INT | LOG_GUEST_ERROR);
    check(f, "log none", "");
    g_assert_cmpuint(log_mask_bits, ==, 0);
    check_has(f, "log itn", "'int'");
    check_has(f, "log itn", "guest_errors");
    check_has(f, "logfile /nonexistent/x", "/nonexistent/x");
}

static void test_input(Fixture *f, gconstpointer data)
{
    check(f, "sendkey ctrl-alt-delete", "");
    check_has(f, "sendkey ctrl-atl", "Error: ");
    check(f, "mouse_move -3 4", "");
    check(f, "mouse_move 3 4 -1", "");
    check_has(f, "mouse_move 3 four", "'four' must be a number");
    check_has(f, "mouse_move 3", "dy is missing");
    check(f, "mouse_button 1", "");
    check(f, "mouse_button 0", "");
    check_has(f, "screendump x.png nowhere", "there is no screen 'nowhere'");
}

static void test_drives(Fixture *f, gconstpointer data)
{
    g_autofree char *first = g_build_filename(f->dir, "first.iso", NULL);
    g_autofree char *second = g_build_filename(f->dir, "second.iso", NULL);
    g_autofree char *text = g_strdup_printf("file=%s,format=raw,media=cdrom,id=cd", first);
    g_autofree char *zeroes = g_malloc0(65536);
    GError *error = NULL;

    g_assert_true(g_file_set_contents(first, zeroes, 65536, NULL));
    g_assert_true(g_file_set_contents(second, zeroes, 32768, NULL));
    g_autoptr(Options) opts = options_parse("-drive", text, NULL, NULL, NULL);
    Blk *blk = blk_open(opts, &error);
    g_assert_no_error(error);

    check_has(f, "info block", "cd");
    check_has(f, "info block cd", first);
    check_has(f, "info blockstats", "rd_bytes=0");
    check(f, "eject cd", "");
    g_assert_false(blk_has_medium(blk));
    g_autofree char *change = g_strdup_printf("change cd %s raw", second);
    check(f, change, "");
    g_assert_cmpuint(blk_size(blk), ==, 32768);
    g_autofree char *force = g_strdup_printf("change cd -f %s", first);
    check(f, force, "");
    g_assert_cmpuint(blk_size(blk), ==, 65536);
    g_assert_true(blk_readonly(blk));
    check_has(f, "change cd /nonexistent", "Error: ");
    check_has(f, "change dc /nonexistent", "cd");
    check_has(f, "change vnc password", "VNC");
    check_has(f, "change cd x raw sometimes", "read-only-mode must be");
    check_has(f, "eject nothing", "Error: ");
    check_has(f, "commit nothing", "Error: ");
    check(f, "commit all", "");
    blk_close(blk);
    g_unlink(first);
    g_unlink(second);
}

static void test_ringbuf(Fixture *f, gconstpointer data)
{
    GError *error = NULL;
    Chardev *chr = chr_open("-chardev", "ringbuf", "ring0", &error);
    g_assert_no_error(error);
    check(f, "ringbuf_write ring0 hello", "");
    check(f, "ringbuf_write ring0 \"a\\nb\\\\\"", "");
    check(f, "ringbuf_read ring0 5", "hello\n");
    check(f, "ringbuf_read ring0 100", "a\nb\\\\\n");
    check(f, "ringbuf_read ring0 100", "\n");
    check_has(f, "ringbuf_read gnir0 1", "Error: ");
    check_has(f, "info chardev", "ring0: filename=ringbuf");
    chr_close(chr);
}

/* ---- Completion ---- */

static void complete(const char *text, size_t start, const char *expected)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    g_assert_cmpuint(mon_complete(NULL, text, words), ==, start);
    g_ptr_array_add(words, NULL);
    g_autofree char *all = g_strjoinv(" ", (char **)words->pdata);
    g_assert_cmpstr(all, ==, expected);
}

static void test_completion(Fixture *f, gconstpointer data)
{
    GError *error = NULL;
    g_autofree char *file = g_build_filename(f->dir, "disk.iso", NULL);
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    g_autoptr(Options) opts = options_parse("-drive", "media=cdrom,id=cdrom7", NULL, NULL, NULL);
    Blk *blk = blk_open(opts, &error);
    g_assert_no_error(error);

    complete("system_", 0, "system_powerdown system_wakeup system_reset");
    complete("  system_r", 2, "system_reset");
    complete("info blo", 5, "block block-jobs blockstats");
    complete("help mouse_m", 5, "mouse_move");
    complete("help info mt", 10, "mtree");
    complete("eject cdrom", 6, "cdrom7");
    complete("eject -f cdrom", 9, "cdrom7");
    complete("info block cd", 11, "cdrom7");
    complete("change cdrom7 x ra", 16, "raw");
    complete("sendkey ctrl-alt-delet", 8, "ctrl-alt-delete");
    complete("log int,guest_", 4, "int,guest_errors");
    complete("zzz ", 4, "");
    complete("stop x", 5, "");
    g_autofree char *line = g_strdup_printf("change cdrom7 %s/di", f->dir);
    complete(line, strlen("change cdrom7 "), file);
    g_autofree char *dirs = g_strndup(line, strlen(line) - 6);
    g_autofree char *slashed = g_strconcat(f->dir, "/", NULL);
    complete(dirs, strlen("change cdrom7 "), slashed);
    blk_close(blk);
    g_unlink(file);
}

/* ---- On a socket ---- */

typedef struct Peer {
    int fd;
    GString *seen;
    const char *wanted;
} Peer;

static bool seen(void *opaque)
{
    Peer *peer = opaque;
    char buf[4096];
    ssize_t length;
    while ((length = recv(peer->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
        g_string_append_len(peer->seen, buf, length);
    return strstr(peer->seen->str, peer->wanted) != NULL;
}

/* Sends text and waits until wanted has come. */
static void talk(Fixture *f, Peer *peer, const char *text, const char *wanted)
{
    g_string_truncate(peer->seen, 0);
    peer->wanted = wanted;
    g_assert_cmpint(send(peer->fd, text, strlen(text), 0), ==, (ssize_t)strlen(text));
    g_test_message("sent '%s', want '%s'", text, wanted);
    test_wait(f->machine, seen, peer);
}

static Peer connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    Peer peer = {socket(AF_UNIX, SOCK_STREAM, 0), g_string_new(NULL), NULL};
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(peer.fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    return peer;
}

static void disconnect(Peer *peer)
{
    close(peer->fd);
    g_string_free(peer->seen, TRUE);
}

static void test_socket(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "mon", NULL);
    g_autofree char *spec = g_strdup_printf("unix:%s,server=on,wait=off", path);
    GError *error = NULL;
    Chardev *chr = chr_open("-monitor", spec, "mon0", &error);
    g_assert_no_error(error);
    Monitor *mon = monitor_new(f->machine, chr, &error);
    g_assert_no_error(error);

    Peer peer = connect_to(path);
    talk(f, &peer, "",
         "vmrun " VMRUN_VERSION " monitor - type 'help' for more information\r\n"
         "(vmrun) ");
    talk(f, &peer, "info status\n", "info status\r\nVM status: running\r\n(vmrun) ");
    talk(f, &peer, "st\r", "st\r\nunknown command: 'st'; did you mean 's'?\r\n(vmrun) ");
    talk(f, &peer, "sto\t", "stop ");
    talk(f, &peer, "\r", "\r\n(vmrun) ");
    g_assert_cmpint(f->machine->status, ==, MACHINE_PAUSED);
    talk(f, &peer, "info history\r", "1: 'st'\r\n");
    /* What `cpu` and formats set belongs to this monitor. */
    talk(f, &peer, "cpu 1\rp/x $rbx\r", "0x1122334455667789\r\n");
    talk(f, &peer, "xp /2xb 0\rxp 1\r", "0000000000000001: 0x01\r\n");
    /* Much output to a peer that reads slowly arrives whole. */
    talk(f, &peer, "xp /65536xb 0\r", "000000000000fff8: 0xf8 0xf9 0xfa 0xfb 0xfc 0xfd 0xfe 0xff");
    g_assert_nonnull(strstr(peer.seen->str, "\r\n0000000000008000: 0x00"));
    disconnect(&peer);

    /* A second peer starts afresh. */
    peer = connect_to(path);
    talk(f, &peer, "", "monitor - type 'help'");
    disconnect(&peer);
    monitor_free(mon);
    chr_close(chr);
    g_unlink(path);
}

/* Two monitors know nothing of each other, and a chardev takes one. */
static void test_several(Fixture *f, gconstpointer data)
{
    GError *error = NULL;
    Chardev *one = chr_open("-monitor", "ringbuf", "one", NULL);
    Chardev *two = chr_open("-monitor", "ringbuf", "two", NULL);
    Monitor *first = monitor_new(f->machine, one, &error);
    Monitor *second = monitor_new(f->machine, two, &error);
    g_assert_no_error(error);
    g_assert_null(monitor_new(f->machine, one, &error));
    g_assert_nonnull(error);
    g_error_free(error);
    monitor_free(first);
    monitor_free(second);
    chr_close(one);
    chr_close(two);
}

/* No line may do worse than an error. */
static void test_hostile(Fixture *f, gconstpointer data)
{
    static const char alphabet[] = " /-+*%&$()'\"\\0123456789abcdfghiopsuwx,.\t";
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    GRand *rand = g_rand_new_with_seed(7);

    for (const MonCommand *row = mon_commands; row->name; row++)
        if (!strstr(row->name, "save") && strcmp(row->name, "logfile") &&
            strcmp(row->name, "screendump"))
            g_ptr_array_add(names, (char *)row->name);
    for (unsigned i = 0; i < 20000; i++) {
        const char *name =
            g_ptr_array_index(names, (unsigned)g_rand_int_range(rand, 0, (int)names->len));
        g_autoptr(GString) line = g_string_new(NULL);
        g_string_append_len(line, name, (gssize)strcspn(name, "|"));
        g_string_append_c(line, ' ');
        unsigned length = (unsigned)g_rand_int_range(rand, 0, 24);
        for (unsigned j = 0; j < length; j++)
            g_string_append_c(line, alphabet[g_rand_int_range(rand, 0, (int)sizeof(alphabet) - 1)]);
        g_free(monitor_run(f->machine, line->str));
    }
    g_rand_free(rand);
    log_set_mask(0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"unknown", test_unknown},
        {"help", test_help},
        {"expressions", test_expressions},
        {"dumps", test_dumps},
        {"code", test_code},
        {"ports", test_ports},
        {"saving", test_saving},
        {"sum", test_sum},
        {"paging", test_paging},
        {"paging-32", test_paging_32},
        {"paging-hostile", test_paging_hostile},
        {"info", test_info},
        {"cpus", test_cpus},
        {"life", test_life},
        {"boot-set", test_boot_set},
        {"quit", test_quit},
        {"log", test_log},
        {"input", test_input},
        {"drives", test_drives},
        {"ringbuf", test_ringbuf},
        {"completion", test_completion},
        {"socket", test_socket},
        {"several", test_several},
        {"hostile", test_hostile},
    };
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strconcat("/monitor/", tests[i].name, NULL);
        g_test_add(path, Fixture, NULL, set_up, tests[i].fn, tear_down);
    }
    return g_test_run();
}
