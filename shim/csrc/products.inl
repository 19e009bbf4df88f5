// Products of activations with packed weights; behind packing.inl.
//
// A tile of 32 outputs is taken in strips of V vectors, MR rows of activations at a time: as many sums as there are
// registers for, beside what they are made of.

namespace gauntlet {
namespace {

// Registers for vectors, and how many of them may be sums where a weight needs one more and where it needs several.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int REGISTERS = 32;
#else
constexpr int REGISTERS = 16;
#endif
constexpr int SUMS = REGISTERS * 3 / 4;
constexpr int FEWER_SUMS = REGISTERS / 2;

// Vectors in a strip for MR rows: all of the tile while there are registers for them, which reads the weights straight on.
template <int MR, int ROOM>
constexpr int strip() {
  constexpr int ALL = TILE / LANES;
  return MR * ALL <= ROOM ? ALL : 2;
}

// Rows of activations that go through a tile together, at most. With AVX2 a sixth row of bf16 would cost more for sums
// that are put aside than it saves.
constexpr int64_t MOST_ROWS = SUMS / 2;
constexpr int64_t MOST_ROWS_BF16 = REGISTERS == 32 ? MOST_ROWS : 5;

// Bytes of a tile that all rows pass over before those that follow: they stay in the first-level cache.
constexpr int64_t STEP_BYTES = LANES == 16 ? 1 << 15 : 1 << 14;

// Fetches what this strip and those beside it read 16 steps later: strips pass over every other line of memory, which the
// processor does not foresee.
template <int V>
inline void fetch_ahead(const void* w) {
  if constexpr (V * LANES < TILE) {
    const uintptr_t at = (uintptr_t)w + 16 * TILE * sizeof(uint32_t);
    __builtin_prefetch((const void*)at);
    __builtin_prefetch((const void*)(at ^ 64));
  }
}

// Rows of m that go through together, `most` at most: as even as can be.
inline int64_t rows_together(int64_t m, int64_t most) {
  const int64_t blocks = (m + most - 1) / most;
  return (m + blocks - 1) / blocks;
}

// Calls F::tile<MR> for MR = rows, which is MOST at most.
template <typename F, int MR, typename... A>
inline void with_rows(int64_t rows, A... arguments) {
  if constexpr (MR > 1) {
    if (rows < MR) return with_rows<F, MR - 1>(rows, arguments...);
  }
  F::template tile<MR>(arguments...);
}

// ---- f32 and bf16 ----

// Rows in blocks of `limit` at most, [block][k][rows], so that a tile reads what it broadcasts from one place.
const float* interleave(const float* x, int64_t m, int64_t k, int64_t limit, float* to) {
  const int64_t most = rows_together(m, limit);
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

// Value `i` of each word of f32 or of bf16.
inline vf value(vu words, int, float) { return (vf)words; }
inline vf value(vu words, int i, uint16_t) { return (vf)(i ? words & 0xffff0000 : words << 16); }

// Adds sums [MR, V vectors] to y.
template <int MR, int V>
inline void add_sums(const vf (&sums)[MR][V], float* y, int64_t ldy) {
  for (int m = 0; m < MR; m++)
    for (int v = 0; v < V; v++) store(y + m * ldy + v * LANES, load(y + m * ldy + v * LANES) + sums[m][v]);
}

// Products with weights of T in float32.
template <typename T>
struct Plain {
  typedef float X;
  static constexpr int64_t IN_X = 1;
  static constexpr bool IS_BF16 = sizeof(T) == sizeof(uint16_t);
  static constexpr int64_t MOST = IS_BF16 ? MOST_ROWS_BF16 : MOST_ROWS;
  static const X* arrange(const float* x, int64_t m, int64_t k, void* to) {
    return interleave(x, m, k, MOST, (float*)to);
  }

  // Adds x [kc, MR] W to y [MR, 32] for one tile.
  template <int MR>
  static void tile(const X* x, const uint32_t* w, int64_t kc, float* y, int64_t ldy) {
    constexpr int V = strip<MR, IS_BF16 ? FEWER_SUMS : SUMS>();
    for (int64_t from = 0; from < TILE; from += V * LANES) part<MR, V>(x, w + from, kc, y + from, ldy);
  }

  template <int MR, int V>
  static void part(const X* x, const uint32_t* w, int64_t kc, float* y, int64_t ldy) {
    constexpr int IN_WORD = sizeof(uint32_t) / sizeof(T);
    vf sums[MR][V] = {};
    const auto add = [&](const vu(&word)[V], int i) __attribute__((always_inline)) {
      vf b[V];
      for (int v = 0; v < V; v++) b[v] = value(word[v], i, T{});
      for (int m = 0; m < MR; m++)
        for (int v = 0; v < V; v++) sums[m][v] += x[m] * b[v];
      x += MR;
    };
    for (int64_t k = 0; k < kc; k += IN_WORD, w += TILE) {
      fetch_ahead<V>(w);
      vu word[V];
      for (int v = 0; v < V; v++) word[v] = words(w + v * LANES);
      add(word, 0);
      if (IN_WORD == 2 && k + 1 < kc) add(word, 1);
    }
    add_sums(sums, y, ldy);
  }
};

#ifdef __AVX512BF16__
// The same in bf16: words of two inputs, [block][k / 2][rows]; the partner of an odd last input is zero.
const uint32_t* interleave_pairs(const float* x, int64_t m, int64_t k, uint32_t* to) {
  const int64_t most = rows_together(m, MOST_ROWS), words = (k + 1) / 2;
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

// Products of bf16, activations too.
struct Bf16 {
  typedef uint32_t X;
  static constexpr int64_t IN_X = 2;
  static constexpr int64_t MOST = MOST_ROWS;
  static const X* arrange(const float* x, int64_t m, int64_t k, void* to) {
    return interleave_pairs(x, m, k, (uint32_t*)to);
  }

  // Adds x [kc / 2, MR] W to y [MR, 32] for one tile, two products a lane.
  template <int MR>
  static void tile(const X* x, const uint32_t* w, int64_t kc, float* y, int64_t ldy) {
    vf sums[MR][2] = {};
    for (int64_t k = 0; k < kc; k += 2, w += TILE, x += MR) {
      const __m512bh w0 = (__m512bh)words(w), w1 = (__m512bh)words(w + LANES);
      for (int m = 0; m < MR; m++) {
        const __m512bh a = (__m512bh)_mm512_set1_epi32((int32_t)x[m]);
        sums[m][0] = (vf)_mm512_dpbf16_ps((__m512)sums[m][0], w0, a);
        sums[m][1] = (vf)_mm512_dpbf16_ps((__m512)sums[m][1], w1, a);
      }
    }
    add_sums(sums, y, ldy);
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
  const int64_t most = rows_together(m, Products::MOST), length = (k + IN_X - 1) / IN_X;
  for (int64_t i = 0; i < m; i += most) {
    const int64_t rows = m - i < most ? m - i : most;
    const typename Products::X* a = (const typename Products::X*)x + i * length + from / IN_X * rows;
    with_rows<Products, Products::MOST>(rows, a, w, kc, y + i * ldy, ldy);
  }
}

// ---- int8 ----

// Words of activations that stand for four inputs: their bytes, or two pairs of 16 bits, of the inputs 0 and 2 and of the
// inputs 1 and 3, where a word of weights is taken apart in the same way.
#ifdef __AVX512VNNI__
constexpr int64_t IN_FOUR = 1;
#else
constexpr int64_t IN_FOUR = 2;
#endif

// Activations in int8. Rows stand in blocks of `rows` (the last block may be shorter), so that a tile reads what it
// broadcasts from one place: words [block][groups * 16][rows][IN_FOUR]; sums and scales [m, groups].
struct Quantized {
  int32_t* words;
  int32_t* sums;
  float* scales;
  int64_t groups, rows;
};

// One group; the words of four inputs and of the next four are `stride` apart.
void quantize_group(const float* x, int64_t count, int32_t* to, int64_t stride, int32_t* sum, float* scale) {
  float padded[GROUP];
  if (count < GROUP) {
    for (int64_t j = 0; j < GROUP; j++) padded[j] = j < count ? x[j] : 0;
    x = padded;
  }
  const float most = magnitude(x), inverse = most > 0 ? 127 / most : 0;
  vi total{};
  for (int64_t j = 0; j < GROUP; j += LANES) {
    const vf scaled = load(x + j) * inverse;
    const vi v = __builtin_convertvector(scaled + (scaled < 0 ? splat(-0.5f) : splat(0.5f)), vi);
    total += v;
#ifdef __AVX512VNNI__
    const vb bytes = __builtin_convertvector(v, vb);
    for (int i = 0; i < LANES / 4; i++) std::memcpy(to + (j / 4 + i) * stride, (const int8_t*)&bytes + i * 4, 4);
#else
    int32_t four[LANES];
    std::memcpy(four, &v, sizeof(four));
    for (int i = 0; i < LANES; i += 4) {
      int32_t* pairs = to + (j + i) / 4 * stride;
      pairs[0] = (int32_t)(((uint32_t)four[i] & 0xffff) | (uint32_t)four[i + 2] << 16);
      pairs[1] = (int32_t)(((uint32_t)four[i + 1] & 0xffff) | (uint32_t)four[i + 3] << 16);
    }
#endif
  }
  int32_t all = 0;
  for (int i = 0; i < LANES; i++) all += total[i];
  *sum = all;
  *scale = most / 127;
}

Quantized quantize(const float* x, int64_t m, int64_t k, void* scratch) {
  Quantized q;
  q.groups = groups(k);
  q.words = (int32_t*)scratch;
  q.sums = q.words + m * q.groups * (GROUP / 4) * IN_FOUR;
  q.scales = (float*)(q.sums + m * q.groups);
  q.rows = rows_together(m, MOST_ROWS);
#pragma omp parallel for schedule(static) if (m > 4)
  for (int64_t i = 0; i < m; i++) {
    const int64_t first = i / q.rows * q.rows, rows = m - first < q.rows ? m - first : q.rows;
    int32_t* to = q.words + (first * q.groups * (GROUP / 4) + i - first) * IN_FOUR;
    for (int64_t g = 0; g < q.groups; g++) {
      const int64_t from = g * GROUP, count = from + GROUP < k ? GROUP : k - from, at = i * q.groups + g;
      quantize_group(x + i * k + from, count, to + from / 4 * rows * IN_FOUR, rows * IN_FOUR, q.sums + at,
                     q.scales + at);
    }
  }
  return q;
}

#ifndef __AVX512VNNI__
// The sum of both products of 16 bits in each lane.
inline vi dot2(vi a, int32_t pair) {
#if defined(__AVX2__)
  return (vi)_mm256_madd_epi16((__m256i)a, _mm256_set1_epi32(pair));
#elif defined(__SSE2__)
  return (vi)_mm_madd_epi16((__m128i)a, _mm_set1_epi32(pair));
#else
  return (a << 16 >> 16) * (int32_t)(int16_t)pair + (a >> 16) * (pair >> 16);
#endif
}
#endif

// Four inputs of a vector's outputs.
struct Four {
#ifdef __AVX512VNNI__
  __m512i bytes;
  explicit Four(const uint8_t* w) : bytes(_mm512_loadu_si512(w)) {}
  vi dot(vi sum, const int32_t* a) const { return (vi)_mm512_dpbusd_epi32((__m512i)sum, bytes, _mm512_set1_epi32(*a)); }
#else
  vi even, odd;
  explicit Four(const uint8_t* w) {
    const vu all = words((const uint32_t*)w);
    even = (vi)(all & 0x00ff00ff);
    odd = (vi)(all >> 8 & 0x00ff00ff);
  }
  vi dot(vi sum, const int32_t* a) const { return sum + dot2(even, a[0]) + dot2(odd, a[1]); }
#endif
};

struct Int8 {
  // Adds x W to y [MR, 32] for one tile, of `ng` groups from `g0` on and the rows from `row` on.
  template <int MR>
  static void tile(const Quantized* q, int64_t row, int64_t g0, int64_t ng, const uint8_t* w, const float* scales,
                   float* y, int64_t ldy) {
    constexpr int V = strip<MR, SUMS>();
    for (int64_t from = 0; from < TILE; from += V * LANES)
      part<MR, V>(*q, row, g0, ng, w + from * 4, scales + from, y + from, ldy);
  }

  template <int MR, int V>
  static void part(const Quantized& q, int64_t row, int64_t g0, int64_t ng, const uint8_t* w, const float* scales,
                   float* y, int64_t ldy) {
    vf sums[MR][V] = {};
    const int32_t* a = q.words + (row * q.groups + g0 * MR) * (GROUP / 4) * IN_FOUR;
    for (int64_t g = 0; g < ng; g++, scales += TILE) {
      vi whole[MR][V];
      for (int m = 0; m < MR; m++) {
        // The weights are stored with 128 added, so 128 times the sum of the activations is taken off.
        const int32_t start = -128 * q.sums[(row + m) * q.groups + g0 + g];
        for (int v = 0; v < V; v++) whole[m][v] = start - (vi){};
      }
      for (int k = 0; k < GROUP / 4; k++, w += TILE * 4, a += MR * IN_FOUR) {
        fetch_ahead<V>(w);
        for (int v = 0; v < V; v++) {
          const Four four(w + v * LANES * 4);
          for (int m = 0; m < MR; m++) whole[m][v] = four.dot(whole[m][v], a + m * IN_FOUR);
        }
      }
      for (int m = 0; m < MR; m++) {
        const float scale = q.scales[(row + m) * q.groups + g0 + g];
        for (int v = 0; v < V; v++)
          sums[m][v] += __builtin_convertvector(whole[m][v], vf) * (load(scales + v * LANES) * scale);
      }
    }
    add_sums(sums, y, ldy);
  }
};

void rows_int8(const Quantized& q, int64_t m, int64_t g0, int64_t ng, const uint8_t* w, const float* scales, float* y,
               int64_t ldy) {
  for (int64_t i = 0; i < m; i += q.rows) {
    const int64_t rows = m - i < q.rows ? m - i : q.rows;
    with_rows<Int8, MOST_ROWS>(rows, &q, i, g0, ng, w, scales, y + i * ldy, ldy);
  }
}

// ---- a layer ----

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
      for (int64_t i = 0; i < m; i++) {
        if (edge)
          for (int64_t j = 0; j < TILE; j++) to[i * TILE + j] = add && j < width ? y[i * n + first + j] : 0;
        float* row = to + i * ldy;
        for (int64_t j = 0; j < TILE; j += LANES)
          store(row + j, (add || edge ? load(row + j) : (vf){}) + load(bias + j));
      }
      if (p->precision == I8) {
        constexpr int64_t STEP = STEP_BYTES / (GROUP * TILE);
        const int64_t ng = q.groups;
        for (int64_t g = 0; g < ng; g += STEP) {
          const uint8_t* w = (const uint8_t*)p->weights + (t * ng + g) * GROUP * TILE;
          const int64_t some = ng - g < STEP ? ng - g : STEP;
          rows_int8(q, m, g, some, w, p->scales + (t * ng + g) * TILE, to, ldy);
        }
      } else {
        const int64_t step = p->precision == BF16 ? 256 : STEP_BYTES / (TILE * sizeof(float));
        for (int64_t from = 0; from < k; from += step) {
          const int64_t some = k - from < step ? k - from : step;
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

}  // namespace
}  // namespace gauntlet
