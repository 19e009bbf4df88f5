// Weights into the layout that products read; behind lanes.inl.
#include "kernels.h"

namespace gauntlet {
namespace {

int64_t tiles(int64_t n) { return (n + TILE - 1) / TILE; }
int64_t groups(int64_t k) { return (k + GROUP - 1) / GROUP; }

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
  vf most{};
  for (int64_t j = 0; j < GROUP; j += LANES) {
    const vf v = load(x + j), a = v < 0 ? -v : v;
    most = a > most ? a : most;
  }
  return largest(most);
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
    const float most = magnitude(x), inverse = most > 0 ? 127 / most : 0;
    *scales = most / 127;
    for (int64_t i = 0; i < GROUP; i += LANES) {
      const vi v = __builtin_convertvector(load(x + i) * inverse + MAGIC - MAGIC, vi);
      const vb bytes = __builtin_convertvector(v + 128, vb);
      for (int j = 0; j < LANES / 4; j++) std::memcpy(to + (i / 4 + j) * TILE * 4, (const int8_t*)&bytes + j * 4, 4);
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

}  // namespace
}  // namespace gauntlet
