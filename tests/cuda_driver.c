/* A CUDA driver without a GPU, for pycuda: device memory is the CPU's, one device, one context.
 *
 * It is strict where a real one is: whatever needs a context fails in a thread that has none current; what is put on a
 * stream happens when the stream is waited for, or goes into a graph while the stream is captured, which allocating
 * and waiting make void. CUDA_FAILS="cuMemAlloc_v2=2" makes a function return an error; a code from 700 to 799
 * (CUDA_ERROR_ILLEGAL_ADDRESS and the like) spoils the context for good.
 *
 * A module must be a cubin with the kernels that are asked of it. What runs is the same kernel, compiled for the CPU:
 * CUDA_KERNELS is the library of tests/kernels/gpu_on_cpu.cpp.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUCCESS = 0, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500,
    FIRST_FAULT = 700, LAST_FAULT = 799, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901,
    INTEGRATED = 18, QUEUE = 64, PARAMS = 256, EM_CUDA = 190,
    INFO_LOG = 3, ERROR_LOG = 5 /* CU_JIT_INFO_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER */
};

typedef struct { unsigned x, y, z; } Extent;
typedef struct { char name[64]; } Function;
typedef struct { const char *image; size_t bytes; } Module;
typedef struct Graph Graph;

typedef struct {
    enum { COPY, KERNEL, CALL, GRAPH } kind;
    void *to;
    const void *from;
    size_t bytes;
    const Function *function;
    Extent grid, block;
    char params[PARAMS];
    void (*call)(void *);
    void *argument;
    const Graph *graph;
} Work;

struct Graph { Work works[QUEUE]; int length; };
typedef struct { Graph queue; Graph *captured; int is_void; } Stream;

/* For the tests to read. */
int live_buffers, live_streams, live_modules, live_graphs, retained, context_flags;
int copies_done, kernels_done, graphs_launched, synchronised, allocations;
static _Thread_local int depth;
static _Thread_local Stream *capturing; /* by this thread */
static int captures;                    /* by all */
static int fault;

static int failing(const char *name)
{
    const char *fails = getenv("CUDA_FAILS");
    size_t length = strlen(name);
    if (!fails || strncmp(fails, name, length) || fails[length] != '=')
        return SUCCESS;
    int code = atoi(fails + length + 1);
    if (code >= FIRST_FAULT && code <= LAST_FAULT)
        fault = code;
    return code;
}

#define CHECK(name) do { int code_ = failing(name); if (code_) return code_; } while (0)
#define CHECK_CONTEXT(name) do { CHECK(name); if (fault) return fault; if (!depth) return INVALID_CONTEXT; } while (0)

int cuInit(unsigned flags) { CHECK("cuInit"); return SUCCESS; }
int cuDriverGetVersion(int *version) { *version = 12060; return SUCCESS; }
int cuDeviceGet(int *device, int ordinal) { CHECK("cuDeviceGet"); *device = ordinal; return SUCCESS; }
int cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "Double"); return SUCCESS; }
int cuDeviceComputeCapability(int *major, int *minor, int device) { *major = 8; *minor = 7; return SUCCESS; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)8 << 30; return SUCCESS; }

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    *value = attribute == INTEGRATED && getenv("CUDA_INTEGRATED") != NULL;
    return SUCCESS;
}

int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags)
{
    CHECK("cuDevicePrimaryCtxSetFlags_v2");
    context_flags = retained ? 0 : flags;
    return SUCCESS;
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
    CHECK("cuDevicePrimaryCtxRetain");
    *context = &retained;
    retained++;
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int device) { retained--; return SUCCESS; }
int cuCtxPushCurrent_v2(void *context) { CHECK("cuCtxPushCurrent_v2"); depth++; return SUCCESS; }
int cuCtxPopCurrent_v2(void **context) { if (!depth) return INVALID_CONTEXT; depth--; return SUCCESS; }

/* What must not be done by a thread that captures a stream: it makes the capture void. */
static int is_unsafe(void)
{
    if (capturing)
        capturing->is_void = 1;
    return capturing != NULL;
}

int cuCtxSynchronize(void)
{
    CHECK_CONTEXT("cuCtxSynchronize");
    return is_unsafe() || captures ? CAPTURE_UNSUPPORTED : SUCCESS;
}

int cuStreamCreate(Stream **stream, unsigned flags)
{
    CHECK_CONTEXT("cuStreamCreate");
    *stream = calloc(1, sizeof **stream);
    live_streams++;
    return SUCCESS;
}

int cuStreamDestroy_v2(Stream *stream)
{
    CHECK_CONTEXT("cuStreamDestroy_v2");
    free(stream);
    live_streams--;
    return SUCCESS;
}

static void launch(const Work *work)
{
    static int (*launch_kernel)(const char *, const void *, const Extent *, const Extent *);
    if (!launch_kernel)
        launch_kernel = dlsym(dlopen(getenv("CUDA_KERNELS"), RTLD_NOW), "launch_kernel");
    if (launch_kernel(work->function->name, work->params, &work->grid, &work->block))
        abort();
    kernels_done++;
}

static void run(const Graph *graph)
{
    for (const Work *work = graph->works; work < graph->works + graph->length; work++)
        switch (work->kind) {
        case COPY: memcpy(work->to, work->from, work->bytes); copies_done++; break;
        case KERNEL: launch(work); break;
        case CALL: work->call(work->argument); break;
        case GRAPH: run(work->graph); break;
        }
}

int cuStreamSynchronize(Stream *stream)
{
    CHECK_CONTEXT("cuStreamSynchronize");
    if (is_unsafe())
        return CAPTURE_UNSUPPORTED;
    synchronised++;
    run(&stream->queue);
    stream->queue.length = 0;
    return SUCCESS;
}

static int put(Stream *stream, Work work)
{
    Graph *graph = stream->captured ? stream->captured : &stream->queue;
    if (graph->length == QUEUE)
        return OUT_OF_MEMORY;
    graph->works[graph->length++] = work;
    return SUCCESS;
}

static int put_copy(Stream *stream, void *to, const void *from, size_t bytes)
{
    return put(stream, (Work){.kind = COPY, .to = to, .from = from, .bytes = bytes});
}

/* Not CUDA's: what tests put on a stream in the place of an engine. */
int put_call(Stream *stream, void (*call)(void *), void *argument)
{
    return put(stream, (Work){.kind = CALL, .call = call, .argument = argument});
}

int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t bytes, Stream *stream)
{
    CHECK_CONTEXT("cuMemcpyHtoDAsync_v2");
    return put_copy(stream, to, from, bytes);
}

int cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t bytes, Stream *stream)
{
    CHECK_CONTEXT("cuMemcpyDtoHAsync_v2");
    return put_copy(stream, to, from, bytes);
}

int cuMemcpyDtoDAsync_v2(void *to, const void *from, size_t bytes, Stream *stream)
{
    CHECK_CONTEXT("cuMemcpyDtoDAsync_v2");
    return put_copy(stream, to, from, bytes);
}

int cuModuleLoadDataEx(Module **module, const char *image, unsigned count, int *options, void **values)
{
    for (unsigned option = 0; option < count; option++) /* pycuda puts the log into its message */
        if (options[option] == INFO_LOG || options[option] == ERROR_LOG)
            *(char *)values[option] = 0;
    CHECK_CONTEXT("cuModuleLoadDataEx");
    uint64_t sections;
    uint16_t machine, size, number;
    memcpy(&machine, image + 0x12, 2);
    if (memcmp(image, "\177ELF", 4) || machine != EM_CUDA)
        return INVALID_IMAGE;
    memcpy(&sections, image + 0x28, 8), memcpy(&size, image + 0x3a, 2), memcpy(&number, image + 0x3c, 2);
    *module = malloc(sizeof **module);
    **module = (Module){image, sections + (size_t)size * number};
    (*module)->image = memcpy(malloc((*module)->bytes), image, (*module)->bytes);
    live_modules++;
    return SUCCESS;
}

int cuModuleLoadData(Module **module, const char *image) { return cuModuleLoadDataEx(module, image, 0, NULL, NULL); }

int cuModuleUnload(Module *module)
{
    CHECK_CONTEXT("cuModuleUnload");
    free((void *)module->image), free(module);
    live_modules--;
    return SUCCESS;
}

int cuModuleGetFunction(Function **function, Module *module, const char *name)
{
    CHECK_CONTEXT("cuModuleGetFunction");
    char section[80];
    int length = snprintf(section, sizeof section, ".text.%s", name);
    if (!memmem(module->image, module->bytes, section, length + 1))
        return NOT_FOUND;
    *function = calloc(1, sizeof **function); /* lives as long as the process */
    strncpy((*function)->name, name, sizeof (*function)->name - 1);
    return SUCCESS;
}

int cuFuncSetBlockShape(Function *function, int x, int y, int z) { return SUCCESS; }

int cuLaunchKernel(
    Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
    Stream *stream, void **params, void **extra)
{
    CHECK_CONTEXT("cuLaunchKernel");
    Work work = {.kind = KERNEL, .function = function, .grid = {gx, gy, gz}, .block = {bx, by, bz}};
    memcpy(work.params, extra[1], *(size_t *)extra[3]); /* buffer and its size, each behind its tag */
    return put(stream, work);
}

int cuStreamBeginCapture_v2(Stream *stream, int mode)
{
    CHECK_CONTEXT("cuStreamBeginCapture_v2");
    stream->captured = calloc(1, sizeof(Graph));
    stream->is_void = 0;
    capturing = stream;
    captures++, live_graphs++;
    return SUCCESS;
}

int cuStreamEndCapture(Stream *stream, Graph **graph)
{
    int code = failing("cuStreamEndCapture"); /* whatever it says, the capture is over */
    *graph = stream->captured;
    stream->captured = NULL, capturing = NULL;
    captures--;
    if (!code && !stream->is_void)
        return SUCCESS;
    free(*graph);
    *graph = NULL;
    live_graphs--;
    return code ? code : CAPTURE_INVALIDATED;
}

int cuGraphInstantiateWithFlags(Graph **executable, Graph *graph, unsigned long long flags)
{
    CHECK_CONTEXT("cuGraphInstantiateWithFlags");
    *executable = memcpy(malloc(sizeof *graph), graph, sizeof *graph);
    live_graphs++;
    return SUCCESS;
}

int cuGraphLaunch(Graph *executable, Stream *stream)
{
    CHECK_CONTEXT("cuGraphLaunch");
    graphs_launched++;
    return put(stream, (Work){.kind = GRAPH, .graph = executable});
}

int cuGraphDestroy(Graph *graph) { free(graph); live_graphs--; return SUCCESS; }
int cuGraphExecDestroy(Graph *graph) { CHECK_CONTEXT("cuGraphExecDestroy"); free(graph); live_graphs--; return SUCCESS; }

static int allocate(void **address, size_t bytes)
{
    if (is_unsafe())
        return CAPTURE_UNSUPPORTED;
    bytes = (bytes + 255) / 256 * 256;
    *address = memset(aligned_alloc(256, bytes), 0xa5, bytes); /* so that nobody counts on zeros */
    live_buffers++, allocations++;
    return SUCCESS;
}

int cuMemAlloc_v2(void **address, size_t bytes) { CHECK_CONTEXT("cuMemAlloc_v2"); return allocate(address, bytes); }

int cuMemHostAlloc(void **address, size_t bytes, unsigned flags)
{
    CHECK_CONTEXT("cuMemHostAlloc");
    return allocate(address, bytes);
}

static int free_buffer(void *address)
{
    if (is_unsafe())
        return CAPTURE_UNSUPPORTED;
    free(address);
    live_buffers--;
    return SUCCESS;
}

int cuMemFree_v2(void *address) { CHECK_CONTEXT("cuMemFree_v2"); return free_buffer(address); }
int cuMemFreeHost(void *address) { CHECK_CONTEXT("cuMemFreeHost"); return free_buffer(address); }

int cuMemHostGetDevicePointer_v2(void **address, void *host, unsigned flags)
{
    CHECK_CONTEXT("cuMemHostGetDevicePointer_v2");
    *address = host;
    return SUCCESS;
}

int cuGetErrorString(int code, const char **text)
{
    *text = code == OUT_OF_MEMORY ? "out of memory"
        : code == INVALID_CONTEXT ? "invalid device context"
        : code == 100 ? "no CUDA-capable device is detected"
        : code == INVALID_IMAGE ? "device kernel image is invalid"
        : code == NOT_FOUND ? "named symbol not found"
        : code == CAPTURE_UNSUPPORTED ? "operation not permitted when stream is capturing"
        : code == CAPTURE_INVALIDATED ? "operation failed due to a previous error during capture"
        : code == 719 ? "unspecified launch failure"
        : code == 700 ? "an illegal memory access was encountered" : "another error";
    return SUCCESS;
}
