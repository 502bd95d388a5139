/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fault injection: rules, states, the configuration file. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "block/blkdebug.h"
#include "block/node.h"

#define SIZE (1u << 20)

static char *dir;
static CoSched *sched;

static char *path_of(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static void make(const char *format)
{
    g_autofree char *path = path_of("disk");
    CreateSpec spec = {.size = SIZE};
    GError *error = NULL;
    unlink(path);
    image_create(sched, path, format, &spec, true, false, &error);
    g_assert_no_error(error);
}

/* With config as the text of the configuration file; NULL: without one. */
static BlkNode *open_with(const char *config, GError **error)
{
    g_autofree char *disk = path_of("disk"), *rules = path_of("rules");
    NodeMode mode = {.file.writable = true};
    if (config)
        g_assert_true(g_file_set_contents(rules, config, -1, NULL));
    g_autofree char *name = g_strdup_printf("blkdebug:%s:%s", config ? rules : "", disk);
    return node_open(sched, name, NULL, &mode, error);
}

static BlkNode *open_ok(const char *config)
{
    GError *error = NULL;
    BlkNode *node = open_with(config, &error);
    g_assert_no_error(error);
    return node;
}

static void open_fails(const char *config, const char *why)
{
    GError *error = NULL;
    g_assert_null(open_with(config, &error));
    if (!strstr(error->message, why))
        g_error("no '%s' in: %s", why, error->message);
    g_error_free(error);
}

static int io(BlkNode *node, bool write, uint64_t offset)
{
    char data[4096] = {1};
    struct iovec iov = {data, sizeof(data)};
    IoBuf buf = {&iov, 1, 0};
    return write ? node_write(node, offset, buf, sizeof(data))
                 : node_read(node, offset, buf, sizeof(data));
}

static void test_rules(void)
{
    make("raw");
    BlkNode *node = open_ok("# two faults\n"
                            "[inject-error]\nevent = \"write_aio\"\nerrno = \"28\"\n"
                            "iotype = write\nonce = \"on\"\n\n"
                            "[inject-error]\nsector = 16\n"
                            "[inject-error \"a name\"]\niotype=flush\nerrno=\"110\"\n");
    g_autofree char *path = path_of("disk");
    g_assert_cmpstr(node->name, ==, path);
    g_assert_cmpint(io(node, false, 0), ==, 0);
    g_assert_cmpint(io(node, false, 8192), ==, -EIO);
    g_assert_cmpint(node_flush(node), ==, -ETIMEDOUT);
    g_assert_cmpint(io(node, true, 0), ==, -ENOSPC);
    g_assert_cmpint(io(node, true, 0), ==, 0);
    /* the rules of write_aio took the place of those without an event */
    g_assert_cmpint(io(node, false, 8192), ==, 0);
    g_assert_cmpint(node_flush(node), ==, 0);
    g_assert_cmpint(node_close(node), ==, 0);
}

static void test_states(void)
{
    make("raw");
    BlkNode *node = open_ok("[set-state]\nevent=\"read_aio\"\nstate=1\nnew_state=2\n"
                            "[set-state]\nevent=\"read_aio\"\nstate=2\nnew_state=3\n"
                            "[inject-error]\nevent=\"read_aio\"\nstate=2\nimmediately=on\n");
    g_assert_cmpint(io(node, false, 0), ==, 0);
    g_assert_cmpint(io(node, false, 0), ==, -EIO);
    g_assert_cmpint(io(node, true, 0), ==, -EIO); /* still active: no other event was named */
    blkdebug_clear(node->file);
    g_assert_cmpint(io(node, true, 0), ==, 0);
    g_assert_cmpint(io(node, false, 0), ==, 0);
    node_close(node);
}

static bool add(BlkNode *node, const char *text, GError **error)
{
    g_autoptr(Options) rule = options_parse("rule", text, NULL, NULL, NULL);
    return blkdebug_add_rule(node->file, "inject-error", rule, error);
}

/* The tables of a qcow2 image, and a write whose cluster is given back. */
static void test_metadata(void)
{
    CheckResult result = {0};
    make("qcow2");
    BlkNode *node = open_ok(NULL);
    g_assert_true(add(node, "event=l2_update,errno=28,once=on", NULL));
    g_assert_cmpint(io(node, true, 0), ==, 0);
    g_assert_cmpint(node_flush(node), ==, -ENOSPC);
    g_assert_cmpint(node_flush(node), ==, 0);
    g_assert_true(add(node, "event=cluster_alloc,iotype=write,once=on", NULL));
    g_assert_cmpint(io(node, true, 512 << 10), ==, -EIO);
    g_assert_cmpint(io(node, true, 512 << 10), ==, 0);
    blkdebug_clear(node->file);
    g_assert_cmpint(node_flush(node), ==, 0);
    node->fmt->check(node, 0, &result, NULL, NULL);
    g_assert_cmpuint(result.corruptions, ==, 0);
    g_assert_cmpint(node_close(node), ==, 0);
}

static void test_bad(void)
{
    GError *error = NULL;
    NodeMode mode = {0};
    make("raw");
    open_fails("[inject-eror]\n", "there is no [inject-eror]");
    open_fails("[inject-error]\nevent=\"write_iao\"\n", "did you mean 'write_aio'");
    open_fails("[inject-error]\nerrno=0\n", "errno");
    open_fails("[inject-error]\nsector=-1\n", "sector");
    open_fails("[inject-error]\nsector=0\ncolour=red\n", "has no key 'colour'");
    open_fails("[set-state]\nevent=read_aio\n", "needs event and new_state");
    open_fails("errno=5\n", "is neither");
    open_fails("[inject-error\n", "']' is missing");
    g_assert_null(node_open(sched, "blkdebug:x", NULL, &mode, &error));
    g_assert_nonnull(strstr(error->message, "blkdebug:CONFIG:IMAGE"));
    g_clear_error(&error);
    g_assert_null(node_open(sched, "blkdebug:/nonexistent:/dev/null", NULL, &mode, &error));
    g_clear_error(&error);
    BlkNode *node = open_ok(NULL);
    g_assert_false(add(node, "event=never", &error));
    g_clear_error(&error);
    BlkFile *plain = node->file->below;
    g_autoptr(Options) rule = options_parse("rule", "errno=5", NULL, NULL, NULL);
    g_assert_false(blkdebug_add_rule(plain, "inject-error", rule, &error));
    g_assert_nonnull(strstr(error->message, "not open through blkdebug"));
    g_clear_error(&error);
    node_close(node);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_lock(loop_main());
    dir = g_dir_make_tmp("vmrun-blkdebug-XXXXXX", NULL);
    sched = co_sched_new(loop_main());
    g_test_add_func("/blkdebug/rules", test_rules);
    g_test_add_func("/blkdebug/states", test_states);
    g_test_add_func("/blkdebug/metadata", test_metadata);
    g_test_add_func("/blkdebug/bad", test_bad);
    int ret = g_test_run();
    g_autofree char *disk = path_of("disk"), *rules = path_of("rules");
    unlink(disk);
    unlink(rules);
    g_rmdir(dir);
    co_sched_free(sched);
    return ret;
}
