/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives on scratch images, for tests. */
#include "test-drives.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "block/node.h"

static char *dir;
static GPtrArray *names; /* of files that make() made or that were asked for */

char *path_of(const char *name)
{
    char *path = g_build_filename(dir, name, NULL);
    g_ptr_array_add(names, g_strdup(path));
    return path;
}

/* "@name" in text stands for a file of the scratch directory. */
static Options *options_of(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "@", -1);
    g_autofree char *prefix = g_strconcat(dir, "/", NULL);
    g_autofree char *whole = g_strjoinv(prefix, parts);
    GError *error = NULL;
    Options *options = options_parse("-drive", whole, "file", NULL, &error);
    g_assert_no_error(error);
    return options;
}

Blk *open_drive(const char *text)
{
    g_autoptr(Options) options = options_of(text);
    GError *error = NULL;
    Blk *blk = blk_open(options, &error);
    if (!blk)
        g_error("%s: %s", text, error->message);
    return blk;
}

void open_fails(const char *text, const char *why)
{
    g_autoptr(Options) options = options_of(text);
    GError *error = NULL;
    g_assert_null(blk_open(options, &error));
    if (!strstr(error->message, why))
        g_error("%s: no '%s' in: %s", text, why, error->message);
    g_error_free(error);
}

/* Of a file that make() made. */
static const char *format_of(const char *name)
{
    g_autofree char *path = path_of(name), *data = NULL;
    gsize bytes;
    if (!g_file_get_contents(path, &data, &bytes, NULL))
        g_error("cannot read '%s'", path);
    return format_probe((const uint8_t *)data, bytes)->name;
}

void make(const char *name, const char *format, const char *backing)
{
    g_autofree char *path = path_of(name);
    CreateSpec spec = {.size = DRIVE_SIZE, .backing = backing};
    if (backing)
        spec.backing_format = format_of(backing);
    GError *error = NULL;
    CoSched *sched = co_sched_new(loop_main());
    unlink(path);
    if (!image_create(sched, path, format, &spec, true, false, &error))
        g_error("%s", error->message);
    co_sched_free(sched);
}

void put(Blk *blk, uint64_t offset, int value, size_t bytes)
{
    g_autofree char *data = g_malloc(bytes);
    memset(data, value, bytes);
    g_assert_cmpint(blk_pwrite(blk, offset, data, bytes), ==, 0);
}

void expect_at(Blk *blk, uint64_t offset, int value, size_t bytes)
{
    g_autofree char *data = g_malloc(bytes);
    g_assert_cmpint(blk_pread(blk, offset, data, bytes), ==, 0);
    for (size_t i = 0; i < bytes; i++)
        g_assert_cmpint(data[i], ==, (char)value);
}

int byte_of_file(const char *name, off_t at)
{
    g_autofree char *path = path_of(name);
    unsigned char byte = 255;
    int fd = open(path, O_RDONLY);
    g_assert_cmpint(pread(fd, &byte, 1, at), ==, 1);
    close(fd);
    return byte;
}

void drives_begin(void)
{
    dir = g_dir_make_tmp("test-drives-XXXXXX", NULL);
    names = g_ptr_array_new_with_free_func(g_free);
    loop_lock(loop_main());
}

int drives_end(int result)
{
    blk_close_all();
    iothread_free_all();
    loop_unlock(loop_main());
    for (guint i = 0; i < names->len; i++)
        g_unlink(g_ptr_array_index(names, i));
    g_ptr_array_free(names, TRUE);
    g_rmdir(dir);
    g_free(dir);
    return result;
}
