/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks.
 *
 * QEMU's scheme, so that each sees the other: every user takes shared locks on single bytes.  Byte
 * 100 + n says "I use permission n", byte 200 + n "I do not let others use permission n"; whoever
 * opens an image takes his bytes and then looks whether anybody holds the opposite ones.
 *
 *     permission          reader          writer
 *     0 consistent read   uses            uses
 *     1 write             denies          uses, denies
 *     3 resize            denies          uses, denies
 *
 * Who shares writing (share-rw) denies nothing, and does not resize.
 *
 * The locks belong to the open file description (F_OFD_SETLK), so two drives of one process exclude
 * each other as well.  F_OFD_GETLK tells no process id: the holder is looked up in /proc.
 */
#include "lock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

#define BYTE_USE  100
#define BYTE_DENY 200
enum { PERM_READ = 1 << 0, PERM_WRITE = 1 << 1, PERM_RESIZE = 1 << 3 };
#define PERM_COUNT 4

static bool lock_byte(int fd, int command, short type, off_t byte, struct flock *lock)
{
    *lock = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return !fcntl(fd, command, lock);
}

/* Takes shared locks on base + n for each n in bits; 0, or the errno. */
static int take(int fd, off_t base, unsigned bits)
{
    struct flock lock;
    for (int n = 0; n < PERM_COUNT; n++)
        if ((bits & (1u << n)) && !lock_byte(fd, F_OFD_SETLK, F_RDLCK, base + n, &lock))
            return errno;
    return 0;
}

/* The first byte base + n, n in bits, that somebody else holds; or -1. */
static off_t conflict(int fd, off_t base, unsigned bits)
{
    struct flock lock;
    for (int n = 0; n < PERM_COUNT; n++)
        if ((bits & (1u << n)) && lock_byte(fd, F_OFD_GETLK, F_WRLCK, base + n, &lock) &&
            lock.l_type != F_UNLCK)
            return base + n;
    return -1;
}

/* ---- Who has it ---- */

/* Whether a "lock:" line of a fdinfo file is a lock on that byte of that inode. */
static bool line_locks(const char *line, ino_t inode, off_t byte)
{
    unsigned long long ino, from;
    char to[32];
    if (sscanf(line, "lock: %*d: OFDLCK %*s %*s %*d %*x:%*x:%llu %llu %31s", &ino, &from, to) != 3)
        return false;
    bool past_from = (unsigned long long)byte >= from;
    bool before_to = !strcmp(to, "EOF") || (unsigned long long)byte <= strtoull(to, NULL, 10);
    return ino == inode && past_from && before_to;
}

static bool fdinfo_locks(const char *path, ino_t inode, off_t byte)
{
    char line[256];
    bool found = false;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    while (!found && fgets(line, sizeof(line), f))
        found = line_locks(line, inode, byte);
    fclose(f);
    return found;
}

/* Whether a file descriptor of that process, other than own_fd of this one, has the lock. */
static bool process_locks(long pid, int own_fd, ino_t inode, off_t byte)
{
    g_autofree char *dir_name = g_strdup_printf("/proc/%ld/fdinfo", pid);
    DIR *dir = opendir(dir_name);
    struct dirent *entry;
    bool found = false;
    if (!dir)
        return false;
    while (!found && (entry = readdir(dir))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (pid == getpid() && atoi(entry->d_name) == own_fd)
            continue;
        g_autofree char *path = g_strdup_printf("%s/%s", dir_name, entry->d_name);
        found = fdinfo_locks(path, inode, byte);
    }
    closedir(dir);
    return found;
}

/* The command line of a process, printable and not too long. */
static char *process_command(long pid)
{
    char text[81];
    g_autofree char *path = g_strdup_printf("/proc/%ld/cmdline", pid);
    FILE *f = fopen(path, "re");
    size_t length = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        fclose(f);
    while (length && !text[length - 1])
        length--;
    for (size_t i = 0; i < length; i++)
        if (!isprint((unsigned char)text[i]))
            text[i] = ' ';
    text[length] = 0;
    return g_strdup(length ? text : "?");
}

/* "process 42 (qemu-system-x86_64 -hda disk.qcow)". */
static char *find_holder(int fd, off_t byte)
{
    struct stat st;
    DIR *proc = fstat(fd, &st) ? NULL : opendir("/proc");
    struct dirent *entry;
    char *who = NULL;
    while (proc && !who && (entry = readdir(proc))) {
        long pid = atol(entry->d_name);
        if (pid <= 0 || !process_locks(pid, fd, st.st_ino, byte))
            continue;
        if (pid == getpid()) {
            who = g_strdup("this process itself");
            break;
        }
        g_autofree char *command = process_command(pid);
        who = g_strdup_printf("process %ld (%s)", pid, command);
    }
    if (proc)
        closedir(proc);
    return who ? who : g_strdup("a process that is not to be seen from here");
}

static bool fail_locked(int fd, const char *name, off_t byte, bool writable, GError **error)
{
    g_autofree char *who = find_holder(fd, byte);
    bool other_writes = byte < BYTE_DENY;
    if (other_writes)
        return fail(error, "Failed to get %s\"write\" lock: '%s' is locked: %s is writing to it",
                    writable ? "" : "shared ", name, who);
    return fail(error,
                "Failed to get \"write\" lock: '%s' is locked: %s is using it, so it cannot be "
                "opened for writing",
                name, who);
}

void image_unlock(int fd)
{
    struct flock lock = {.l_type = F_UNLCK,
                         .l_whence = SEEK_SET,
                         .l_start = BYTE_USE,
                         .l_len = BYTE_DENY + PERM_COUNT - BYTE_USE};
    fcntl(fd, F_OFD_SETLK, &lock);
}

bool image_lock(int fd, const char *name, bool writable, bool share, GError **error)
{
    unsigned use = writable ? PERM_READ | PERM_WRITE | PERM_RESIZE : PERM_READ;
    unsigned deny = share ? 0 : PERM_WRITE | PERM_RESIZE;
    if (share)
        use &= ~(unsigned)PERM_RESIZE;
    int err = take(fd, BYTE_USE, use);
    if (!err)
        err = take(fd, BYTE_DENY, deny);
    if (err == EAGAIN || err == EACCES)
        return fail(error,
                    "Failed to get a lock: '%s' is locked by a program that shares it with nobody",
                    name);
    if (err) /* the file system has no such locks */
        return true;
    off_t byte = conflict(fd, BYTE_USE, deny);
    if (byte < 0)
        byte = conflict(fd, BYTE_DENY, use);
    return byte < 0 || fail_locked(fd, name, byte, writable, error);
}
