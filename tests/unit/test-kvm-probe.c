/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the person is told when /dev/kvm cannot be used, by nodes that are not it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../accel/kvm/kvm_private.h"

static char *dir, *node, *with_vmx, *without;

static void expect(const char *path, const char *cpuinfo, const char *first, const char *second)
{
    g_autofree char *why = NULL;
    g_assert_cmpint(kvm_open(path, cpuinfo, &why), ==, -1);
    g_assert_nonnull(why);
    if (!strstr(why, first) || !strstr(why, second) || !strstr(why, path))
        g_error("'%s' does not mention '%s', '%s' and '%s'", why, first, second, path);
    g_assert_null(strchr(why, '\n'));
}

static void test_missing(void)
{
    expect("/nonexistent/kvm", with_vmx, "modprobe kvm_intel", "firmware");
    expect("/nonexistent/kvm", without, "nested virtualization", "svm");
    expect("/nonexistent/kvm", "/nonexistent/cpuinfo", "nested virtualization", "vmx");
}

/* As another user, in a child: root may open anything. */
static void test_permission(void)
{
    int status;
    g_assert_true(g_file_set_contents(node, "", 0, NULL));
    g_assert_cmpint(chmod(node, 0660), ==, 0);
    if (getuid() != 0) {
        g_test_skip("needs root, to be another user");
        return;
    }
    g_assert_cmpint(chmod(dir, 0755), ==, 0);
    pid_t child = fork();
    if (child == 0) {
        if (setgid(65534) || setuid(65534))
            _exit(2);
        expect(node, with_vmx, "group root", "usermod -aG root");
        _exit(0);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_cmpint(status, ==, 0);
    chmod(node, 0600);
    child = fork();
    if (child == 0) {
        if (setgid(65534) || setuid(65534))
            _exit(2);
        expect(node, with_vmx, "may not be opened", "setfacl");
        _exit(0);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_cmpint(status, ==, 0);
    unlink(node);
}

/* A node without a driver answers ENODEV or ENXIO. */
static void test_no_device(void)
{
    if (mknod(node, S_IFCHR | 0666, (dev_t)(10u << 8 | 231)) < 0) {
        g_test_skip("cannot make device nodes here");
        return;
    }
    int fd = open(node, O_RDWR);
    int errnum = errno;
    if (fd >= 0 || (errnum != ENODEV && errnum != ENXIO)) {
        g_test_skip("this file system opens no device nodes");
    } else {
        expect(node, with_vmx, "disabled in the firmware", "kvm_intel");
        expect(node, without, "no virtualization", "hidden");
    }
    if (fd >= 0)
        close(fd);
    unlink(node);
}

static void test_not_kvm(void)
{
    expect("/dev/null", with_vmx, "does not answer", "KVM");
    expect(dir, with_vmx, "cannot be opened", "directory");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("probe-XXXXXX", NULL);
    node = g_build_filename(dir, "kvm", NULL);
    with_vmx = g_build_filename(dir, "vmx", NULL);
    without = g_build_filename(dir, "plain", NULL);
    g_file_set_contents(with_vmx, "flags\t\t: fpu vmx sse2\n", -1, NULL);
    g_file_set_contents(without, "flags\t\t: fpu sse2\n", -1, NULL);
    chmod(with_vmx, 0644);
    g_test_add_func("/kvm-probe/missing", test_missing);
    g_test_add_func("/kvm-probe/permission", test_permission);
    g_test_add_func("/kvm-probe/no-device", test_no_device);
    g_test_add_func("/kvm-probe/not-kvm", test_not_kvm);
    int result = g_test_run();
    unlink(with_vmx);
    unlink(without);
    rmdir(dir);
    return result;
}
