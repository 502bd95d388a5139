/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The descriptor of SDL's connection to the X server, for the event loop to watch. */
#include <SDL.h>
#include <SDL_syswm.h>

int sdl_connection_fd(SDL_Window *window);

int sdl_connection_fd(SDL_Window *window)
{
#if defined(SDL_VIDEO_DRIVER_X11)
    SDL_SysWMinfo info;
    SDL_VERSION(&info.version);
    if (SDL_GetWindowWMInfo(window, &info) && info.subsystem == SDL_SYSWM_X11)
        return ConnectionNumber(info.info.x11.display);
#endif
    return -1;
}
