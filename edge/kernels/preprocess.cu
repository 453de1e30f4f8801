// A frame's luma to a network's input: resized to 8 bits as OpenCV does it, then scaled to float.
//
// nvcc and NVRTC make CUDA kernels of it. `resize.py` has the struct's twin and the grids, `edge/vision/preprocess.py` is the
// same on a CPU; the two differ by at most one 8-bit level, where a mean lies between two levels.

using uint8 = unsigned char;
using int64 = long long;

struct ResizeParams {
    const uint8* luma;  // [height] rows of width pixels
    float* out;         // [out_height][out_width], contiguous
    int64 luma_pitch;   // bytes from row to row
    int width, height;
    int inner_width, inner_height;  // where the picture lies: the top left of `out`
    int out_width, out_height;
    float scale;  // multiplies the 8-bit values
    float pad;    // what fills the rest of `out`
};

// The mean of the pixels under a pixel of the result (cv2.INTER_AREA, which never enlarges), each counted by its share:
// in units of 1 / inner_width and 1 / inner_height of a pixel all shares are whole, and so the sum is exact.
__device__ __forceinline__ int area_level(const ResizeParams& params, int column, int row) {
    const int inner_width = params.inner_width, inner_height = params.inner_height;
    const int left = column * params.width, right = left + params.width;
    const int top = row * params.height, bottom = top + params.height;
    int64 sum = 0;
    for (int y = top / inner_height; y * inner_height < bottom; ++y) {
        const uint8* luma = params.luma + y * params.luma_pitch;
        int line = 0;
        for (int x = left / inner_width; x * inner_width < right; ++x)
            line += (min((x + 1) * inner_width, right) - max(x * inner_width, left)) * luma[x];
        sum += int64(min((y + 1) * inner_height, bottom) - max(y * inner_height, top)) * line;
    }
    const int64 whole = int64(params.width) * params.height;
    return int((2 * sum + whole) / (2 * whole));
}

// The two pixels around the centre of a pixel of the result along one axis; the share of the second in 1 / kOne.
constexpr int kBits = 11, kOne = 1 << kBits;  // what OpenCV takes

struct Around {
    int first, second, share;
};

__device__ __forceinline__ Around pixels_around(int index, int inner, int pixels) {
    const int whole = 2 * inner, place = (2 * index + 1) * pixels - inner;  // in 1 / whole of a pixel, from -inner on
    const int first = (place + whole) / whole - 1, share = ((place - first * whole) * kOne + inner) / whole;
    return {max(first, 0), min(first + 1, pixels - 1), share};
}

// Bilinear interpolation between the four pixels around the centre (cv2.INTER_LINEAR). OpenCV cuts bits off on the way,
// and so do we: on average its results are an eighth of a level too low.
__device__ __forceinline__ int linear_level(const ResizeParams& params, int column, int row) {
    const Around across = pixels_around(column, params.inner_width, params.width);
    const Around down = pixels_around(row, params.inner_height, params.height);
    const auto line = [&](int y, int share) {
        const uint8* luma = params.luma + y * params.luma_pitch;
        const int sum = (kOne - across.share) * luma[across.first] + across.share * luma[across.second];
        return (share * (sum >> 4)) >> 16;
    };
    return (line(down.first, kOne - down.share) + line(down.second, down.share) + 2) >> 2;
}

// A thread makes one value of `out`, x along the threads.
template <typename Level>
__device__ __forceinline__ void resize(const ResizeParams& params, Level level) {
    const int column = int(blockIdx.x * blockDim.x + threadIdx.x), row = int(blockIdx.y * blockDim.y + threadIdx.y);
    if (column >= params.out_width || row >= params.out_height) return;
    const bool inside = column < params.inner_width && row < params.inner_height;
    params.out[row * params.out_width + column] =
        inside ? float(level(params, column, row)) * params.scale : params.pad;
}

#define KERNEL extern "C" __global__ void __launch_bounds__(128)

KERNEL tapetum_resize_area(const __grid_constant__ ResizeParams params) { resize(params, area_level); }
KERNEL tapetum_resize_linear(const __grid_constant__ ResizeParams params) { resize(params, linear_level); }
