/* CUDA's events for tests/cuda_driver.c, to be loaded before it: what is on a stream happens when it is waited for. */
#include <stdlib.h>
#include <time.h>

typedef struct { void *stream; double ms; } Event;

extern int cuStreamSynchronize(void *stream);

int cuEventCreate(Event **event, unsigned flags) { *event = calloc(1, sizeof **event); return 0; }
int cuEventDestroy_v2(Event *event) { free(event); return 0; }
int cuEventQuery(Event *event) { return 0; }
int cuStreamWaitEvent(void *stream, Event *event, unsigned flags) { return 0; }

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int cuEventRecord(Event *event, void *stream)
{
    event->stream = stream;
    event->ms = now_ms();
    return 0;
}

int cuEventSynchronize(Event *event)
{
    int code = cuStreamSynchronize(event->stream);
    event->ms = now_ms();
    return code;
}

int cuEventElapsedTime(float *ms, Event *start, Event *end) { *ms = (float)(end->ms - start->ms); return 0; }
int cuEventElapsedTime_v2(float *ms, Event *start, Event *end) { return cuEventElapsedTime(ms, start, end); }
