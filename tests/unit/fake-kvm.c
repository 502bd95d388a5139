/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOAD for test-accel.py: a /dev/kvm of any kind, on any host.  FAKE_KVM says which:
 *
 *     none      there is no such file             stuck     it cannot run a guest
 *     denied    it may not be opened              slow      it takes a millisecond for a kernel's
 * loop old       its interface is another          native    it takes no time
 *
 * The last three go as far as a trial needs and refuse to be made a machine of.  All its
 * descriptors are of one file in memory, which stands for the vCPU's.
 */
#undef _FILE_OFFSET_BITS /* open() and open64() are two */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { RUN_SIZE = 4096, SLOW_NS = 1000000 };

static int memory = -1;

static bool is_kind(const char *kind)
{
    const char *wanted = getenv("FAKE_KVM");
    return wanted && !strcmp(wanted, kind);
}

static int fail_with(int number)
{
    errno = number;
    return -1;
}

static int new_descriptor(void)
{
    if (memory < 0) {
        memory = (int)syscall(SYS_memfd_create, "kvm", MFD_CLOEXEC);
        if (memory < 0 || ftruncate(memory, RUN_SIZE))
            abort();
    }
    return fcntl(memory, F_DUPFD_CLOEXEC, 0);
}

static int open_kvm(void)
{
    if (is_kind("none"))
        return fail_with(ENOENT);
    return is_kind("denied") ? fail_with(EACCES) : new_descriptor();
}

static int any_open(const char *path, int flags, unsigned mode)
{
    if (!strcmp(path, "/dev/kvm"))
        return open_kvm();
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        unsigned mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, unsigned) : 0;              \
        va_end(list);                                                                              \
        return any_open(path, flags, mode);                                                        \
    }
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
OPEN(open)
OPEN(open64)
int __open_2(const char *path, int flags)
{
    return any_open(path, flags, 0);
}
int __open64_2(const char *path, int flags)
{
    return any_open(path, flags, 0);
}

static bool is_ours(int fd)
{
    struct stat a, b;
    return memory >= 0 && !fstat(fd, &a) && !fstat(memory, &b) && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int run_guest(void)
{
    int64_t end = now() + SLOW_NS;
    if (is_kind("stuck"))
        return fail_with(EFAULT);
    while (is_kind("slow") && now() < end)
        continue;
    struct kvm_run *run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (run == MAP_FAILED)
        abort();
    run->exit_reason = KVM_EXIT_HLT;
    munmap(run, RUN_SIZE);
    return 0;
}

static int answer(unsigned long request)
{
    switch (request) {
    case KVM_GET_API_VERSION:
        return is_kind("old") ? 11 : KVM_API_VERSION;
    case KVM_CHECK_EXTENSION:
        return 1;
    case KVM_GET_VCPU_MMAP_SIZE:
        return RUN_SIZE;
    case KVM_CREATE_VM:
    case KVM_CREATE_VCPU:
        return new_descriptor();
    case KVM_SET_TSS_ADDR:
    case KVM_SET_USER_MEMORY_REGION:
    case KVM_GET_SREGS:
    case KVM_SET_SREGS:
    case KVM_SET_REGS:
        return 0;
    case KVM_RUN:
        return run_guest();
    default:
        return fail_with(ENOTTY);
    }
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    return is_ours(fd) ? answer(request) : (int)syscall(SYS_ioctl, fd, request, argument);
}
