// Rotary positions, the paged cache, and attention over it; behind norms.inl.

namespace gauntlet {
namespace {

template <typename T>
void rope_store_as(float* qkv, const Heads& h, int64_t m, const int64_t* positions, const int64_t* slots,
                   const float* cos, const float* sin, const float* q_norm, const float* k_norm, float eps, T* keys,
                   T* values) {
  const int64_t d = h.width, half = d / 2, row = (h.query + 2 * h.key_value) * d;
#pragma omp parallel for schedule(static) if (m > 4)
  for (int64_t i = 0; i < m; i++) {
    const float *c = cos ? cos + positions[i] * d : nullptr, *s = cos ? sin + positions[i] * d : nullptr;
    const int64_t block = slots[i] / BLOCK, place = slots[i] % BLOCK;
    for (int64_t head = 0; head < h.query + h.key_value; head++) {
      float* x = qkv + i * row + head * d;
      const float* norm = head < h.query ? q_norm : k_norm;
      if (norm) norm_row(x, norm, d, eps, x);
      for (int64_t j = 0; c && j < half; j++) {
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

// Vectors of values that are summed up together, for four heads at most.
constexpr int VALUES = LANES == 16 ? 4 : 2;

// Scores of N query heads against one block of 16 keys.
template <int N, typename T>
void block_scores(const float* q, int64_t d, const T* keys, float scale, float* scores, int64_t stride) {
  constexpr int ALL = BLOCK / LANES, V = ALL < 2 ? ALL : 2;
  for (int64_t from = 0; from < BLOCK; from += V * LANES) {
    vf sums[N][V] = {};
    for (int64_t j = 0; j < d; j++) {
      vf k[V];
      for (int v = 0; v < V; v++) k[v] = load(keys + j * BLOCK + from + v * LANES);
      for (int n = 0; n < N; n++)
        for (int v = 0; v < V; v++) sums[n][v] += q[n * d + j] * k[v];
    }
    for (int n = 0; n < N; n++)
      for (int v = 0; v < V; v++) store(scores + n * stride + from + v * LANES, sums[n][v] * scale);
  }
}

// The weighted sum of V vectors of the values of a sequence, for N heads.
template <int N, int V, typename T>
void head_values(const float* weights, int64_t stride, int64_t length, const int32_t* table, const T* values,
                 int64_t block_size, int64_t d, float* y) {
  vf sums[N][V] = {};
  for (int64_t b = 0; b * BLOCK < length; b++) {
    const int64_t count = length - b * BLOCK < BLOCK ? length - b * BLOCK : BLOCK;
    const T* block = values + table[b] * block_size;
    for (int64_t t = 0; t < count; t++) {
      vf at[V];
      for (int v = 0; v < V; v++) at[v] = load(block + t * d + v * LANES);
      for (int n = 0; n < N; n++)
        for (int v = 0; v < V; v++) sums[n][v] += weights[n * stride + b * BLOCK + t] * at[v];
    }
  }
  for (int n = 0; n < N; n++)
    for (int v = 0; v < V; v++) store(y + n * d + v * LANES, sums[n][v]);
}

// All d columns of the values.
template <int N, typename T>
void all_values(const float* weights, int64_t stride, int64_t length, const int32_t* table, const T* values,
                int64_t block_size, int64_t d, float* y) {
  int64_t j = 0;
  for (; j + VALUES * LANES <= d; j += VALUES * LANES)
    head_values<N, VALUES, T>(weights, stride, length, table, values + j, block_size, d, y + j);
  for (; j < d; j += LANES) head_values<N, 1, T>(weights, stride, length, table, values + j, block_size, d, y + j);
}

// Turns scores into weights that sum to one; what lies before `from` and beyond `length` becomes zero.
void softmax(float* s, int64_t from, int64_t length, int64_t padded) {
  for (int64_t j = 0; j < from; j++) s[j] = -INFINITY;
  for (int64_t j = length; j < padded; j++) s[j] = -INFINITY;
  vf most = splat(-INFINITY);
  for (int64_t j = 0; j < padded; j += LANES) most = load(s + j) > most ? load(s + j) : most;
  const float top = largest(most);
  vf total{};
  for (int64_t j = 0; j < padded; j += LANES) {
    const vf e = exponential(load(s + j) - top);
    store(s + j, e);
    total += e;
  }
  // exponential stops at e^-87, so columns that are not seen are taken out by hand.
  float all = sum(total);
  for (int64_t j = 0; j < from; j++) {
    all -= s[j];
    s[j] = 0;
  }
  for (int64_t j = length; j < padded; j++) {
    all -= s[j];
    s[j] = 0;
  }
  const float inverse = 1.0f / all;
  for (int64_t j = 0; j < padded; j += LANES) store(s + j, load(s + j) * inverse);
}

template <typename T>
void attend_as(const float* qkv, const Heads& h, int64_t m, const int32_t* tables, int64_t stride,
               const int64_t* lengths, int64_t window, float scale, const T* keys, const T* values, float* y) {
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
      const int64_t i = task / h.key_value, kv = task % h.key_value;
      // Blocks that lie before the window are passed over; the rest counts from the first one that does not.
      const int64_t hidden = window && lengths[i] > window ? lengths[i] - window : 0;
      const int64_t skipped = hidden / BLOCK * BLOCK, length = lengths[i] - skipped, from = hidden - skipped;
      const int32_t* table = tables + i * stride + skipped / BLOCK;
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
      for (int64_t n = 0; n < shared; n++) softmax(scores + n * padded, from, length, here);
      float* out = y + (i * h.query + kv * shared) * d;
      int64_t n = 0;
      for (; n + 4 <= shared; n += 4)
        all_values<4, T>(scores + n * padded, padded, length, table, v, block_size, d, out + n * d);
      for (; n < shared; n++)
        all_values<1, T>(scores + n * padded, padded, length, table, v, block_size, d, out + n * d);
    }
    delete[] scores;
  }
}

void attend(const float* qkv, const Heads* heads, int64_t m, const int32_t* tables, int64_t stride,
            const int64_t* lengths, int64_t window, float scale, const Cache* cache, float* y) {
  if (cache->bf16)
    attend_as(qkv, *heads, m, tables, stride, lengths, window, scale, (const uint16_t*)cache->keys,
              (const uint16_t*)cache->values, y);
  else
    attend_as(qkv, *heads, m, tables, stride, lengths, window, scale, (const float*)cache->keys,
              (const float*)cache->values, y);
}

}  // namespace
}  // namespace gauntlet
