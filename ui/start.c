/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Choosing and starting a user interface. */
#include <gmodule.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "console.h"
#include "util/error.h"
#include "util/log.h"
#include "util/options.h"

static const UiBackend *running;

const char *const *ui_types(void)
{
    static const char *const types[] = {"sdl", "curses", "none", NULL};
    return types;
}

static bool start(const UiBackend *backend, Machine *machine, const UiOptions *options,
                  GError **error)
{
    chr_set_vc_ops(&console_vc_ops);
    if (!backend->start(machine, options, error)) {
        chr_set_vc_ops(NULL);
        return false;
    }
    running = backend;
    return true;
}

/* The module stands beside the executable in a build tree, else in the installed folder;
 * VMRUN_MODULE_DIR comes first. */
static char *find_module(void)
{
    g_autofree char *exe = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *exe_dir = exe ? g_path_get_dirname(exe) : g_strdup(".");
    const char *env = g_getenv("VMRUN_MODULE_DIR");
    g_autofree char *below = g_build_filename(exe_dir, "ui", NULL);
    g_autofree char *beside = g_build_filename(exe_dir, "..", "ui", NULL);
    const char *const dirs[] = {env ? env : exe_dir, exe_dir, below, beside, VMRUN_MODULE_PATH};
    for (unsigned i = 0; i < G_N_ELEMENTS(dirs); i++) {
        char *path = g_build_filename(dirs[i], UI_SDL_MODULE, NULL);
        if (access(path, R_OK) == 0)
            return path;
        g_free(path);
    }
    return NULL;
}

static bool start_sdl(Machine *machine, const UiOptions *options, GError **error)
{
    g_autofree char *path = find_module();
    if (!path)
        return fail(error, "-display sdl: the module %s is neither beside the program nor in %s",
                    UI_SDL_MODULE, VMRUN_MODULE_PATH);
    GModule *module = g_module_open(path, G_MODULE_BIND_LAZY | G_MODULE_BIND_LOCAL);
    gpointer symbol;
    if (!module || !g_module_symbol(module, UI_SDL_SYMBOL, &symbol)) {
        fail(error, "-display sdl: %s", g_module_error());
        if (module)
            g_module_close(module);
        return false;
    }
    g_module_make_resident(module); /* SDL leaves threads and exit handlers behind */
    return start(((UiModuleFn *)symbol)(), machine, options, error);
}

static bool start_curses(Machine *machine, const UiOptions *options, GError **error)
{
    return start(&ui_curses_backend, machine, options, error);
}

/* Nothing was asked for: a window where there can be one, else the terminal, else nothing. */
static void choose(Machine *machine, const UiOptions *options)
{
    const char *why = "no DISPLAY or WAYLAND_DISPLAY";
    g_autoptr(GError) error = NULL;
    if (g_getenv("DISPLAY") || g_getenv("WAYLAND_DISPLAY")) {
        if (start_sdl(machine, options, &error))
            return;
        why = error->message;
    }
    if (isatty(STDOUT_FILENO) && isatty(STDIN_FILENO)) {
        report_info("%s: showing the text screen in this terminal (-display none: no screen)", why);
        g_autoptr(GError) curses_error = NULL;
        if (start_curses(machine, options, &curses_error))
            return;
        report_info("%s", curses_error->message);
    }
    report_info("%s: running without a screen", why);
}

bool ui_start(Machine *machine, const UiOptions *options, GError **error)
{
    const char *type = options->type;
    if (!type) {
        choose(machine, options);
        return true;
    }
    if (strcmp(type, "sdl") == 0)
        return start_sdl(machine, options, error);
    if (strcmp(type, "curses") == 0)
        return start_curses(machine, options, error);
    if (strcmp(type, "none") == 0)
        return true;
    const char *near = nearest_word(type, ui_types());
    return fail(error, "-display %s: there is no such display; %s '%s'", type,
                near ? "did you mean" : "try", near ? near : "sdl");
}

void ui_stop(void)
{
    if (!running)
        return;
    running->stop();
    running = NULL;
    chr_set_vc_ops(NULL);
}
