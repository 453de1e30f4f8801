// The GPU's kernels on a CPU: the threads of a block are threads, one block runs after the other. What CUDA
// adds to C++ is spelled in macros; the kernels themselves are compiled as they are.

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

struct Extent {
    unsigned x, y, z;
};

static thread_local Extent threadIdx, blockIdx;
static Extent blockDim;
static pthread_barrier_t barrier;

#define __CUDACC__
#define __host__
#define __device__
#define __global__
#define __constant__
#define __grid_constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __syncthreads() pthread_barrier_wait(&barrier)

using std::max;
using std::min;

#include "lab_merge.cu"
#undef KERNEL
#include "preprocess.cu"

namespace {

template <typename Params>
void launch(void (*kernel)(Params), const Params& params, Extent grid, Extent block) {
    blockDim = block;
    pthread_barrier_init(&barrier, nullptr, block.x * block.y);
    const auto run = [&](Extent thread) {
        threadIdx = thread;
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, 0};
                kernel(params);
                __syncthreads();
            }
    };
    std::vector<std::thread> threads;
    for (unsigned y = 0; y < block.y; ++y)
        for (unsigned x = 0; x < block.x; ++x) threads.emplace_back(run, Extent{x, y, 0});
    for (std::thread& thread : threads) thread.join();
    pthread_barrier_destroy(&barrier);
}

// Where the threads of a block do not wait for one another, they may as well run one after the other.
template <typename Params>
void launch_one_by_one(void (*kernel)(Params), const Params& params, Extent grid, Extent block) {
    blockDim = block;
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x) kernel(params);
}

}  // namespace

// Returns 0, or 1 where the kernel is unknown. One launch at a time: what is static above belongs to it.
extern "C" int launch_kernel(const char* name, const void* params, const Extent* grid, const Extent* block) {
    static std::mutex launching;
    const std::lock_guard<std::mutex> alone(launching);
#define LAUNCH(launch, kernel, Params)       \
    if (std::strcmp(name, #kernel) == 0) {   \
        launch<Params>(kernel, *static_cast<const Params*>(params), *grid, *block); \
        return 0;                            \
    }
    LAUNCH(launch, tapetum_merge_nearest, MergeParams)
    LAUNCH(launch, tapetum_merge_nearest_picture, MergeParams)
    LAUNCH(launch, tapetum_merge_guided, MergeParams)
    LAUNCH(launch, tapetum_merge_guided_picture, MergeParams)
    LAUNCH(launch, tapetum_grey, GreyParams)
    LAUNCH(launch_one_by_one, tapetum_filter, FilterParams)
    LAUNCH(launch_one_by_one, tapetum_cell_luma, CellLumaParams)
    LAUNCH(launch_one_by_one, tapetum_resize_area, ResizeParams)
    LAUNCH(launch_one_by_one, tapetum_resize_linear, ResizeParams)
    return 1;
}

extern "C" int tapetum_params_bytes(int which) {
    constexpr std::size_t sizes[] = {sizeof(MergeParams), sizeof(FilterParams), sizeof(CellLumaParams),
                                     sizeof(GreyParams), sizeof(ResizeParams)};
    return int(sizes[which]);
}
