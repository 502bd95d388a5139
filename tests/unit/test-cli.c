/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: each option's good and bad values, the places of drives, and the man page. */
#include "../../main/run.h"

#include "hw/registry.h"
#include "util/error.h"
#include "util/log.h"

#include <glib/gstdio.h>

/* A card by its properties. */
static const Prop card_props[] = {{.name = "netdev", .kind = PROP_LINK}, {.name = NULL}};
static const DeviceClass card_class = {
    .name = "e1000", .desc = "a card", .bus = BUS_PCI, .user = true, .props = card_props};

const DeviceClass *const device_classes[] = {&isa_serial_class, &isa_debugcon_class, &i8259_class,
                                             &card_class, NULL};

const DeviceClass *device_class_find(const char *name)
{
    const DeviceClass *const *cls = device_classes;
    while (*cls && strcmp((*cls)->name, name))
        cls++;
    return *cls;
}

/* Splits a line at blanks; "~" in a word stands for a blank. */
static VmConfig *parse(const char *line, GError **error)
{
    g_autofree char *whole = g_strconcat("vmrun", *line ? " " : "", line, NULL);
    /* The configuration points into its arguments, as main()'s does. */
    char **argv = g_strsplit(g_intern_string(whole), " ", 0);
    VmConfig *config = config_new();

    for (char **word = argv; *word; word++) {
        char *split = g_strdelimit(*word, "~", ' ');
        *word = (char *)g_intern_string(split);
        g_free(split);
    }
    if (!cli_parse(config, (int)g_strv_length(argv), argv, error)) {
        config_free(config);
        config = NULL;
    }
    g_free(argv);
    return config;
}

static VmConfig *good(const char *line)
{
    g_autoptr(GError) error = NULL;
    VmConfig *config = parse(line, &error);
    if (error)
        g_test_message("%s: %s", line, error->message);
    g_assert_no_error(error);
    g_assert_nonnull(config);
    return config;
}

/* ---- Bad words: line, and what the one line of the message must name ---- */

static const struct {
    const char *line;
    const char *parts[3];
} bad_lines[] = {
    {"-hdx a", {"-hdx", "did you mean -hda?"}},
    {"-nographics", {"-nographics", "did you mean -nographic?"}},
    {"--cdorm a", {"--cdorm", "-cdrom"}},
    {"-frobnicate", {"-frobnicate", "vmrun -help"}},
    {"-device floppy,serial=x", {"-device", "serial"}},
    {"-", {"no such option"}},
    {"-hda", {"-hda", "argument is missing", "-hda FILE"}},
    {"-netdev user", {"-netdev user", "id= is missing"}},
    {"-netdev usr,id=n", {"-netdev", "'usr'", "did you mean 'user'?"}},
    {"-netdev user,id=n,hostfw=x", {"-netdev", "'hostfw'", "did you mean 'hostfwd'?"}},
    {"-netdev id=n", {"-netdev", "the type of network is missing", "hubport"}},
    {"-qmp stdio", {"-qmp", "does not have it yet"}},
    {"-vnc :1", {"-vnc", "does not have it yet"}},
    {"-usb", {"-usb", "does not have it yet"}},
    {"-curses", {"-curses", "-display curses"}},
    {"-k de", {"-k de", "by their place"}},
    {"-object", {"-object", "argument is missing"}},
    {"-object filter-dmp,id=a", {"-object", "filter-dmp", "did you mean 'filter-dump'?"}},
    {"-object id=a", {"-object", "there are: iothread, secret, filter-dump"}},
    {"-object filter-dump,file=x,netdev=n", {"-object", "id= is missing"}},
    {"-object filter-dump,id=a,fle=x", {"-object", "'fle'", "did you mean 'file'?"}},
    {"-nic usr", {"-nic", "'usr'", "did you mean 'user'?"}},
    {"-nic e1000", {"-nic e1000", "by model=e1000"}},
    {"-nic user,model=e100", {"-nic", "card model 'e100'", "did you mean 'e1000'?"}},
    {"-nic user,modle=e1000", {"-nic", "'modle'", "did you mean 'model'?"}},
    {"-nic tap,hostfwd=x", {"-nic", "'hostfwd'"}},
    {"-nic user,mac=52:54:00:12:34", {"mac=52:54:00:12:34", "must be as 52:54:00:12:34:56"}},
    {"-nic user,mac=52:54:00:12:34:-1", {"must be as 52:54:00:12:34:56"}},
    {"-nic user,mac=01:00:5e:00:00:01", {"the first byte must be even"}},
    {"-nic none,model=e1000", {"'none' goes with nothing else"}},
    {"-net nik", {"-net", "'nik'", "did you mean 'nic'?"}},
    {"-net nic,hostfwd=x", {"-net", "'hostfwd'"}},
    {"-net nic,macaddr=x", {"macaddr=x", "must be as"}},
    {"-p 22", {"-p 22", "must be as 2222:22"}},
    {"-p x:22", {"-p x:22", "the host's port 'x'"}},

    {"-m 0", {"-m 0", "at least 1 MiB"}},
    {"-m 100k", {"-m 100k", "at least 1 MiB"}},
    {"-m lots", {"-m lots", "size in MiB"}},
    {"-m 1000T", {"-m 1000T", "1000 TiB is more than this host has", "of swap"}},
    {"-m size=1G,slots=2", {"slots"}},
    {"-m 1G,siez=2", {"'siez'", "'size'"}},
    {"-smp 0", {"-smp", "cpus=0", "from 1 to 255"}},
    {"-smp 256", {"from 1 to 255"}},
    {"-smp many", {"cpus=many", "must be a number"}},
    {"-smp 4,sockets=3", {"sockets (3)", "CPUs, 4"}},
    {"-smp 4,cores=3", {"cores (3)", "CPUs, 4"}},
    {"-smp sockets=16,cores=16", {"256 CPUs", "at most 255"}},
    {"-smp 2,maxcpus=4", {"maxcpus (4) must equal cpus (2)"}},
    {"-smp 2,dies=2", {"dies=2"}},
    {"-smp 2,core=2", {"'core'", "'cores'"}},
    {"-accel kmv", {"'kmv'", "'kvm'"}},
    {"-accel foo", {"'foo'", "auto, kvm"}},
    {"-accel ,x=y", {"name is missing"}},
    {"-accel kvm,x=y", {"'x'", "kernel-irqchip"}},
    {"-accel kvm,kernel-irqchip=on", {"kernel-irqchip=on", "split"}},
    {"-machine q35", {"q35", "does not have q35 yet"}},
    {"-machine pcc", {"'pcc'", "'pc'"}},
    {"-machine pc,accel=kwm", {"'kwm'", "'kvm'"}},
    {"-M pc-i440fx-7.2x", {"pc-i440fx-7.2x"}},
    {"-M type=pc,usb=on", {"usb=on", "yet"}},
    {"-machine pc,acip=off", {"'acip'", "'acpi'"}},
    {"-machine pc,hpet=maybe", {"hpet=maybe", "on or off"}},

    {"-drive fil=a", {"'fil'", "'file'"}},
    {"-drive file=a,if=virtio", {"if=virtio", "yet"}},
    {"-drive file=a,if=idle", {"if=idle", "'ide'"}},
    {"-drive file=a,index=4", {"index=4", "from 0 to 3"}},
    {"-drive file=a,media=tape", {"media=tape", "disk, cdrom"}},
    {"-drive file=a,index=1,unit=1", {"index=1", "one of them"}},
    {"-drive file=a,snapshot=perhaps", {"snapshot=perhaps", "on or off"}},
    {"-device ide-hd,serail=x", {"'serail'", "'serial'"}},
    {"-device isa-serail", {"'isa-serail'", "'isa-serial'"}},
    {"-device isa-i8259", {"isa-i8259", "part of the board"}},
    {"-device id=x", {"driver's name is missing"}},

    {"-boot x", {"order=x", "no such letter 'x'"}},
    {"-boot cc", {"'c' stands there twice"}},
    {"-boot acdn", {"one to three letters"}},
    {"-boot order=c,once=z", {"once=z", "'z'"}},
    {"-boot menu=always", {"menu=always", "on or off"}},
    {"-boot splash-time=70000", {"splash-time=70000", "65535"}},
    {"-boot ordre=c", {"'ordre'", "'order'"}},
    {"-vga cirrus", {"-vga cirrus", "yet"}},
    {"-vga sdt", {"'sdt'", "'std'"}},
    {"-rtc base=yesterday", {"base=yesterday", "YYYY-MM-DD"}},
    {"-rtc 2006-13-01", {"2006-13-01", "YYYY-MM-DD"}},
    {"-rtc 2006-01-01x", {"2006-01-01x"}},
    {"-rtc clock=guest", {"clock=guest", "host, rt, vm"}},
    {"-rtc driftfix=slew", {"driftfix=slew"}},
    {"-uuid 1234", {"-uuid 1234", "01234567-89ab"}},
    {"-name a,debug-threads=off", {"debug-threads=off"}},
    {"-smbios type=9,x=y", {"type must be one of"}},
    {"-smbios type=1,serail=x", {"'serail'", "'serial'"}},
    {"-smbios type=1,uuid=x", {"uuid=x"}},
    {"-smbios type=0,release=1", {"release=1", "1.0"}},
    {"-smbios type=0,release=1.256", {"release=1.256"}},
    {"-smbios file=x", {"does not have file= yet"}},
    {"-smbios vendor=x", {"type=N is missing"}},
    {"-fw_cfg opt/a", {"one of file= and string="}},
    {"-fw_cfg opt/a,string=a,file=b", {"one of file= and string="}},
    {"-fw_cfg string=a", {"name= is missing"}},
    {"-fw_cfg opt/a,file=/nonexistent", {"file=/nonexistent"}},
    {"-fw_cfg opt/0123456789012345678901234567890123456789012345678901234,string=", {"55 bytes"}},

    {"-display gtk", {"gtk", "yet"}},
    {"-display vnc=:1", {"vnc", "yet"}},
    {"-display sdll", {"'sdll'", "'sdl'"}},
    {"-display sdl,gl=on", {"gl=on", "yet"}},
    {"-display sdl,fullscreen=on", {"'fullscreen'", "'full-screen'"}},
    {"-serial null -serial null -serial null -serial null -serial null", {"at most 4"}},
    {"-parallel null -parallel null -parallel null -parallel null", {"at most 3"}},
    {"-chardev null", {"id= is missing"}},
    {"-mon mode=readline", {"chardev= is missing"}},
    {"-mon c,mode=control", {"QMP"}},
    {"-mon c,mode=lines", {"mode=lines", "readline"}},
    {"-d itn", {"-d", "'int'"}},
    {"-initrd x", {"-initrd x", "-kernel is missing"}},
    {"-append x", {"-append x", "-kernel is missing"}},
    {"-action reboot=never", {"reboot=never", "reset, shutdown"}},
};

static void test_bad(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bad_lines); i++) {
        g_autoptr(GError) error = NULL;
        g_test_message("%s", bad_lines[i].line);
        g_assert_null(parse(bad_lines[i].line, &error));
        g_assert_nonnull(error);
        g_test_message("    %s", error->message);
        g_assert_null(strchr(error->message, '\n'));
        for (unsigned j = 0; j < 3 && bad_lines[i].parts[j]; j++)
            g_assert_nonnull(strstr(error->message, bad_lines[i].parts[j]));
    }
}

/* ---- Good words ---- */

static void test_defaults(void)
{
    g_autoptr(VmConfig) c = good("");
    g_assert_cmpuint(c->cpus, ==, 1);
    g_assert_cmpuint(c->board.ram_size, ==, 512 << 20);
    g_assert_cmpstr(c->board.boot.order, ==, "cad");
    g_assert_cmpint(c->board.vga, ==, PC_VGA_STD);
    g_assert_cmpuint(c->accels->len, ==, 0);
    g_assert_null(c->answer);
    g_assert_null(c->ui.type);
    g_assert_false(c->ui.full_screen);
}

static void test_machine(void)
{
    g_autoptr(VmConfig) c = good(
        "-m 1024 -cpu qemu64,+avx -accel kvm -accel tcg,thread=multi -machine "
        "pc,accel=kvm:tcg,hpet=off"
        " -enable-kvm -no-acpi --name guest,process=p -uuid 01234567-89ab-cdef-0123-456789ABCDEF");
    g_assert_cmpuint(c->board.ram_size, ==, 1024 << 20);
    g_assert_cmpstr(c->cpu_model, ==, "qemu64,+avx");
    g_assert_cmpuint(c->accels->len, ==, 5);
    g_assert_cmpstr(options_get(c->accels->pdata[1], "thread"), ==, "multi");
    g_assert_cmpstr(options_get(c->accels->pdata[3], "accel"), ==, "tcg");
    g_assert_true(c->board.no_hpet && c->board.no_acpi);
    g_assert_cmpstr(c->name, ==, "guest");
    g_assert_cmpstr(c->process_name, ==, "p");
    static const uint8_t uuid[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                     0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    g_assert_true(c->uuid_set);
    g_assert_cmpmem(c->uuid, 16, uuid, 16);
    g_autoptr(VmConfig) again = good("-no-acpi -M pc-i440fx-7.2,acpi=on,usb=off,vmport=auto");
    g_assert_false(again->board.no_acpi);
}

static void test_memory(void)
{
    static const struct {
        const char *line;
        uint64_t size;
    } rows[] = {{"-m 1", 1 << 20},        {"-m 1.5G", 3ULL << 29},
                {"-m size=64", 64 << 20}, {"-m 1025k", 1028 << 10}, /* whole pages */
                {"-m 256M", 256 << 20},   {"-m 1 -m 2", 2 << 20}};
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VmConfig) c = good(rows[i].line);
        g_assert_cmpuint(c->board.ram_size, ==, rows[i].size);
    }
}

static void test_smp(void)
{
    static const struct {
        const char *line;
        unsigned cpus, sockets, cores, threads;
    } rows[] = {
        {"-smp 1", 1, 1, 1, 1},
        {"-smp 4", 4, 1, 4, 1},
        {"-smp cpus=8,sockets=2", 8, 2, 4, 1},
        {"-smp 8,cores=2", 8, 4, 2, 1},
        {"-smp 8,threads=2", 8, 1, 4, 2},
        {"-smp 8,sockets=2,cores=2,threads=2", 8, 2, 2, 2},
        {"-smp 8,sockets=2,cores=2", 8, 2, 2, 2},
        {"-smp sockets=2,cores=3", 6, 2, 3, 1},
        {"-smp maxcpus=4", 4, 1, 4, 1},
        {"-smp 255", 255, 1, 255, 1},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VmConfig) c = good(rows[i].line);
        g_test_message("%s", rows[i].line);
        g_assert_cmpuint(c->cpus, ==, rows[i].cpus);
        g_assert_cmpuint(c->board.smp.sockets, ==, rows[i].sockets);
        g_assert_cmpuint(c->board.smp.cores, ==, rows[i].cores);
        g_assert_cmpuint(c->board.smp.threads, ==, rows[i].threads);
    }
}

static void test_board(void)
{
    g_autoptr(VmConfig) c =
        good("-boot order=dc,once=n,menu=on,splash-time=500,reboot-timeout=-1,strict=on"
             " -kernel bz -initrd rd -append a~b=c -bios x.bin -vga none"
             " -rtc base=2006-06-17T16:01:21,clock=vm -device isa-serial,id=s2,index=2");
    g_assert_cmpstr(c->board.boot.order, ==, "dc");
    g_assert_cmpstr(c->board.boot.once, ==, "n");
    g_assert_true(c->board.boot.menu && c->board.boot.strict);
    g_assert_cmpint(c->board.boot.splash_ms, ==, 500);
    g_assert_cmpint(c->board.boot.reboot_ms, ==, -1);
    g_assert_cmpstr(c->board.kernel, ==, "bz");
    g_assert_cmpstr(c->board.initrd, ==, "rd");
    g_assert_cmpstr(c->board.append, ==, "a b=c");
    g_assert_cmpstr(c->board.bios, ==, "x.bin");
    g_assert_cmpint(c->board.vga, ==, PC_VGA_NONE);
    g_assert_cmpint(c->board.rtc.base, ==, PC_RTC_DATE);
    g_assert_cmpint(c->board.rtc.date, ==, 1150560081);
    g_assert_cmpint(c->board.rtc.clock, ==, VM_CLOCK_VIRTUAL);
    g_assert_cmpuint(c->devices->len, ==, 1);
    g_autoptr(VmConfig) day = good("-rtc 2000-01-01 -boot a");
    g_assert_cmpint(day->board.rtc.date, ==, 946684800);
    g_assert_cmpstr(day->board.boot.order, ==, "a");
    g_autoptr(VmConfig) local = good("-rtc base=localtime");
    g_assert_cmpint(local->board.rtc.base, ==, PC_RTC_LOCALTIME);
    g_assert_cmpint(local->board.rtc.clock, ==, VM_CLOCK_WALL);
}

static void test_tables(void)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "vmrun-test-cli-fw", NULL);
    g_assert_true(g_file_set_contents(path, "a\0b", 3, NULL));
    g_autofree char *line = g_strdup_printf(
        "-smbios type=1,manufacturer=A,,B,serial=1 -smbios type=1,serial=2 -smbios type=11,value=x"
        " -smbios type=11,value=y,,z -fw_cfg opt/t,string=text -fw_cfg name=opt/f,file=%s",
        path);
    g_autoptr(VmConfig) c = good(line);
    g_assert_cmpstr(options_get(c->board.smbios[1], "manufacturer"), ==, "A,B");
    g_assert_cmpstr(options_get(c->board.smbios[1], "serial"), ==, "2");
    const char *key, *value;
    g_assert_true(options_nth(c->board.smbios[11], 1, &key, &value));
    g_assert_cmpstr(value, ==, "x");
    g_assert_cmpstr(options_get(c->board.smbios[11], "value"), ==, "y,z");
    g_assert_null(c->board.smbios[0]);
    const PcFwCfgFile *text = c->board.fw_cfg->pdata[0], *file = c->board.fw_cfg->pdata[1];
    g_assert_cmpstr(text->name, ==, "opt/t");
    g_assert_cmpmem(text->data, text->size, "text", 4);
    g_assert_cmpmem(file->data, file->size, "a\0b", 3);
    g_unlink(path);
}

static void test_ports(void)
{
    g_autoptr(VmConfig) c =
        good("-serial mon:stdio -serial null -parallel none -monitor pty -monitor vc"
             " -chardev null,id=n,mux=on -mon n -mon chardev=n,mode=readline -debugcon file:x"
             " -nographic -display sdl,full-screen=on,grab-on-hover=on,gl=off -nic none -net none");
    g_assert_cmpuint(c->serials->len, ==, 2);
    g_assert_cmpstr(c->serials->pdata[0], ==, "mon:stdio");
    g_assert_cmpuint(c->parallels->len, ==, 1);
    g_assert_cmpuint(c->monitors->len, ==, 2);
    g_assert_cmpuint(c->mons->len, ==, 2);
    g_assert_cmpstr(options_get(c->chardevs->pdata[0], "backend"), ==, "null");
    g_assert_cmpstr(c->debugcons->pdata[0], ==, "file:x");
    g_assert_true(c->nographic && c->ui.full_screen && c->ui.grab_on_hover);
    g_assert_cmpstr(c->ui.type, ==, "sdl");
}

static void test_process(void)
{
    g_autoptr(VmConfig) c =
        good("-S -no-reboot -no-shutdown -pidfile p -daemonize -d int -d unimp,pio -D log"
             " -qtest unix:q -qtest-log ql -nodefaults -no-user-config -full-screen");
    g_assert_true(c->paused && c->no_reboot && c->no_shutdown && c->daemonize && c->nodefaults);
    g_assert_cmpuint(c->log_mask, ==, LOG_INT | LOG_UNIMP | LOG_PIO);
    g_assert_cmpstr(c->log_file, ==, "log");
    g_assert_cmpstr(c->pid_file, ==, "p");
    g_assert_cmpstr(c->qtest, ==, "unix:q");
    g_assert_cmpstr(c->qtest_log, ==, "ql");
    g_autoptr(VmConfig) action = good("-no-reboot -action reboot=reset,shutdown=pause");
    g_assert_false(action->no_reboot);
    g_assert_true(action->no_shutdown);
}

static void test_answers(void)
{
    static const struct {
        const char *line, *part;
    } rows[] = {
        {"-help", "-hda FILE"},
        {"-h", "usage: vmrun"},
        {"--help", "usage: vmrun"},
        {"-version", "vmrun version " VMRUN_VERSION},
        {"-accel help", "kvm"},
        {"-machine help", "pc "},
        {"-machine help", "pc-i440fx-N.M"},
        {"-chardev help", "nodelay="},
        {"-cpu help", "qemu64"},
        {"-device help", "name \"isa-serial\", bus ISA"},
        {"-device isa-serial,help", "chardev"},
        {"-device ide-hd,help", "ide.0 or ide.1"},
        {"-device floppy,help", "floppy-bus.0"},
        {"-display help", "curses"},
        {"-d help", "guest_errors"},
        {"-L help", "/"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VmConfig) c = good(rows[i].line);
        g_test_message("%s", rows[i].line);
        g_assert_nonnull(c->answer);
        g_assert_nonnull(strstr(c->answer->str, rows[i].part));
    }
    /* What comes after is not looked at. */
    g_autoptr(VmConfig) first = good("-version -frobnicate");
    g_assert_nonnull(first->answer);
}

/* ---- Places of drives ---- */

/* "file id" of each IDE place and floppy, "-" where there is none. */
static void check_plan(const char *line, const char *expected)
{
    g_autoptr(VmConfig) c = good(line);
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) seen = g_string_new(NULL);
    DrivePlan plan;

    g_test_message("%s", line);
    bool planned = drives_plan(c, &plan, &error);
    g_assert_no_error(error);
    g_assert_true(planned);
    for (unsigned i = 0; i < PC_IDE_DRIVES + PC_FLOPPIES; i++) {
        const Options *drive = i < PC_IDE_DRIVES ? plan.ide[i] : plan.floppy[i - PC_IDE_DRIVES];
        const char *file = drive ? options_get(drive, "file") : NULL;
        if (drive)
            g_string_append_printf(seen, "%s:%s ", file ? file : "", options_get(drive, "id"));
        else
            g_string_append(seen, "- ");
    }
    g_string_append_printf(seen, "+%u", plan.loose->len);
    g_assert_cmpstr(seen->str, ==, expected);
    drives_plan_clear(&plan);
}

static void check_no_plan(const char *line, const char *part)
{
    g_autoptr(VmConfig) c = good(line);
    g_autoptr(GError) error = NULL;
    DrivePlan plan;

    g_test_message("%s", line);
    g_assert_false(drives_plan(c, &plan, &error));
    g_assert_nonnull(strstr(error->message, part));
    drives_plan_clear(&plan);
}

static void test_places(void)
{
    check_plan("", "- - :ide1-cd0 - :floppy0 - +0");
    check_plan("disk", "disk:ide0-hd0 - :ide1-cd0 - :floppy0 - +0");
    check_plan("-nodefaults disk", "disk:ide0-hd0 - - - - - +0");
    check_plan("-hda a -hdb b -hdc c -hdd d -fda e -fdb f",
               "a:ide0-hd0 b:ide0-hd1 c:ide1-hd0 d:ide1-hd1 e:floppy0 f:floppy1 +0");
    check_plan("-cdrom c", "- - c:ide1-cd0 - :floppy0 - +0");
    check_plan("-drive file=a -drive file=b,index=1 -drive file=c,id=me",
               "a:ide0-hd0 b:ide0-hd1 c:me - :floppy0 - +0");
    check_plan("-drive file=a -hda b", "b:ide0-hd0 a:ide0-hd1 :ide1-cd0 - :floppy0 - +0");
    check_plan("-drive file=a,bus=1,unit=1", "- - :ide1-cd0 a:ide1-hd1 :floppy0 - +0");
    check_plan("-drive file=a,media=cdrom", "a:ide0-cd0 - - - :floppy0 - +0");
    check_plan("-drive file=a,if=floppy,index=1", "- - :ide1-cd0 - :floppy0 a:floppy1 +0");
    check_plan("-drive file=a,if=none", "- - :ide1-cd0 - :floppy0 - +1");
    check_plan("-drive file=a,if=none,id=x -device ide-hd,drive=x,bus=ide.1,unit=1",
               "- - :ide1-cd0 a:x :floppy0 - +0");
    check_plan("-nodefaults -drive file=a,if=none,id=x -device ide-cd,drive=x,bus=ide.1"
               " -device ide-cd,id=empty",
               ":empty - a:x - - - +0");
    check_plan("-drive file=a,if=none,id=x -device floppy,drive=x,unit=1",
               "- - :ide1-cd0 - - a:x +0");
}

static void test_bad_places(void)
{
    check_no_plan("-hda a -hda b", "place 0 is already taken by -hda a");
    check_no_plan("-cdrom a -hdc b", "place 2 is already taken by -cdrom a");
    check_no_plan("-hda a -hdb b -hdc c -hdd d -drive file=e", "all 4 places are taken");
    check_no_plan("-drive if=floppy,index=2,file=a", "index=2: must be from 0 to 1");
    check_no_plan("-drive file=a,if=none,id=x -device floppy,drive=x,id=y", "id= with drive=");
    check_no_plan("-device ide-hd", "drive=ID is missing");
    check_no_plan("-device ide-hd,drive=x", "no -drive with that id and if=none");
    check_no_plan("-drive file=a,if=none,id=x -device ide-hd,drive=x,bus=ide.2", "bus=ide.2");
    check_no_plan("-hda b -drive file=a,if=none,id=x -device ide-hd,drive=x,unit=0",
                  "place 0 is already taken by -hda b");
}

static void test_snapshot_keys(void)
{
    g_autoptr(VmConfig) c = good("-drive file=a,read-only=on -snapshot");
    g_assert_true(c->snapshot);
    g_assert_cmpstr(options_get(c->drives->pdata[0], "readonly"), ==, "on");
}

/* Other devices reach the board, in order. */
static void test_devices(void)
{
    g_autoptr(VmConfig) c = good("-device isa-serial,id=a -device ide-cd -device isa-debugcon");
    DrivePlan plan;
    g_assert_true(drives_plan(c, &plan, NULL));
    g_assert_cmpuint(c->board.devices->len, ==, 2);
    g_assert_cmpstr(options_get(c->board.devices->pdata[0], "id"), ==, "a");
    g_assert_cmpstr(options_get(c->board.devices->pdata[1], "driver"), ==, "isa-debugcon");
    drives_plan_clear(&plan);
}

/* ---- The man page ---- */

/* Options of the page: the first words of its ".It Fl" lines. */
static GHashTable *man_page_options(void)
{
    g_autofree char *path = g_build_filename(VMRUN_SOURCE_DIR, "docs", "vmrun.1", NULL);
    GHashTable *options = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    for (char **line = lines; *line; line++) {
        if (!g_str_has_prefix(*line, ".It Fl "))
            continue;
        g_auto(GStrv) words = g_strsplit(*line + strlen(".It Fl "), " ", 0);
        /* ".It Fl hda Ar FILE , Fl hdb Ar FILE": every Fl names one. */
        g_hash_table_add(options, g_strdup(words[0]));
        for (unsigned i = 1; words[i]; i++)
            if (!strcmp(words[i - 1], "Fl"))
                g_hash_table_add(options, g_strdup(words[i]));
    }
    return options;
}

static void test_man_page(void)
{
    g_autoptr(GHashTable) page = man_page_options();

    for (const CliOption *row = cli_options; row->help; row++) {
        if (!row->name)
            continue;
        if (!g_hash_table_remove(page, row->name))
            g_error("docs/vmrun.1 does not describe -%s", row->name);
    }
    GHashTableIter iter;
    gpointer name;
    g_hash_table_iter_init(&iter, page);
    if (g_hash_table_iter_next(&iter, &name, NULL))
        g_error("docs/vmrun.1 describes -%s, which vmrun does not have", (char *)name);
}

/* ---- Networks ---- */

static const char *net_key(VmConfig *c, unsigned i, const char *key)
{
    return options_get(g_ptr_array_index(c->netdevs, i), key);
}

static const char *nic_key(VmConfig *c, unsigned i, const char *key)
{
    return options_get(g_ptr_array_index(c->nics, i), key);
}

static void test_nic(void)
{
    g_autoptr(VmConfig) c = good("-nic model=e1000,mac=52:54:00:00:00:01,hostfwd=tcp::1-:2,"
                                 "hostfwd=tcp::3-:4 -netdev tap,id=t -p 2222:22");
    g_assert_cmpuint(c->netdevs->len, ==, 2);
    g_assert_cmpstr(net_key(c, 0, "type"), ==, "user");
    g_assert_cmpstr(net_key(c, 0, "hostfwd"), ==, "tcp::3-:4");
    g_assert_null(net_key(c, 0, "mac"));
    g_assert_cmpstr(net_key(c, 1, "id"), ==, "t");
    g_assert_cmpuint(c->nics->len, ==, 1);
    g_assert_cmpstr(nic_key(c, 0, "driver"), ==, "e1000");
    g_assert_cmpstr(nic_key(c, 0, "mac"), ==, "52:54:00:00:00:01");
    g_assert_cmpstr(nic_key(c, 0, "netdev"), ==, net_key(c, 0, "id"));
    g_assert_cmpstr(g_ptr_array_index(c->port_forwards, 0), ==, "tcp:127.0.0.1:2222-:22");

    g_autoptr(VmConfig) models = good("-nic model=help");
    g_assert_nonnull(strstr(models->answer->str, "e1000"));
    g_autoptr(VmConfig) types = good("-netdev help");
    g_assert_nonnull(strstr(types->answer->str, "hubport,id=ID,hubid=N"));
}

static void test_legacy_net(void)
{
    g_autoptr(VmConfig) c = good("-net nic,macaddr=52-54-00-00-00-02,name=card -net user,name=u");
    g_assert_cmpuint(c->nics->len, ==, 1);
    g_assert_cmpstr(nic_key(c, 0, "id"), ==, "card");
    g_assert_cmpstr(nic_key(c, 0, "mac"), ==, "52-54-00-00-00-02");
    g_assert_cmpuint(c->netdevs->len, ==, 3); /* the card's port, the back end, its port */
    g_assert_cmpstr(net_key(c, 0, "type"), ==, "hubport");
    g_assert_cmpstr(nic_key(c, 0, "netdev"), ==, net_key(c, 0, "id"));
    g_assert_cmpstr(net_key(c, 1, "id"), ==, "u");
    g_assert_cmpstr(net_key(c, 2, "netdev"), ==, "u");
}

static unsigned default_nics(const char *line)
{
    g_autoptr(VmConfig) c = good(line);
    g_assert_true(cli_default_net(c, NULL));
    return c->nics->len;
}

static void test_default_net(void)
{
    g_assert_cmpuint(default_nics(""), ==, 1);
    g_assert_cmpuint(default_nics("-p 2222:22"), ==, 1);
    g_assert_cmpuint(default_nics("-nic none"), ==, 0);
    g_assert_cmpuint(default_nics("-net none"), ==, 0);
    g_assert_cmpuint(default_nics("-nodefaults"), ==, 0);
    g_assert_cmpuint(default_nics("-netdev user,id=n"), ==, 0);
    g_assert_cmpuint(default_nics("-nic user -nic user"), ==, 2);
}

/* No option is both there and answered "not yet", and each has its words. */
static void test_table(void)
{
    for (const CliOption *row = cli_options; row->help; row++) {
        if (!row->name)
            continue;
        g_assert_null(cli_missing_option(row->name));
        g_assert_nonnull(row->handler);
        g_assert_cmpuint(strlen(row->help), >, 3);
        for (const CliOption *other = row + 1; other->help; other++)
            g_assert_cmpstr(row->name, !=, other->name);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/bad", test_bad);
    g_test_add_func("/cli/defaults", test_defaults);
    g_test_add_func("/cli/machine", test_machine);
    g_test_add_func("/cli/memory", test_memory);
    g_test_add_func("/cli/smp", test_smp);
    g_test_add_func("/cli/board", test_board);
    g_test_add_func("/cli/tables", test_tables);
    g_test_add_func("/cli/ports", test_ports);
    g_test_add_func("/cli/process", test_process);
    g_test_add_func("/cli/answers", test_answers);
    g_test_add_func("/cli/places", test_places);
    g_test_add_func("/cli/bad-places", test_bad_places);
    g_test_add_func("/cli/snapshot-keys", test_snapshot_keys);
    g_test_add_func("/cli/devices", test_devices);
    g_test_add_func("/cli/nic", test_nic);
    g_test_add_func("/cli/legacy-net", test_legacy_net);
    g_test_add_func("/cli/default-net", test_default_net);
    g_test_add_func("/cli/man-page", test_man_page);
    g_test_add_func("/cli/table", test_table);
    return g_test_run();
}
