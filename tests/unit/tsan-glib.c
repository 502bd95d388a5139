/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For TSan builds only: GLib's GMutex is a futex that TSan does not see, so data that it guards
 * would look like races.  These take the place of GLib's own functions and tell TSan.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#endif

#ifdef TSAN
#include <glib.h>

void __tsan_mutex_pre_lock(void *addr, unsigned flags);
void __tsan_mutex_post_lock(void *addr, unsigned flags, int recursion);
int __tsan_mutex_pre_unlock(void *addr, unsigned flags);
void __tsan_mutex_post_unlock(void *addr, unsigned flags);

void g_mutex_lock(GMutex *mutex)
{
    __tsan_mutex_pre_lock(mutex, 0);
    while (!g_mutex_trylock(mutex))
        g_thread_yield();
    __tsan_mutex_post_lock(mutex, 0, 0);
}

/* Trylock and the inner unlock stay GLib's: a mutex is free again when its word is 0. */
void g_mutex_unlock(GMutex *mutex)
{
    __tsan_mutex_pre_unlock(mutex, 0);
    __atomic_store_n(&mutex->i[0], 0, __ATOMIC_RELEASE);
    __tsan_mutex_post_unlock(mutex, 0);
}
#else
typedef int tsan_glib_is_empty;
#endif
