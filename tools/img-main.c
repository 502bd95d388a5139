/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the programs share that is not about options: the loop, coroutines, the end. */
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "util/log.h"

static CoSched *sched;

CoSched *img_sched(void)
{
    return sched;
}

typedef struct Job {
    CoFn *worker;
    void *opaque;
    unsigned *running;
} Job;

static void job_run(void *opaque)
{
    Job *job = opaque;
    job->worker(job->opaque);
    --*job->running;
}

void img_parallel(unsigned count, CoFn *worker, void *opaque)
{
    unsigned running = count;
    Job job = {worker, opaque, &running};
    for (unsigned i = 0; i < count; i++)
        co_start(sched, job_run, NULL, &job);
    while (running)
        loop_step(loop_main(), true);
}

int img_fail(GError *error)
{
    report_error("%s", error->message);
    g_error_free(error);
    return 1;
}

void img_print_version(void)
{
    const char *program = report_program();
    if (g_str_has_prefix(program, "qemu-"))
        printf("%s version 7.2.0 (vmrun %s)\n", program, VMRUN_VERSION);
    else
        printf("%s version %s\n", program, VMRUN_VERSION);
}

int img_main(const char *program, int (*run)(int argc, char **argv), int argc, char **argv)
{
    const char *slash = strrchr(program, '/');
    report_set_program(slash ? slash + 1 : program);
    loop_lock(loop_main());
    sched = co_sched_new(loop_main());
    int code = run(argc, argv);
    co_sched_free(sched);
    loop_unlock(loop_main());
    if (fflush(stdout) || ferror(stdout)) {
        report_error("cannot write the output");
        return 1;
    }
    return code;
}
