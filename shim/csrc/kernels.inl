// Included by one file for each instruction set, which names the namespace. Vectors are GCC's and Clang's vector
// extension: 16 floats are one register with AVX-512 and several elsewhere. Only int8 products (VNNI), bf16 products
// (AVX512_BF16) and widening bf16 need an instruction by name.
#include <cmath>
#include <cstring>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "kernels.h"

namespace gauntlet {
namespace {

typedef float v16 __attribute__((vector_size(64)));
typedef float v16u __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef int8_t b16 __attribute__((vector_size(16)));
typedef uint16_t h16 __attribute__((vector_size(32)));
typedef uint16_t h16u __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint32_t u16x32 __attribute__((vector_size(64)));
typedef uint32_t u16x32u __attribute__((vector_size(64), aligned(4), may_alias));

inline v16 load(const float* p) { return *(const v16u*)p; }
inline void store(float* p, v16 v) { *(v16u*)p = v; }
inline v16 load(const uint16_t* p) {
#ifdef __AVX512F__
  // From the vector extension GCC makes this of five instructions that compete with the products.
  // Masked by all ones: GCC warns of what the plain one leaves out.
  return (v16)((u16x32)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256((const __m256i*)p)) << 16);
#endif
  h16 h = *(const h16u*)p;
  u16x32 wide = __builtin_convertvector(h, u16x32) << 16;
  return (v16)wide;
}
inline u16x32 words(const uint32_t* p) { return *(const u16x32u*)p; }
inline v16 splat(float x) { return x - (v16){}; }

inline void store(uint16_t* p, v16 v) {
  const u16x32 bits = (u16x32)v, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const u16x32 halves = v == v ? rounded : (bits >> 16) | 64;  // NaN stays NaN
#ifdef __AVX512F__
  _mm256_storeu_si256((__m256i*)p, _mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)halves));
#else
  *(h16u*)p = __builtin_convertvector(halves, h16);
#endif
}
inline uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)((bits >> 16) | 64);  // NaN stays NaN
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline void put(float* p, float x) { *p = x; }
inline void put(uint16_t* p, float x) { *p = to_bf16(x); }

inline float sum(v16 v) {
  float s = 0;
  for (int i = 0; i < 16; i++) s += v[i];
  return s;
}

// e^x to about 2 ulp: x = n ln 2 + r with |r| <= ln 2 / 2, and the Taylor polynomial of degree 6 in r.
inline v16 exp16(v16 x) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number in the low bits
  x = x < splat(-87.0f) ? splat(-87.0f) : x;
  x = x > splat(88.0f) ? splat(88.0f) : x;
  v16 t = x * 1.44269504f + magic;
  v16 n = t - magic;
  v16 r = x - n * 0.693359375f + n * 2.12194440e-4f;
  v16 p = splat(1.0f / 720);
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  i16 power = (((i16)t - (i16)splat(magic)) + 127) << 23;
  return p * (v16)power;
}

int64_t tiles(int64_t n) { return (n + TILE - 1) / TILE; }
int64_t groups(int64_t k) { return (k + GROUP - 1) / GROUP; }

// ---- packing ----

inline float to_float(float x) { return x; }
inline float to_float(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}
inline void put(uint16_t* p, uint16_t x) { *p = x; }
inline void put(float* p, uint16_t x) { *p = to_float(x); }

// A tile in f32 or bf16: words of four bytes, as many values of a row as fit, turned over in blocks of 32 inputs, each
// in the first-level cache. A row that is null is of zeros.
template <typename W, typename T>
void pack_words(const W* const* rows, int64_t k, uint32_t* to) {
  constexpr int64_t IN_WORD = sizeof(uint32_t) / sizeof(T);
  T block[TILE][TILE];
  for (int64_t from = 0; from < k; from += TILE) {
    const int64_t width = k - from < TILE ? k - from : TILE;
    for (int64_t j = 0; j < TILE; j++) {
      if (rows[j] && width == TILE)
        for (int64_t i = 0; i < TILE; i++) put(&block[j][i], rows[j][from + i]);
      else
        for (int64_t i = 0; i < TILE; i++) put(&block[j][i], rows[j] && i < width ? rows[j][from + i] : W{});
    }
    for (int64_t i = 0; i < width; i += IN_WORD)
      for (int64_t j = 0; j < TILE; j++) std::memcpy(to++, &block[j][i], sizeof(uint32_t));
  }
}

// The largest of |x| over a group.
inline float magnitude(const float* x) {
  v16 most{};
  for (int64_t j = 0; j < GROUP; j += 16) {
    const v16 v = load(x + j), a = v < 0 ? -v : v;
    most = a > most ? a : most;
  }
  float largest = most[0];
  for (int i = 1; i < 16; i++) largest = most[i] > largest ? most[i] : largest;
  return largest;
}

// One row in int8 with its scales; `to` and `scales` are those of its place in the tile. A row that is null is of zeros.
template <typename W>
void pack_int8(const W* row, int64_t k, uint8_t* to, float* scales) {
  for (int64_t from = 0; from < k; from += GROUP, to += GROUP * TILE, scales += TILE) {
    float x[GROUP];
    if (row && from + GROUP <= k)
      for (int64_t i = 0; i < GROUP; i++) x[i] = to_float(row[from + i]);
    else
      for (int64_t i = 0; i < GROUP; i++) x[i] = row && from + i < k ? to_float(row[from + i]) : 0;
    const float largest = magnitude(x), inverse = largest > 0 ? 127 / largest : 0;
    *scales = largest / 127;
    for (int64_t i = 0; i < GROUP; i += 16) {
      const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
      const i16 v = __builtin_convertvector(load(x + i) * inverse + magic - magic, i16);
      const b16 bytes = __builtin_convertvector(v + 128, b16);
      for (int j = 0; j < 4; j++) std::memcpy(to + (i / 4 + j) * TILE * 4, (const int8_t*)&bytes + j * 4, 4);
    }
  }
}

template <typename W>
void pack_rows(const Rows* parts, int64_t count, Packed* out) {
  const int64_t n = out->n, k = out->k, nt = tiles(n), ng = groups(k);
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < nt; t++) {
    const W* rows[TILE] = {};
    int64_t first = 0;
    for (const Rows* part = parts; part < parts + count; first += part++->n) {
      for (int64_t j = 0; j < TILE; j++) {
        const int64_t row = t * TILE + j - first;
        if (row >= 0 && row < part->n) rows[j] = (const W*)part->weight + row * k;
      }
    }
    if (out->precision == F32) {
      pack_words<W, float>(rows, k, (uint32_t*)out->weights + t * k * TILE);
    } else if (out->precision == BF16) {
      pack_words<W, uint16_t>(rows, k, (uint32_t*)out->weights + t * ((k + 1) / 2) * TILE);
    } else {
      uint8_t* to = (uint8_t*)out->weights + t * ng * GROUP * TILE;
      for (int64_t j = 0; j < TILE; j++) pack_int8(rows[j], k, to + j * 4, out->scales + t * ng * TILE + j);
    }
  }
}

void pack(const Rows* parts, int64_t count, int32_t bf16, Packed* out) {
  return bf16 ? pack_rows<uint16_t>(parts, count, out) : pack_rows<float>(parts, count, out);
}

// ---- products ----

// Rows of activations that go through a tile together, at most; there are registers for the sums of as many.
constexpr int64_t MOST_ROWS = 12;

// How many: as even as can be.
inline int64_t rows_together(int64_t m) {
  const int64_t blocks = (m + MOST_ROWS - 1) / MOST_ROWS;
  return (m + blocks - 1) / blocks;
}

// Rows in blocks, [block][k][rows], so that a tile reads what it broadcasts from one place.
const float* interleave(const float* x, int64_t m, int64_t k, float* to) {
  const int64_t most = rows_together(m);
  if (most == 1) return x;
#pragma omp parallel for schedule(static) if (m * k > 1 << 15)
  for (int64_t first = 0; first < m; first += most) {
    const int64_t rows = m - first < most ? m - first : most;
    float* block = to + first * k;
    for (int64_t from = 0; from < k; from += 16)
      for (int64_t row = 0; row < rows; row++)
        for (int64_t i = from; i < k && i < from + 16; i++) block[i * rows + row] = x[(first + row) * k + i];
  }
  return to;
}

#ifdef __AVX512BF16__
// The same in bf16: words of two inputs, [block][k / 2][rows]; the partner of an odd last input is zero.
const uint32_t* interleave_pairs(const float* x, int64_t m, int64_t k, uint32_t* to) {
  const int64_t most = rows_together(m), words = (k + 1) / 2;
#pragma omp parallel for schedule(static) if (m * k > 1 << 15)
  for (int64_t first = 0; first < m; first += most) {
    const int64_t rows = m - first < most ? m - first : most;
    uint32_t* block = to + first * words;
    for (int64_t from = 0; from < words; from += 16)
      for (int64_t row = 0; row < rows; row++) {
        const float* at = x + (first + row) * k + from * 2;
        float padded[32] = {};
        if (k - from * 2 < 32) {
          std::memcpy(padded, at, (k - from * 2) * sizeof(float));
          at = padded;
        }
        uint32_t pairs[16];
        _mm512_storeu_si512(pairs, (__m512i)_mm512_cvtne2ps_pbh((__m512)load(at + 16), (__m512)load(at)));
        for (int64_t i = from; i < words && i < from + 16; i++) block[i * rows + row] = pairs[i - from];
      }
  }
  return to;
}

// Adds x [pairs, MR] W to y [MR, 32] for one tile of bf16, two products a lane.
template <int MR>
void tile_pairs(const uint32_t* x, const uint32_t* w, int64_t pairs, float* y, int64_t ldy) {
  __m512 acc[MR][2] = {};
  for (int64_t k = 0; k < pairs; k++, w += TILE, x += MR) {
    const __m512bh w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + 16);
    for (int m = 0; m < MR; m++) {
      const __m512bh a = (__m512bh)_mm512_set1_epi32((int32_t)x[m]);
      acc[m][0] = _mm512_dpbf16_ps(acc[m][0], w0, a);
      acc[m][1] = _mm512_dpbf16_ps(acc[m][1], w1, a);
    }
  }
  for (int m = 0; m < MR; m++) {
    store(y + m * ldy, load(y + m * ldy) + (v16)acc[m][0]);
    store(y + m * ldy + 16, load(y + m * ldy + 16) + (v16)acc[m][1]);
  }
}
#endif

// Value `i` of each word of f32 or of bf16.
inline v16 value(u16x32 words, int, float) { return (v16)words; }
inline v16 value(u16x32 words, int i, uint16_t) { return (v16)(i ? words & 0xffff0000 : words << 16); }

// Adds x [kc, MR] W to y [MR, 32] for one tile of f32 or bf16.
template <int MR, typename T>
void tile_float(const float* x, const uint32_t* w, int64_t kc, float* y, int64_t ldy) {
  constexpr int IN_WORD = sizeof(uint32_t) / sizeof(T);
  v16 acc[MR][2] = {};
  const auto add = [&](u16x32 w0, u16x32 w1, int i) {
    const v16 b0 = value(w0, i, T{}), b1 = value(w1, i, T{});
    for (int m = 0; m < MR; m++) {
      acc[m][0] += x[m] * b0;
      acc[m][1] += x[m] * b1;
    }
    x += MR;
  };
  int64_t k = 0;
  for (; k + IN_WORD <= kc; k += IN_WORD, w += TILE)
    for (int i = 0; i < IN_WORD; i++) add(words(w), words(w + 16), i);
  if (k < kc) add(words(w), words(w + 16), 0);
  for (int m = 0; m < MR; m++) {
    store(y + m * ldy, load(y + m * ldy) + acc[m][0]);
    store(y + m * ldy + 16, load(y + m * ldy + 16) + acc[m][1]);
  }
}

// Products with weights of T in float32.
template <typename T>
struct Plain {
  typedef float X;
  static constexpr int64_t IN_X = 1;
  static const X* arrange(const float* x, int64_t m, int64_t k, void* to) { return interleave(x, m, k, (float*)to); }
  template <int MR>
  static void tile(const X* x, const uint32_t* w, int64_t kc, float* y, int64_t ldy) {
    tile_float<MR, T>(x, w, kc, y, ldy);
  }
};

#ifdef __AVX512BF16__
// Products of bf16, activations too.
struct Bf16 {
  typedef uint32_t X;
  static constexpr int64_t IN_X = 2;
  static const X* arrange(const float* x, int64_t m, int64_t k, void* to) {
    return interleave_pairs(x, m, k, (uint32_t*)to);
  }
  template <int MR>
  static void tile(const X* x, const uint32_t* w, int64_t kc, float* y, int64_t ldy) {
    tile_pairs<MR>(x, w, (kc + 1) / 2, y, ldy);
  }
};
#else
typedef Plain<uint16_t> Bf16;
#endif

// Adds x W to y for one tile and all of x [m, k], arranged, whose inputs from `from` on the weights are.
template <typename Products>
void rows_float(const void* x, int64_t m, int64_t k, int64_t from, const uint32_t* w, int64_t kc, float* y,
                int64_t ldy) {
  constexpr int64_t IN_X = Products::IN_X;
  const int64_t most = rows_together(m), length = (k + IN_X - 1) / IN_X;
  for (int64_t i = 0; i < m; i += most) {
    const int64_t rows = m - i < most ? m - i : most;
    const typename Products::X* a = (const typename Products::X*)x + i * length + from / IN_X * rows;
    float* to = y + i * ldy;
    switch (rows) {
#define GAUNTLET_CASE(R) case R: Products::template tile<R>(a, w, kc, to, ldy); break;
      GAUNTLET_CASE(1) GAUNTLET_CASE(2) GAUNTLET_CASE(3) GAUNTLET_CASE(4) GAUNTLET_CASE(5) GAUNTLET_CASE(6)
      GAUNTLET_CASE(7) GAUNTLET_CASE(8) GAUNTLET_CASE(9) GAUNTLET_CASE(10) GAUNTLET_CASE(11)
#undef GAUNTLET_CASE
      default: Products::template tile<MOST_ROWS>(a, w, kc, to, ldy);
    }
  }
}

// Activations in int8. Rows stand in blocks of `rows` (the last block may be shorter), so that a tile reads what it
// broadcasts from one place: values [block][groups * 16][rows][4]; sums and scales [m, groups].
struct Quantized {
  int8_t* values;
  int32_t* sums;
  float* scales;
  int64_t groups, rows;
};

void quantize_group(const float* x, int64_t count, int8_t* to, int64_t stride, int32_t* sum, float* scale) {
  float padded[GROUP];
  if (count < GROUP) {
    for (int64_t j = 0; j < GROUP; j++) padded[j] = j < count ? x[j] : 0;
    x = padded;
  }
  const float largest = magnitude(x), inverse = largest > 0 ? 127 / largest : 0;
  i16 total{};
  for (int64_t j = 0; j < GROUP; j += 16) {
    const v16 scaled = load(x + j) * inverse;
    const i16 v = __builtin_convertvector(scaled + (scaled < 0 ? splat(-0.5f) : splat(0.5f)), i16);
    total += v;
    const b16 bytes = __builtin_convertvector(v, b16);
    for (int i = 0; i < 4; i++) std::memcpy(to + (j / 4 + i) * stride, (const int8_t*)&bytes + i * 4, 4);
  }
  int32_t all = 0;
  for (int i = 0; i < 16; i++) all += total[i];
  *sum = all;
  *scale = largest / 127;
}

Quantized quantize(const float* x, int64_t m, int64_t k, void* scratch) {
  Quantized q;
  q.groups = groups(k);
  q.values = (int8_t*)scratch;
  q.sums = (int32_t*)(q.values + m * q.groups * GROUP);
  q.scales = (float*)(q.sums + m * q.groups);
  q.rows = rows_together(m);
#pragma omp parallel for schedule(static) if (m > 4)
  for (int64_t i = 0; i < m; i++) {
    const int64_t first = i / q.rows * q.rows, rows = m - first < q.rows ? m - first : q.rows;
    int8_t* to = q.values + first * q.groups * GROUP + (i - first) * 4;
    for (int64_t g = 0; g < q.groups; g++) {
      const int64_t from = g * GROUP, count = from + GROUP < k ? GROUP : k - from, at = i * q.groups + g;
      quantize_group(x + i * k + from, count, to + from * rows, rows * 4, q.sums + at, q.scales + at);
    }
  }
  return q;
}

// acc[lane] + the four products of lane's unsigned bytes with the same four signed bytes.
inline i16 dot4(i16 acc, const uint8_t* w, const int8_t* a) {
#ifdef __AVX512VNNI__
  int32_t four;
  std::memcpy(&four, a, 4);
  return (i16)_mm512_dpbusd_epi32((__m512i)acc, _mm512_loadu_si512(w), _mm512_set1_epi32(four));
#else
  for (int lane = 0; lane < 16; lane++)
    for (int j = 0; j < 4; j++) acc[lane] += (int32_t)w[lane * 4 + j] * a[j];
  return acc;
#endif
}

template <int MR>
void tile_int8(const Quantized& q, int64_t row, int64_t g0, int64_t ng, const uint8_t* w, const float* ws, float* y,
               int64_t ldy) {
  v16 out[MR][2] = {};
  const int8_t* a = q.values + row * q.groups * GROUP + g0 * GROUP * MR;
  for (int64_t g = 0; g < ng; g++) {
    i16 acc[MR][2];
    for (int m = 0; m < MR; m++) {
      // The weights are stored with 128 added, so 128 times the sum of the activations is taken off.
      const int32_t start = -128 * q.sums[(row + m) * q.groups + g0 + g];
      acc[m][0] = acc[m][1] = start - (i16){};
    }
    for (int k = 0; k < GROUP / 4; k++) {
      for (int m = 0; m < MR; m++) {
        acc[m][0] = dot4(acc[m][0], w, a + m * 4);
        acc[m][1] = dot4(acc[m][1], w + 64, a + m * 4);
      }
      w += TILE * 4;
      a += MR * 4;
    }
    const v16 s0 = load(ws + g * TILE), s1 = load(ws + g * TILE + 16);
    for (int m = 0; m < MR; m++) {
      const float scale = q.scales[(row + m) * q.groups + g0 + g];
      out[m][0] += __builtin_convertvector(acc[m][0], v16) * (s0 * scale);
      out[m][1] += __builtin_convertvector(acc[m][1], v16) * (s1 * scale);
    }
  }
  for (int m = 0; m < MR; m++) {
    store(y + m * ldy, load(y + m * ldy) + out[m][0]);
    store(y + m * ldy + 16, load(y + m * ldy + 16) + out[m][1]);
  }
}

void rows_int8(const Quantized& q, int64_t m, int64_t g0, int64_t ng, const uint8_t* w, const float* ws, float* y,
               int64_t ldy) {
  for (int64_t i = 0; i < m; i += q.rows) {
    float* to = y + i * ldy;
    switch (m - i < q.rows ? m - i : q.rows) {
#define GAUNTLET_CASE(R) case R: tile_int8<R>(q, i, g0, ng, w, ws, to, ldy); break;
      GAUNTLET_CASE(1) GAUNTLET_CASE(2) GAUNTLET_CASE(3) GAUNTLET_CASE(4) GAUNTLET_CASE(5) GAUNTLET_CASE(6)
      GAUNTLET_CASE(7) GAUNTLET_CASE(8) GAUNTLET_CASE(9) GAUNTLET_CASE(10) GAUNTLET_CASE(11)
#undef GAUNTLET_CASE
      default: tile_int8<MOST_ROWS>(q, i, g0, ng, w, ws, to, ldy);
    }
  }
}

void linear(const Packed* p, const float* x, int64_t m, float* y, int32_t add, void* scratch) {
  const int64_t n = p->n, k = p->k, nt = tiles(n);
  Quantized q{};
  const void* arranged = nullptr;
  if (p->precision == I8)
    q = quantize(x, m, k, scratch);
  else if (p->precision == BF16)
    arranged = Bf16::arrange(x, m, k, scratch);
  else
    arranged = Plain<float>::arrange(x, m, k, scratch);
  const int64_t chunk = nt / 64 > 1 ? nt / 64 : 1;
#pragma omp parallel
  {
    // The last tile may be narrower than 32: it is computed beside y and copied.
    float* edge = nullptr;
#pragma omp for schedule(dynamic, chunk)
    for (int64_t t = 0; t < nt; t++) {
      const int64_t first = t * TILE, width = n - first < TILE ? n - first : TILE;
      float* to = y + first;
      int64_t ldy = n;
      if (width < TILE) {
        edge = new float[m * TILE];
        to = edge;
        ldy = TILE;
      }
      float bias[TILE] = {};
      for (int64_t j = 0; p->bias && j < width; j++) bias[j] = p->bias[first + j];
      const v16 b0 = load(bias), b1 = load(bias + 16);
      for (int64_t i = 0; i < m; i++) {
        if (edge)
          for (int64_t j = 0; j < TILE; j++) to[i * TILE + j] = add && j < width ? y[i * n + first + j] : 0;
        float* row = to + i * ldy;
        store(row, (add || edge ? load(row) : (v16){}) + b0);
        store(row + 16, (add || edge ? load(row + 16) : (v16){}) + b1);
      }
      // Weights of one step stay in the first-level cache while all rows pass over them.
      if (p->precision == I8) {
        constexpr int64_t STEP = 16;
        const int64_t ng = q.groups;
        for (int64_t g = 0; g < ng; g += STEP) {
          const uint8_t* w = (const uint8_t*)p->weights + (t * ng + g) * GROUP * TILE;
          const int64_t some = ng - g < STEP ? ng - g : STEP;
          rows_int8(q, m, g, some, w, p->scales + (t * ng + g) * TILE, to, ldy);
        }
      } else {
        constexpr int64_t STEP = 256;
        for (int64_t from = 0; from < k; from += STEP) {
          const int64_t some = k - from < STEP ? k - from : STEP;
          if (p->precision == BF16) {
            const uint32_t* w = (const uint32_t*)p->weights + (t * ((k + 1) / 2) + from / 2) * TILE;
            rows_float<Bf16>(arranged, m, k, from, w, some, to, ldy);
          } else {
            const uint32_t* w = (const uint32_t*)p->weights + (t * k + from) * TILE;
            rows_float<Plain<float>>(arranged, m, k, from, w, some, to, ldy);
          }
        }
      }
      if (edge) {
        for (int64_t i = 0; i < m; i++) std::memcpy(y + i * n + first, edge + i * TILE, width * sizeof(float));
        delete[] edge;
        edge = nullptr;
      }
    }
  }
}

// ---- what stands between the products ----

void norm_row(const float* x, const float* weight, int64_t c, float eps, float* y) {
  v16 squares{};
  int64_t j = 0;
  for (; j + 16 <= c; j += 16) squares += load(x + j) * load(x + j);
  float total = sum(squares);
  for (; j < c; j++) total += x[j] * x[j];
  const float scale = 1.0f / std::sqrt(total / (float)c + eps);
  for (j = 0; j + 16 <= c; j += 16) store(y + j, load(x + j) * scale * load(weight + j));
  for (; j < c; j++) y[j] = x[j] * scale * weight[j];
}

void rms_norm(const float* x, const float* weight, int64_t m, int64_t c, float eps, float* y) {
#pragma omp parallel for schedule(static) if (m > 8)
  for (int64_t i = 0; i < m; i++) norm_row(x + i * c, weight, c, eps, y + i * c);
}

void swiglu(const float* x, int64_t m, int64_t width, float* y) {
#pragma omp parallel for schedule(static) if (m > 2)
  for (int64_t i = 0; i < m; i++) {
    const float *gate = x + i * 2 * width, *up = gate + width;
    float* to = y + i * width;
    int64_t j = 0;
    for (; j + 16 <= width; j += 16) {
      const v16 g = load(gate + j);
      store(to + j, g / (1.0f + exp16(-g)) * load(up + j));
    }
    for (; j < width; j++) to[j] = gate[j] / (1.0f + std::exp(-gate[j])) * up[j];
  }
}

template <typename T>
void rope_store_as(float* qkv, const Heads& h, int64_t m, const int64_t* positions, const int64_t* slots,
                   const float* cos, const float* sin, const float* q_norm, const float* k_norm, float eps, T* keys,
                   T* values) {
  const int64_t d = h.width, half = d / 2, row = (h.query + 2 * h.key_value) * d;
#pragma omp parallel for schedule(static) if (m > 4)
  for (int64_t i = 0; i < m; i++) {
    const float *c = cos + positions[i] * d, *s = sin + positions[i] * d;
    const int64_t block = slots[i] / BLOCK, place = slots[i] % BLOCK;
    for (int64_t head = 0; head < h.query + h.key_value; head++) {
      float* x = qkv + i * row + head * d;
      const float* norm = head < h.query ? q_norm : k_norm;
      if (norm) norm_row(x, norm, d, eps, x);
      for (int64_t j = 0; j < half; j++) {
        const float a = x[j], b = x[j + half];
        x[j] = a * c[j] - b * s[j];
        x[j + half] = b * c[j + half] + a * s[j + half];
      }
      if (head >= h.query) {
        const int64_t kv = head - h.query, at = (block * h.key_value + kv) * d * BLOCK;
        const float* v = x + h.key_value * d;
        for (int64_t j = 0; j < d; j++) {
          put(keys + at + j * BLOCK + place, x[j]);
          put(values + at + place * d + j, v[j]);
        }
      }
    }
  }
}

void rope_store(float* qkv, const Heads* heads, int64_t m, const int64_t* positions, const int64_t* slots,
                const float* cos, const float* sin, const float* q_norm, const float* k_norm, float eps,
                const Cache* cache) {
  if (cache->bf16)
    rope_store_as(qkv, *heads, m, positions, slots, cos, sin, q_norm, k_norm, eps, (uint16_t*)cache->keys,
                  (uint16_t*)cache->values);
  else
    rope_store_as(qkv, *heads, m, positions, slots, cos, sin, q_norm, k_norm, eps, (float*)cache->keys,
                  (float*)cache->values);
}

// Scores of N query heads against one block of 16 keys.
template <int N, typename T>
void block_scores(const float* q, int64_t d, const T* keys, float scale, float* scores, int64_t stride) {
  v16 acc[N] = {};
  for (int64_t j = 0; j < d; j++) {
    const v16 k = load(keys + j * BLOCK);
    for (int n = 0; n < N; n++) acc[n] += q[n * d + j] * k;
  }
  for (int n = 0; n < N; n++) store(scores + n * stride, acc[n] * scale);
}

// Adds the values of one block, weighted, to 16 * V columns of N heads.
template <int N, int V, typename T>
void block_values(const float* weights, int64_t stride, int64_t count, const T* values, int64_t d, v16 (*acc)[V]) {
  for (int64_t t = 0; t < count; t++) {
    v16 v[V];
    for (int j = 0; j < V; j++) v[j] = load(values + t * d + j * 16);
    for (int n = 0; n < N; n++)
      for (int j = 0; j < V; j++) acc[n][j] += weights[n * stride + t] * v[j];
  }
}

template <int N, int V, typename T>
void head_values(const float* weights, int64_t stride, int64_t length, const int32_t* table, const T* values,
                 int64_t block_size, int64_t d, float* y) {
  v16 acc[N][V] = {};
  for (int64_t b = 0; b * BLOCK < length; b++) {
    const int64_t count = length - b * BLOCK < BLOCK ? length - b * BLOCK : BLOCK;
    block_values<N, V, T>(weights + b * BLOCK, stride, count, values + table[b] * block_size, d, acc);
  }
  for (int n = 0; n < N; n++)
    for (int j = 0; j < V; j++) store(y + n * d + j * 16, acc[n][j]);
}

// Turns scores into weights that sum to one; what lies beyond `length` becomes zero.
void softmax(float* s, int64_t length, int64_t padded) {
  for (int64_t j = length; j < padded; j++) s[j] = -INFINITY;
  v16 most = splat(-INFINITY);
  for (int64_t j = 0; j < padded; j += 16) most = load(s + j) > most ? load(s + j) : most;
  float largest = most[0];
  for (int i = 1; i < 16; i++) largest = most[i] > largest ? most[i] : largest;
  v16 total{};
  for (int64_t j = 0; j < padded; j += 16) {
    const v16 e = exp16(load(s + j) - largest);
    store(s + j, e);
    total += e;
  }
  // exp16 stops at e^-87, so columns beyond the end are taken out by hand.
  float all = sum(total);
  for (int64_t j = length; j < padded; j++) {
    all -= s[j];
    s[j] = 0;
  }
  const float inverse = 1.0f / all;
  for (int64_t j = 0; j < padded; j += 16) store(s + j, load(s + j) * inverse);
}

template <typename T>
void attend_as(const float* qkv, const Heads& h, int64_t m, const int32_t* tables, int64_t stride,
               const int64_t* lengths, float scale, const T* keys, const T* values, float* y) {
  const int64_t d = h.width, row = (h.query + 2 * h.key_value) * d, shared = h.query / h.key_value;
  const int64_t block_size = h.key_value * d * BLOCK;
  int64_t longest = 0;
  for (int64_t i = 0; i < m; i++) longest = lengths[i] > longest ? lengths[i] : longest;
  const int64_t padded = (longest + BLOCK - 1) / BLOCK * BLOCK;
#pragma omp parallel
  {
    float* scores = new float[shared * padded];
#pragma omp for schedule(dynamic, 4)
    for (int64_t task = 0; task < m * h.key_value; task++) {
      const int64_t i = task / h.key_value, kv = task % h.key_value, length = lengths[i];
      const int32_t* table = tables + i * stride;
      const float* q = qkv + i * row + kv * shared * d;
      const T *k = keys + kv * d * BLOCK, *v = values + kv * d * BLOCK;
      for (int64_t b = 0; b * BLOCK < length; b++) {
        const T* block = k + table[b] * block_size;
        float* to = scores + b * BLOCK;
        int64_t n = 0;
        for (; n + 4 <= shared; n += 4) block_scores<4, T>(q + n * d, d, block, scale, to + n * padded, padded);
        for (; n < shared; n++) block_scores<1, T>(q + n * d, d, block, scale, to + n * padded, padded);
      }
      const int64_t here = (length + BLOCK - 1) / BLOCK * BLOCK;
      for (int64_t n = 0; n < shared; n++) softmax(scores + n * padded, length, here);
      float* out = y + (i * h.query + kv * shared) * d;
      int64_t n = 0;
      for (; n + 4 <= shared; n += 4) {
        int64_t j = 0;
        for (; j + 64 <= d; j += 64)
          head_values<4, 4, T>(scores + n * padded, padded, length, table, v + j, block_size, d, out + n * d + j);
        for (; j < d; j += 16)
          head_values<4, 1, T>(scores + n * padded, padded, length, table, v + j, block_size, d, out + n * d + j);
      }
      for (; n < shared; n++) {
        int64_t j = 0;
        for (; j + 64 <= d; j += 64)
          head_values<1, 4, T>(scores + n * padded, padded, length, table, v + j, block_size, d, out + n * d + j);
        for (; j < d; j += 16)
          head_values<1, 1, T>(scores + n * padded, padded, length, table, v + j, block_size, d, out + n * d + j);
      }
    }
    delete[] scores;
  }
}

void attend(const float* qkv, const Heads* heads, int64_t m, const int32_t* tables, int64_t stride,
            const int64_t* lengths, float scale, const Cache* cache, float* y) {
  if (cache->bf16)
    attend_as(qkv, *heads, m, tables, stride, lengths, scale, (const uint16_t*)cache->keys,
              (const uint16_t*)cache->values, y);
  else
    attend_as(qkv, *heads, m, tables, stride, lengths, scale, (const float*)cache->keys, (const float*)cache->values,
              y);
}

}  // namespace

extern const Kernels GAUNTLET_KERNELS = {pack, linear, rms_norm, swiglu, rope_store, attend};

}  // namespace gauntlet
