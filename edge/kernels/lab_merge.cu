// Luma and low-resolution chroma to one video frame, in one pass: the same arithmetic for a GPU and for a CPU.
//
// nvcc and NVRTC make CUDA kernels of this file, the C++ compiler (by lab_merge.cpp) a shared library for CPUs. Either
// takes one struct for a job; `parameters.py` has its twin, `launch.py` the grids. The parts, in this order:
// parameters, the arithmetic of one pixel and one cell, which both share, the GPU's kernels, the CPU's loops and
// threads.
//
// For each pixel: L is the CIELAB lightness of the grey sRGB value `luma`, plus the residual; a and b come from the
// cells under it. CIELAB (D65) goes to linear sRGB, is clipped to the gamut, gets the sRGB curve (IEC 61966-2-1) and
// becomes limited-range Y'CbCr (BT.601 or BT.709), rounded once, at the end. `tests/kernels/oracle.py` is the same in
// float64.

#if defined(__CUDACC__)
#define BOTH __host__ __device__ __forceinline__
#else
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>
#define BOTH inline __attribute__((always_inline))
#endif

using uint8 = unsigned char;
using int64 = long long;

// ---- Parameters -----------------------------------------------------------------------------------------------------

// The chroma cells: `width` x `height` of them cover the frame, whatever its size.
struct Cells {
    const void* ab;        // [2][height][width], CIELAB a and b, contiguous; what is not finite counts as grey
    const void* residual;  // [height][width], added to L, or null
    const uint8* luma;     // [height][width], mean luma of the cells: upsampling follows it; null: nearest cell
    int width, height;
    int half;              // 1: ab and residual are float16; 0: float32
    float guide_sigma;     // luma levels, at least 1: a cell that differs by so much counts a quarter
};

struct MergeParams {
    Cells cells;
    const uint8* luma;  // [height] rows of width pixels, 0..255 full range
    uint8* y;           // [even height] rows of even width; null: no NV12
    uint8* cbcr;        // [even height / 2] rows of even width: Cb, Cr, Cb, Cr...
    uint8* picture;     // [height] rows of width x 3: sRGB as bytes; null: none
    int64 luma_pitch, y_pitch, cbcr_pitch, picture_pitch;  // bytes from row to row; may be negative
    int width, height;
    int bt709;   // 1: BT.709; 0: BT.601
    int left;    // siting of chroma: 1: on the left pixel of each 2x2 block (MPEG-2, H.264's default); 0: its centre
    int bgr;     // order of `picture`: 1: B, G, R; 0: R, G, B
    int unused;
};

struct FilterParams {
    const void* ab;             // [2][height][width], of the newest frame
    const float* previous_ab;   // [2][height][width], the last result; null: nothing to go on from
    const uint8* luma;          // [height][width], mean luma of the cells, newest frame
    const uint8* previous_luma; // the same of the frame before
    float* out;                 // [2][height][width]; may be previous_ab
    int width, height;
    int half;                   // as above, of `ab`
    float smoothing;            // share of the previous chroma where nothing moves, 0..1
};

struct CellLumaParams {
    const uint8* luma;  // [height] rows of width pixels
    uint8* out;         // [cells_height][cells_width]
    int64 luma_pitch;
    int width, height, cells_width, cells_height;
};

struct GreyParams {  // GPU only
    float* ab;     // [values]
    int* is_grey;  // becomes 1 where all of `ab` was made grey, else 0
    int values;
    int unused;
};

// ---- Colour of one pixel --------------------------------------------------------------------------------------------

constexpr float kDelta = 6.0f / 29;  // CIE 15, section 8.2.1
constexpr float kSlope = 3 * kDelta * kDelta;

// The sRGB curve of IEC 61966-2-1, linear light 0..1 to levels 0..255: straight up to kToe, from there on
// above(x) / below(x), off by at most 0.03 levels. Fitted by iterated weighted least squares (Lawson's algorithm).
constexpr double kToe = 0.0031308, kToeSlope = 255 * 12.92;

template <typename Real>
BOTH constexpr Real above(Real x) {
    return (((Real(219461.7) * x + Real(1100240.6)) * x + Real(272116.97)) * x + Real(5297.125)) * x - Real(2.8083851);
}

template <typename Real>
BOTH constexpr Real below(Real x) {
    return ((Real(3426.549) * x + Real(2653.91)) * x + Real(180.9935)) * x + 1;
}

BOTH float clipped(float x) {
#if defined(__CUDA_ARCH__)
    return __saturatef(x);
#else
    const float positive = x > 0 ? x : 0;
    return positive < 1 ? positive : 1;
#endif
}

BOTH float reciprocal(float x) {
#if defined(__CUDA_ARCH__)
    return __fdividef(1.0f, x);
#else
    return 1 / x;
#endif
}

// f of CIELAB to X / Xn, Y / Yn or Z / Zn.
BOTH float inverse_f(float t) {
    const float cube = t * t * t;
    const float straight = (t - 4.0f / 29) * kSlope;
    return t > kDelta ? cube : straight;
}

struct Colour {
    float r, g, b;  // sRGB, 0..255, not rounded
};

BOTH float level_of(float x, float bent) {
    const float straight = x * float(kToeSlope);
    return x > float(kToe) ? bent : straight;
}

// Linear light, clipped to 0..1, to sRGB. The three quotients share one division.
BOTH Colour srgb_of(float linear_r, float linear_g, float linear_b) {
    const float r = clipped(linear_r), g = clipped(linear_g), b = clipped(linear_b);
    const float below_r = below(r), below_g = below(g), below_b = below(b), below_gb = below_g * below_b;
    const float whole = reciprocal(below_r * below_gb), part = whole * below_r;
    return {level_of(r, above(r) * (below_gb * whole)), level_of(g, above(g) * (below_b * part)),
            level_of(b, above(b) * (below_g * part))};
}

// f is (L + 16) / 116, a is a / 500, b is b / 200. The matrix is that of IEC 61966-2-1, its columns times the D65 white
// and its rows normalised to a sum of 1, so that a grey has three equal values.
BOTH Colour colour_of(float f, float a, float b) {
    const float y = inverse_f(f), x = inverse_f(f + a) - y, z = inverse_f(f - b) - y;
    return srgb_of(y + 3.07995511f * x - 0.54281610f * z, y - 0.92125863f * x + 0.04524751f * z,
                   y + 0.05288740f * x + 1.15113847f * z);
}

// (L + 16) / 116 of the 256 greys, as the inverse of the curve above: so a grey pixel comes out as it came in, although
// the curve is approximated.
struct Lightness {
    float f[256];
};

BOTH constexpr double inverse_curve(double level) {
    double low = 0, high = 1;
    for (int step = 0; step < 48; ++step) {
        const double middle = (low + high) / 2;
        (above(middle) < level * below(middle) ? low : high) = middle;
    }
    return low;
}

BOTH constexpr double cube_root(double x) {
    double root = 1;
    for (int step = 0; step < 12; ++step) root -= (root - x / (root * root)) / 3;
    return root;
}

BOTH constexpr Lightness lightness_of_greys() {
    Lightness table{};
    for (int level = 0; level < 256; ++level) {
        const double linear = level < kToe * kToeSlope ? level / kToeSlope : inverse_curve(level);
        const double delta = 6.0 / 29;
        const bool straight = linear <= delta * delta * delta;
        table.f[level] = float(straight ? linear / (3 * delta * delta) + 4.0 / 29 : cube_root(linear));
    }
    return table;
}

#if defined(__CUDACC__)
__constant__
#endif
    constexpr Lightness kLightness = lightness_of_greys();

// With a residual (in units of L) the lightness stays within 0..100.
BOTH float with_residual(float f, float residual) {
    const float sum = f + residual * (1.0f / 116);
    const float above = sum > 16.0f / 116 ? sum : 16.0f / 116;
    return above < 1 ? above : 1;
}

// ---- Y'CbCr ---------------------------------------------------------------------------------------------------------

// ITU-R BT.601-7 and BT.709-6: Y' from R'G'B'; Cb and Cr from B' - Y' and R' - Y'. All in levels of 0..255.
struct Matrix {
    float r, g, b, cb, cr;
};

BOTH Matrix matrix_of(int bt709) {
    const float r = bt709 ? 0.2126f : 0.299f, b = bt709 ? 0.0722f : 0.114f;
    return {r, 1 - r - b, b, 112.0f / 255 / (1 - b), 112.0f / 255 / (1 - r)};
}

BOTH float grey_of(const Matrix& matrix, Colour colour) {
    return matrix.r * colour.r + matrix.g * colour.g + matrix.b * colour.b;
}

BOTH uint8 rounded(float level) { return uint8(int(level + 0.5f)); }  // of 0..255, by construction

BOTH uint8 luma_level(float grey) { return rounded(16 + grey * (219.0f / 255)); }

// `chroma` is the weighted sum over the block of B' - Y' or R' - Y', `scale` the matrix's factor over the weights' sum.
BOTH uint8 chroma_level(float chroma, float scale) { return rounded(128 + chroma * scale); }

// ---- Chroma cells ---------------------------------------------------------------------------------------------------

BOTH float from_half(unsigned short bits) {
#if defined(__CUDA_ARCH__)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    // Shifted into a float's place, the exponent is off by 112: one product mends it, for subnormals too.
    const unsigned magnitude = (bits & 0x7fffu) << 13;
    const unsigned special = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
    float value;
    memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112f;
    unsigned whole;
    memcpy(&whole, &value, sizeof whole);
    whole |= special | (bits & 0x8000u) << 16;
    memcpy(&value, &whole, sizeof value);
    return value;
#endif
}

BOTH float load(const void* values, int half, int64 index) {
    return half ? from_half(static_cast<const unsigned short*>(values)[index])
                : static_cast<const float*>(values)[index];
}

// From the bits: a compiler that may take all numbers for finite does not see through it.
BOTH bool is_finite(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

struct Chroma {
    float a, b;  // a / 500 and b / 200
};

BOTH float within_128(float value) { return value < -128 ? -128.0f : value > 128 ? 128.0f : value; }

// Grey where a or b is not finite; within -128..128.
BOTH Chroma chroma_of(float a, float b) {
    const bool is_colour = is_finite(a) & is_finite(b);
    return {is_colour ? within_128(a) * (1.0f / 500) : 0.0f, is_colour ? within_128(b) * (1.0f / 200) : 0.0f};
}

BOTH Chroma cell_chroma(const Cells& cells, int64 index) {
    const int64 plane = int64(cells.width) * cells.height;
    return chroma_of(load(cells.ab, cells.half, index), load(cells.ab, cells.half, index + plane));
}

BOTH float cell_residual(const Cells& cells, int64 index) {
    const float residual = load(cells.residual, cells.half, index);
    return is_finite(residual) ? residual : 0;
}

// The cell under a pixel's centre, floor((pixel + 1/2) * cells / pixels), exactly.
BOTH int nearest_cell(int pixel, int cells, int pixels) {
    return int((2 * int64(pixel) + 1) * cells / (2 * int64(pixels)));
}

// The two cells around a pixel's centre along one axis, and the share of the second: bilinear interpolation.
struct Pair {
    int first, second;
    float share;
};

BOTH Pair cells_around(int pixel, int cells, int pixels) {
    const float place = (float(pixel) + 0.5f) * (float(cells) / float(pixels)) - 0.5f;  // 0: the first cell's centre
    const float last = float(cells - 1), above = place > 0 ? place : 0, within = above < last ? above : last;
    const int first = int(within);
    return {first, first + 1 < cells ? first + 1 : first, within - float(first)};
}

// The weights of the four cells around a pixel: joint bilateral upsampling (Kopf et al. 2007), bilinear in space. In
// luma, a cell that differs by d counts 1 / (1 + (d / sigma)^2)^2, which is never 0; all the weights over one common
// denominator, so that one division is enough.
struct Weights {
    float w00, w01, w10, w11;  // their sum is 1

    BOTH float mean(float v00, float v01, float v10, float v11) const {
        return w00 * v00 + w01 * v01 + w10 * v10 + w11 * v11;
    }
};

BOTH float squared(float x) { return x * x; }

BOTH Weights weights_of(float across, float down, float luma, float g00, float g01, float g10, float g11,
                        float per_sigma) {
    const float q00 = 1 + squared((luma - g00) * per_sigma), q01 = 1 + squared((luma - g01) * per_sigma);
    const float q10 = 1 + squared((luma - g10) * per_sigma), q11 = 1 + squared((luma - g11) * per_sigma);
    const float top = q00 * q01, bottom = q10 * q11;
    const float up = 1 - down;
    const float w00 = (1 - across) * up * squared(q01 * bottom), w01 = across * up * squared(q00 * bottom);
    const float w10 = (1 - across) * down * squared(q11 * top), w11 = across * down * squared(q10 * top);
    const float whole = reciprocal(w00 + w01 + w10 + w11);
    return {w00 * whole, w01 * whole, w10 * whole, w11 * whole};
}

// ---- Chroma over time -----------------------------------------------------------------------------------------------

constexpr float kStill = 4, kMoving = 16;  // luma levels: below the first nothing moves, above the second all does

// Mean of 3x3 cells; over the edge the picture is mirrored about its last cell.
BOTH float blurred(const uint8* luma, int column, int row, int width, int height) {
    int sum = 0;
    for (int dy = -1; dy <= 1; ++dy) {
        for (int dx = -1; dx <= 1; ++dx) {
            int x = column + dx < 0 ? 1 : column + dx, y = row + dy < 0 ? 1 : row + dy;
            x = x < width ? x : width - 2;
            y = y < height ? y : height - 2;
            sum += luma[int64(y > 0 ? y : 0) * width + (x > 0 ? x : 0)];
        }
    }
    return float(sum) * (1.0f / 9);
}

// Recursive average of one cell's chroma: still places stop flickering, moving ones do not smear.
BOTH void filter_cell(const FilterParams& params, int column, int row) {
    const int64 cell = int64(row) * params.width + column, plane = int64(params.width) * params.height;
    float keep = 0;
    if (params.previous_ab) {
        const float now = blurred(params.luma, column, row, params.width, params.height);
        const float before = blurred(params.previous_luma, column, row, params.width, params.height);
        const float change = now > before ? now - before : before - now;
        const float motion = (change - kStill) * (1 / (kMoving - kStill));
        keep = params.smoothing * (1 - (motion < 0 ? 0 : motion > 1 ? 1 : motion));
    }
    for (int64 index = cell; index < 2 * plane; index += plane) {
        const float newest = load(params.ab, params.half, index);
        const float previous = keep > 0 ? params.previous_ab[index] : newest;
        params.out[index] = is_finite(previous) ? newest + keep * (previous - newest) : newest;
    }
}

// Mean of the pixels of a cell, each counted by the share of it that lies in the cell; rounded.
BOTH uint8 cell_luma(const CellLumaParams& params, int column, int row) {
    const float across = float(params.width) / float(params.cells_width);
    const float down = float(params.height) / float(params.cells_height);
    const float left = column * across, right = left + across, top = row * down, bottom = top + down;
    float sum = 0, area = 0;
    for (int y = int(top); y < params.height && y < bottom; ++y) {
        const float rows = (y + 1 < bottom ? y + 1 : bottom) - (y > top ? y : top);
        for (int x = int(left); x < params.width && x < right; ++x) {
            const float share = rows * ((x + 1 < right ? x + 1 : right) - (x > left ? x : left));
            sum += share * params.luma[y * params.luma_pitch + x];
            area += share;
        }
    }
    return rounded(sum / area);
}

#if defined(__CUDACC__)
// ---- GPU ------------------------------------------------------------------------------------------------------------
//
// A thread takes 16 columns of two rows: 16-byte accesses where pointers and pitches allow them, x along the threads.
// `edge/kernels/launch.py` has the grid.

constexpr int kColumns = 16;

// A queue of 16 bytes in registers, four of them at a time.
struct alignas(16) Bytes16 {
    unsigned word[4];

    __device__ __forceinline__ unsigned pop() {
        const unsigned first = word[0];
        push(0);
        return first;
    }

    __device__ __forceinline__ void push(unsigned last) {
        word[0] = word[1], word[1] = word[2], word[2] = word[3], word[3] = last;
    }
};

__device__ __forceinline__ bool is_aligned(const void* pointer, int64 pitch) {
    return ((reinterpret_cast<unsigned long long>(pointer) | static_cast<unsigned long long>(pitch)) & 15) == 0;
}

// 16 bytes, or as many as there are before the row's end; after it, the last one again.
__device__ __forceinline__ Bytes16 load16(const uint8* from, int count, bool aligned) {
    if (aligned && count >= kColumns) return *reinterpret_cast<const Bytes16*>(from);
    Bytes16 bytes{};
#pragma unroll 1
    for (int index = 0; index < kColumns; index += 4) {
        unsigned word = 0;
        for (int byte = 0; byte < 4; ++byte)
            word |= unsigned(from[index + byte < count ? index + byte : count - 1]) << 8 * byte;
        bytes.push(word);
    }
    return bytes;
}

__device__ __forceinline__ void store16(uint8* to, Bytes16 bytes, int count, bool aligned) {
    if (aligned && count >= kColumns) {
        *reinterpret_cast<Bytes16*>(to) = bytes;
        return;
    }
#pragma unroll 1
    for (int index = 0; index < kColumns; index += 4) {
        const unsigned word = bytes.pop();
        for (int byte = 0; byte < 4; ++byte)
            if (index + byte < count) to[index + byte] = uint8(word >> 8 * byte);
    }
}

// The chroma cells under one row of pixels, stepped through from left to right.
template <bool kGuided>
struct CellRow;

template <>
struct CellRow<false> {
    float a, b, residual;  // of the cell under the pixel
    int row, column;
    unsigned rest;  // of the division that nearest_cell does

    __device__ __forceinline__ CellRow(const MergeParams& params, int first, int line) {
        const unsigned whole = 2u * params.width, place = (2u * first + 1) * params.cells.width;
        row = nearest_cell(line, params.cells.height, params.height);
        column = int(place / whole);
        rest = place % whole;
        load(params.cells);
    }

    __device__ __forceinline__ void step(const MergeParams& params) {
        const unsigned whole = 2u * params.width;
        rest += 2u * params.cells.width;
        if (rest < whole) return;
        column += int(rest / whole);
        rest %= whole;
        load(params.cells);
    }

    __device__ __forceinline__ float at(const MergeParams& params, int, uint8, float f) const {
        return params.cells.residual ? with_residual(f, residual) : f;
    }

    __device__ __forceinline__ void load(const Cells& cells) {
        const int64 index = int64(row) * cells.width + column;
        const Chroma chroma = cell_chroma(cells, index);
        a = chroma.a, b = chroma.b;
        if (cells.residual) residual = cell_residual(cells, index);
    }
};

template <>
struct CellRow<true> {
    float a, b;  // of the pixel that `at` was last called for
    Pair rows;

    __device__ __forceinline__ CellRow(const MergeParams& params, int, int line)
        : rows(cells_around(line, params.cells.height, params.height)) {}

    __device__ __forceinline__ void step(const MergeParams&) {}

    __device__ __forceinline__ float at(const MergeParams& params, int pixel, uint8 luma, float f) {
        const Cells& cells = params.cells;
        const Pair columns = cells_around(pixel, cells.width, params.width);
        const int64 top = int64(rows.first) * cells.width, bottom = int64(rows.second) * cells.width;
        const int64 i00 = top + columns.first, i01 = top + columns.second;
        const int64 i10 = bottom + columns.first, i11 = bottom + columns.second;
        const Weights weights = weights_of(columns.share, rows.share, luma, cells.luma[i00], cells.luma[i01],
                                           cells.luma[i10], cells.luma[i11], reciprocal(cells.guide_sigma));
        const Chroma c00 = cell_chroma(cells, i00), c01 = cell_chroma(cells, i01);
        const Chroma c10 = cell_chroma(cells, i10), c11 = cell_chroma(cells, i11);
        a = weights.mean(c00.a, c01.a, c10.a, c11.a);
        b = weights.mean(c00.b, c01.b, c10.b, c11.b);
        if (!cells.residual) return f;
        return with_residual(f, weights.mean(cell_residual(cells, i00), cell_residual(cells, i01),
                                             cell_residual(cells, i10), cell_residual(cells, i11)));
    }
};

// B' - Y' and R' - Y'.
struct Differences {
    float cb = 0, cr = 0;
};

// One of the two rows of pixels that a thread makes.
template <bool kGuided, bool kPicture>
struct Line {
    CellRow<kGuided> cells;
    const float* lightness;
    Matrix matrix;
    Bytes16 luma, y{}, picture[kPicture ? 3 : 1]{};

    __device__ __forceinline__ Colour colour(const MergeParams& params, int column, uint8 level) {
        const float f = cells.at(params, column, level, lightness[level]);
        return colour_of(f, cells.a, cells.b);
    }

    // Four pixels from `column` on: their words of y and of the picture, and what they add to chroma.
    __device__ __forceinline__ void four(const MergeParams& params, int column, Differences (&sums)[4]) {
        const unsigned levels = luma.pop();
        unsigned y_word = 0, picture_word[3] = {0, 0, 0};
#pragma unroll
        for (int x = 0; x < 4; ++x) {
            const int last = params.width - 1;
            const Colour rgb = colour(params, column + x < last ? column + x : last, uint8(levels >> 8 * x));
            const float grey = grey_of(matrix, rgb);
            y_word |= unsigned(luma_level(grey)) << 8 * x;
            sums[x].cb += rgb.b - grey, sums[x].cr += rgb.r - grey;
            if (column + x < last) cells.step(params);
            if (!kPicture) continue;
            const float levels_of[3] = {params.bgr ? rgb.b : rgb.r, rgb.g, params.bgr ? rgb.r : rgb.b};
            for (int part = 0; part < 3; ++part)
                picture_word[(3 * x + part) / 4] |= unsigned(rounded(levels_of[part])) << 8 * ((3 * x + part) % 4);
        }
        y.push(y_word);
        if (kPicture)
            for (int word = 0; word < 3; ++word) {  // one queue of 48 bytes
                picture[0].push(picture[1].word[0]);
                picture[1].push(picture[2].word[0]);
                picture[2].push(picture_word[word]);
            }
    }
};

template <bool kGuided, bool kPicture>
__device__ __forceinline__ Line<kGuided, kPicture> line_at(const MergeParams& params, const float* lightness,
                                                           int column, int row) {
    const bool aligned = is_aligned(params.luma, params.luma_pitch);
    const uint8* luma = params.luma + row * params.luma_pitch + column;
    return {CellRow<kGuided>(params, column, row), lightness, matrix_of(params.bt709),
            load16(luma, params.width - column, aligned)};
}

// The column before a tile, for chroma that is sited on the left pixel.
template <bool kGuided, bool kPicture>
__device__ __forceinline__ Differences left_of(const MergeParams& params, const float* lightness, int column, int row) {
    const Matrix matrix = matrix_of(params.bt709);
    CellRow<kGuided> cells(params, column, row);
    const uint8 level = params.luma[row * params.luma_pitch + column];
    const float f = cells.at(params, column, level, lightness[level]);
    const Colour rgb = colour_of(f, cells.a, cells.b);
    const float grey = grey_of(matrix, rgb);
    return {rgb.b - grey, rgb.r - grey};
}

// 16 columns of two rows.
template <bool kGuided, bool kPicture>
__device__ __forceinline__ void merge_tile(const MergeParams& params, const float* lightness, int column, int row) {
    const Matrix matrix = matrix_of(params.bt709);
    const int next = row + 1 < params.height ? row + 1 : row;
    auto top = line_at<kGuided, kPicture>(params, lightness, column, row);
    auto bottom = line_at<kGuided, kPicture>(params, lightness, column, next);
    const float left = params.left ? 1.0f : 0.0f, scale = params.left ? 1.0f / 8 : 1.0f / 4;
    Differences before;
    if (params.left) {
        const int previous = column > 0 ? column - 1 : 0;
        const Differences above = left_of<kGuided, kPicture>(params, lightness, previous, row);
        const Differences below = left_of<kGuided, kPicture>(params, lightness, previous, next);
        before = {above.cb + below.cb, above.cr + below.cr};
    }
    Bytes16 chroma{};
#pragma unroll 1
    for (int x = 0; x < kColumns; x += 4) {
        Differences sums[4];
        top.four(params, column + x, sums);
        bottom.four(params, column + x, sums);
        unsigned word = 0;
#pragma unroll
        for (int even = 0; even < 4; even += 2) {
            const Differences first = sums[even], second = sums[even + 1];
            const float cb = second.cb + first.cb + left * (first.cb + before.cb);
            const float cr = second.cr + first.cr + left * (first.cr + before.cr);
            word |= unsigned(chroma_level(cb, matrix.cb * scale)) << 8 * even;
            word |= unsigned(chroma_level(cr, matrix.cr * scale)) << 8 * (even + 1);
            before = second;
        }
        chroma.push(word);
    }
    const int count = params.width - column, even_count = count + params.width % 2;
    if (params.y) {
        uint8* y = params.y + row * params.y_pitch + column;
        const bool aligned = is_aligned(params.y, params.y_pitch);
        store16(y, top.y, even_count, aligned);
        store16(y + params.y_pitch, bottom.y, even_count, aligned);
        store16(params.cbcr + row / 2 * params.cbcr_pitch + column, chroma, even_count,
                is_aligned(params.cbcr, params.cbcr_pitch));
    }
    if (!kPicture) return;
    uint8* picture = params.picture + row * params.picture_pitch + 3 * column;
    const bool aligned = is_aligned(params.picture, params.picture_pitch);
    for (int part = 0; part < 3; ++part) {
        const int offset = part * kColumns, rest = 3 * count - offset;
        store16(picture + offset, top.picture[part], rest, aligned);
        if (next > row) store16(picture + params.picture_pitch + offset, bottom.picture[part], rest, aligned);
    }
}

template <bool kGuided, bool kPicture>
__device__ __forceinline__ void merge(const MergeParams& params) {
    __shared__ float lightness[256];
    const int thread = int(threadIdx.y * blockDim.x + threadIdx.x), threads = int(blockDim.x * blockDim.y);
    for (int level = thread; level < 256; level += threads) lightness[level] = kLightness.f[level];
    __syncthreads();
    const int column = int(blockIdx.x * blockDim.x + threadIdx.x) * kColumns;
    const int row = int(blockIdx.y * blockDim.y + threadIdx.y) * 2;
    if (column < params.width && row < params.height) merge_tile<kGuided, kPicture>(params, lightness, column, row);
}

// 128 threads a block, and so few registers that four blocks fit into a multiprocessor.
#define KERNEL extern "C" __global__ void __launch_bounds__(128, 4)

KERNEL tapetum_merge_nearest(const __grid_constant__ MergeParams params) { merge<false, false>(params); }
KERNEL tapetum_merge_guided(const __grid_constant__ MergeParams params) { merge<true, false>(params); }
KERNEL tapetum_merge_nearest_picture(const __grid_constant__ MergeParams params) { merge<false, true>(params); }
KERNEL tapetum_merge_guided_picture(const __grid_constant__ MergeParams params) { merge<true, true>(params); }

KERNEL tapetum_filter(const __grid_constant__ FilterParams params) {
    const int column = int(blockIdx.x * blockDim.x + threadIdx.x), row = int(blockIdx.y * blockDim.y + threadIdx.y);
    if (column < params.width && row < params.height) filter_cell(params, column, row);
}

KERNEL tapetum_cell_luma(const __grid_constant__ CellLumaParams params) {
    const int column = int(blockIdx.x * blockDim.x + threadIdx.x), row = int(blockIdx.y * blockDim.y + threadIdx.y);
    if (column < params.cells_width && row < params.cells_height)
        params.out[row * params.cells_width + column] = cell_luma(params, column, row);
}

// Where a network failed in one place, none of its colours is to be trusted. One block, as all must know of it.
extern "C" __global__ void __launch_bounds__(1024) tapetum_grey(const __grid_constant__ GreyParams params) {
    __shared__ int is_grey;
    const int thread = int(threadIdx.x), threads = int(blockDim.x);
    if (thread == 0) is_grey = 0;
    __syncthreads();
    bool failed = false;
#pragma unroll 8
    for (int index = thread; index < params.values; index += threads) failed |= !is_finite(params.ab[index]);
    if (failed) is_grey = 1;
    __syncthreads();
    if (is_grey)
        for (int index = thread; index < params.values; index += threads) params.ab[index] = 0;
    if (thread == 0) *params.is_grey = is_grey;
}
#else
// ---- CPU ------------------------------------------------------------------------------------------------------------

namespace {

constexpr int kRun = 8;  // pixels written at once; rows that are drawn out are so much longer

// Where the cells lie under a row of pixels.
struct Columns {
    std::vector<int> start;          // nearest: the first pixel of each cell, and the width
    std::vector<int> first, second;  // guided: the two cells around each pixel
    std::vector<float> share;        // of `second`

    explicit Columns(const MergeParams& params) {
        const int cells = params.cells.width, width = params.width;
        if (!params.cells.luma) {
            start.resize(cells + 1, width);
            for (int cell = 0; cell < cells; ++cell)  // the inverse of nearest_cell
                start[cell] = int((2 * int64(cell) * width + cells - 1) / (2 * int64(cells)));
            return;
        }
        first.resize(width), second.resize(width), share.resize(width);
        for (int x = 0; x < width; ++x) {
            const Pair pair = cells_around(x, cells, width);
            first[x] = pair.first, second[x] = pair.second, share[x] = pair.share;
        }
    }
};

// The values of one row of cells, drawn out to the frame's width.
struct Taps {
    std::vector<float> a, b, residual, luma;
};

struct WideRow {
    int row = -1;
    Taps first, second;
};

// What one thread keeps while it works.
struct Scratch {
    WideRow wide[2];
    Taps cells;                           // one row of cells
    Taps pixels;                          // guided: one row of pixels, upsampled
    std::vector<float> f, greys;          // of one row of pixels
    std::vector<float> cb[2], cr[2];      // B' - Y' and R' - Y' of two rows, with one pixel more at either end

    explicit Scratch(const MergeParams& params) : f(params.width), greys(params.width) {
        const std::size_t width = params.width, cell_columns = params.cells.width;
        cells = taps(params, cell_columns);
        for (WideRow& row : wide) row.first = taps(params, width + kRun);
        if (params.cells.luma) wide[0].second = wide[1].second = pixels = wide[0].first;
        for (int row = 0; row < 2; ++row) cb[row].resize(width + 2), cr[row].resize(width + 2);
    }

    static Taps taps(const MergeParams& params, std::size_t size) {
        const std::size_t residual = params.cells.residual ? size : 0, luma = params.cells.luma ? size : 0;
        using Values = std::vector<float>;
        return {Values(size), Values(size), Values(residual), Values(luma)};
    }
};

BOTH void draw_runs(const std::vector<float>& cells, const std::vector<int>& start, std::vector<float>& wide) {
    float* out = wide.data();
    for (std::size_t cell = 0; cell < cells.size(); ++cell) {
        const float value = cells[cell];
        for (int x = start[cell]; x < start[cell + 1]; x += kRun)  // the next cell writes over what is too much
            for (int step = 0; step < kRun; ++step) out[x + step] = value;
    }
}

BOTH void draw_taps(const std::vector<float>& cells, const std::vector<int>& columns, std::vector<float>& wide) {
    float* __restrict out = wide.data();
    const int width = cells.empty() ? 0 : int(columns.size());
    for (int x = 0; x < width; ++x) out[x] = cells[columns[x]];
}

// One row of cells. The usual case, float32, has a loop of its own, which is vectorised.
BOTH void load_cells(const Cells& cells, int row, Taps& taps) {
    const int64 start = int64(row) * cells.width;
    if (cells.half) {
        for (int cell = 0; cell < cells.width; ++cell) {
            const Chroma chroma = cell_chroma(cells, start + cell);
            taps.a[cell] = chroma.a, taps.b[cell] = chroma.b;
        }
    } else {
        const float* const a_in = static_cast<const float*>(cells.ab) + start;
        const float* const b_in = a_in + int64(cells.width) * cells.height;
        float *__restrict a = taps.a.data(), *__restrict b = taps.b.data();
        const int width = cells.width;
        for (int cell = 0; cell < width; ++cell) {
            const Chroma chroma = chroma_of(a_in[cell], b_in[cell]);
            a[cell] = chroma.a, b[cell] = chroma.b;
        }
    }
    if (cells.residual)
        for (int cell = 0; cell < cells.width; ++cell) taps.residual[cell] = cell_residual(cells, start + cell);
    if (cells.luma)
        for (int cell = 0; cell < cells.width; ++cell) taps.luma[cell] = cells.luma[start + cell];
}

BOTH const WideRow& wide_row(const Cells& cells, int row, const Columns& columns, Scratch& scratch) {
    WideRow& wide = scratch.wide[row % 2];
    if (wide.row == row) return wide;
    wide.row = row;
    load_cells(cells, row, scratch.cells);
    for (auto values : {&Taps::a, &Taps::b, &Taps::residual, &Taps::luma}) {
        if (cells.luma) {
            draw_taps(scratch.cells.*values, columns.first, wide.first.*values);
            draw_taps(scratch.cells.*values, columns.second, wide.second.*values);
        } else {
            draw_runs(scratch.cells.*values, columns.start, wide.first.*values);
        }
    }
    return wide;
}

// Chroma and residual of one row of pixels between two rows of cells.
template <bool kResidual>
BOTH void upsample_row(int width, const uint8* __restrict luma, const float* __restrict share, const WideRow& top,
                       const WideRow& bottom, float down, float per_sigma, Taps& out) {
    const auto mean = [&](const std::vector<float> Taps::*values, const Weights& weights, int x) {
        return weights.mean((top.first.*values)[x], (top.second.*values)[x], (bottom.first.*values)[x],
                            (bottom.second.*values)[x]);
    };
    const float *__restrict g00 = top.first.luma.data(), *__restrict g01 = top.second.luma.data(),
                *__restrict g10 = bottom.first.luma.data(), *__restrict g11 = bottom.second.luma.data();
    float *__restrict a = out.a.data(), *__restrict b = out.b.data(), *__restrict residual = out.residual.data();
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        const Weights weights = weights_of(share[x], down, luma[x], g00[x], g01[x], g10[x], g11[x], per_sigma);
        a[x] = mean(&Taps::a, weights, x);
        b[x] = mean(&Taps::b, weights, x);
        if (kResidual) residual[x] = mean(&Taps::residual, weights, x);
    }
}

BOTH void lightness_row(int width, const uint8* __restrict luma, const float* __restrict residual,
                        float* __restrict f) {
    for (int x = 0; x < width; ++x) {
        unsigned level = luma[x];
        asm("" : "+r"(level));  // keeps the compiler from a gather, which is slower than one load after the other
        f[x] = kLightness.f[level];
    }
    if (!residual) return;
    for (int x = 0; x < width; ++x) f[x] = with_residual(f[x], residual[x]);
}

// Colour of one row of pixels: grey and the chroma differences for NV12, or the picture, or both.
template <bool kVideo, bool kPicture>
BOTH void colour_row(int width, const float* __restrict f, const float* __restrict a, const float* __restrict b,
                     Matrix matrix, int blue, float* __restrict greys, float* __restrict cb, float* __restrict cr,
                     uint8* __restrict picture) {
    for (int x = 0; x < width; ++x) {
        const Colour colour = colour_of(f[x], a[x], b[x]);
        if (kVideo) {
            const float grey = grey_of(matrix, colour);
            greys[x] = grey;
            cb[x] = colour.b - grey;
            cr[x] = colour.r - grey;
        }
        if (kPicture) {
            picture[3 * x + blue] = rounded(colour.b);
            picture[3 * x + 1] = rounded(colour.g);
            picture[3 * x + 2 - blue] = rounded(colour.r);
        }
    }
}

BOTH void luma_row(int width, const float* __restrict greys, uint8* __restrict y) {
    for (int x = 0; x < width; ++x) y[x] = luma_level(greys[x]);
    if (width % 2) y[width] = y[width - 1];
}

// Cb and Cr of a row of 2x2 blocks, from the differences of two rows of pixels.
BOTH void chroma_row(int blocks, int left, Matrix matrix, const float* __restrict cb0, const float* __restrict cb1,
                     const float* __restrict cr0, const float* __restrict cr1, uint8* __restrict out) {
    if (left) {
        for (int block = 0; block < blocks; ++block) {
            const int x = 2 * block;
            const float cb = cb0[x - 1] + cb1[x - 1] + 2 * (cb0[x] + cb1[x]) + cb0[x + 1] + cb1[x + 1];
            const float cr = cr0[x - 1] + cr1[x - 1] + 2 * (cr0[x] + cr1[x]) + cr0[x + 1] + cr1[x + 1];
            out[x] = chroma_level(cb, matrix.cb / 8);
            out[x + 1] = chroma_level(cr, matrix.cr / 8);
        }
        return;
    }
    for (int block = 0; block < blocks; ++block) {
        const int x = 2 * block;
        out[x] = chroma_level(cb0[x] + cb1[x] + cb0[x + 1] + cb1[x + 1], matrix.cb / 4);
        out[x + 1] = chroma_level(cr0[x] + cr1[x] + cr0[x + 1] + cr1[x + 1], matrix.cr / 4);
    }
}

// The chroma cells of one row of pixels, as wide as the frame.
BOTH const Taps& row_of_chroma(const MergeParams& params, const Columns& columns, int row, const uint8* luma,
                               Scratch& scratch) {
    const Cells& cells = params.cells;
    if (!cells.luma)
        return wide_row(cells, nearest_cell(row, cells.height, params.height), columns, scratch).first;
    const Pair pair = cells_around(row, cells.height, params.height);
    const WideRow& top = wide_row(cells, pair.first, columns, scratch);
    const WideRow& bottom = wide_row(cells, pair.second, columns, scratch);
    const float* share = columns.share.data();
    const float per_sigma = 1 / cells.guide_sigma;
    if (cells.residual)
        upsample_row<true>(params.width, luma, share, top, bottom, pair.share, per_sigma, scratch.pixels);
    else
        upsample_row<false>(params.width, luma, share, top, bottom, pair.share, per_sigma, scratch.pixels);
    return scratch.pixels;
}

BOTH void merge_row(const MergeParams& params, const Columns& columns, int row, Scratch& scratch) {
    const int width = params.width, blue = params.bgr ? 0 : 2;
    const uint8* luma = params.luma + row * params.luma_pitch;
    const Taps& chroma = row_of_chroma(params, columns, row, luma, scratch);
    const Matrix matrix = matrix_of(params.bt709);
    uint8* picture = params.picture + row * params.picture_pitch;
    const float *f = scratch.f.data(), *a = chroma.a.data(), *b = chroma.b.data();
    float *greys = scratch.greys.data(), *cb = scratch.cb[row % 2].data() + 1, *cr = scratch.cr[row % 2].data() + 1;
    lightness_row(width, luma, params.cells.residual ? chroma.residual.data() : nullptr, scratch.f.data());
    if (!params.picture)
        colour_row<true, false>(width, f, a, b, matrix, blue, greys, cb, cr, picture);
    else if (!params.y)
        colour_row<false, true>(width, f, a, b, matrix, blue, greys, cb, cr, picture);
    else
        colour_row<true, true>(width, f, a, b, matrix, blue, greys, cb, cr, picture);
    if (params.y) luma_row(width, greys, params.y + row * params.y_pitch);
    for (float* difference : {cb, cr}) difference[-1] = difference[0], difference[width] = difference[width - 1];
}

constexpr int kPairsAtOnce = 16;  // rows of blocks that a thread takes at a time

BOTH void merge_pairs(const MergeParams& params, const Columns& columns, int first, int last, Scratch& scratch) {
    const Matrix matrix = matrix_of(params.bt709);
    for (int pair = first; pair < last; ++pair) {
        const int row = 2 * pair;
        const bool odd = row + 1 == params.height;
        merge_row(params, columns, row, scratch);
        if (!odd) merge_row(params, columns, row + 1, scratch);
        if (!params.y) continue;
        const uint8* y = params.y + row * params.y_pitch;
        if (odd) memcpy(params.y + (row + 1) * params.y_pitch, y, params.width + params.width % 2);
        const float *cb = scratch.cb[0].data() + 1, *cr = scratch.cr[0].data() + 1;
        chroma_row((params.width + 1) / 2, params.left, matrix, cb, odd ? cb : scratch.cb[1].data() + 1, cr,
                   odd ? cr : scratch.cr[1].data() + 1, params.cbcr + pair * params.cbcr_pitch);
    }
}

// The same function for several instruction sets: the loops above are vectorised for each.
using MergePairs = void (*)(const MergeParams&, const Columns&, int, int, Scratch&);
#define MERGE_PAIRS_FOR(name, attributes)                                                                           \
    attributes void name(const MergeParams& params, const Columns& columns, int first, int last, Scratch& scratch) { \
        merge_pairs(params, columns, first, last, scratch);                                                          \
    }

#if defined(__x86_64__) && !defined(TAPETUM_ANY_CPU)
#define SEVERAL_CPUS
#endif

MERGE_PAIRS_FOR(merge_pairs_anywhere, )
#if defined(SEVERAL_CPUS)
MERGE_PAIRS_FOR(merge_pairs_avx2, __attribute__((target("avx2,fma"))))
MERGE_PAIRS_FOR(merge_pairs_avx512, __attribute__((target("avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512"))))
#endif

MergePairs best_merge_pairs() {
#if defined(SEVERAL_CPUS)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    if (avx2 && avx512) return merge_pairs_avx512;
    if (avx2) return merge_pairs_avx2;
#endif
    return merge_pairs_anywhere;
}

// A frame's rows, taken in strips: a thread whose core is busy takes fewer.
class Job {
   public:
    explicit Job(const MergeParams& params) : params_(params), columns_(params) {}

    void work() {
        const MergePairs merge = best_merge_pairs();
        const int pairs = (params_.height + 1) / 2;
        int first = next_.fetch_add(kPairsAtOnce);
        if (first >= pairs) return;
        Scratch scratch(params_);
        for (; first < pairs; first = next_.fetch_add(kPairsAtOnce))
            merge(params_, columns_, first, first + kPairsAtOnce < pairs ? first + kPairsAtOnce : pairs, scratch);
    }

   private:
    const MergeParams& params_;
    const Columns columns_;
    std::atomic<int> next_{0};
};

// Threads that help with one job at a time. Nobody waits for a thread that has not begun, so that a busy core delays
// nothing, and a process that was forked, which has no helpers, works on.
class Helpers {
   public:
    void help(Job& job, int wanted) {
        std::unique_lock<std::mutex> lock(mutex_);
        if (job_) {  // another frame has them
            lock.unlock();
            return job.work();
        }
        start(wanted);
        job_ = &job;
        places_ = wanted;
        lock.unlock();
        for (int helper = 0; helper < wanted; ++helper) called_.notify_one();
        job.work();
        lock.lock();
        places_ = 0;
        left_.wait(lock, [this] { return helping_ == 0; });
        job_ = nullptr;
    }

   private:
    void start(int wanted) {
        try {
            for (; started_ < wanted; ++started_) std::thread([this] { run(); }).detach();
        } catch (const std::system_error&) {
            // No more threads to be had: those that there are do the work.
        }
    }

    void run() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            called_.wait(lock, [this] { return places_ > 0; });
            --places_, ++helping_;
            Job& job = *job_;
            lock.unlock();
            job.work();
            lock.lock();
            if (--helping_ == 0) left_.notify_one();
        }
    }

    std::mutex mutex_;
    std::condition_variable called_, left_;
    Job* job_ = nullptr;
    int started_ = 0, places_ = 0, helping_ = 0;
};

Helpers& helpers() {
    static Helpers* const all = new Helpers;  // never destroyed: its threads outlive main
    return *all;
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int tapetum_params_bytes(int which) {
    return int(which == 0 ? sizeof(MergeParams) : which == 1 ? sizeof(FilterParams) : sizeof(CellLumaParams));
}

EXPORTED void tapetum_merge(const MergeParams* params, int threads) {
    Job job(*params);
    threads > 1 ? helpers().help(job, threads - 1) : job.work();
}

EXPORTED void tapetum_filter(const FilterParams* params) {
    for (int row = 0; row < params->height; ++row)
        for (int column = 0; column < params->width; ++column) filter_cell(*params, column, row);
}
#endif
