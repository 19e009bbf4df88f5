// Included behind kernels.inl, by one file for each instruction set.
#include <vector>

#include "train.h"

namespace gauntlet {
namespace {

// Below this many values a second thread costs more than it saves.
constexpr int64_t WORTH_THREADS = 1 << 14;
// Parts that the rows of a sum over rows are split into.
constexpr int64_t PARTS = 32;

void train_rms_norm(const float* x, const float* weight, int64_t m, int64_t c, float eps, float* y, float* inverse) {
#pragma omp parallel for schedule(static) if (m * c > WORTH_THREADS)
  for (int64_t i = 0; i < m; i++) {
    const float* row = x + i * c;
    v16 squares = {};
    for (int64_t j = 0; j < c; j += 16) squares += load(row + j) * load(row + j);
    const float scale = 1.0f / std::sqrt(sum(squares) / (float)c + eps);
    inverse[i] = scale;
    for (int64_t j = 0; j < c; j += 16) store(y + i * c + j, load(row + j) * scale * load(weight + j));
  }
}

// With n = x * inverse and g = dy * weight: dx = inverse * (g - n * mean(g * n)), dweight = sum over rows of dy * n.
void train_rms_norm_backward(const float* x, const float* weight, const float* inverse, const float* dy, int64_t m,
                             int64_t c, float* dx, float* dweight) {
  std::vector<float> partial(dweight ? PARTS * c : 0, 0.0f);
#pragma omp parallel for schedule(static) if (m * c > WORTH_THREADS)
  for (int64_t part = 0; part < PARTS; part++) {
    float* mine = dweight ? partial.data() + part * c : nullptr;
    for (int64_t i = m * part / PARTS; i < m * (part + 1) / PARTS; i++) {
      const float *row = x + i * c, *g = dy + i * c;
      const float scale = inverse[i];
      v16 dots = {};
      for (int64_t j = 0; j < c; j += 16) dots += load(g + j) * load(weight + j) * load(row + j);
      const float mean = sum(dots) * scale * scale / (float)c;
      for (int64_t j = 0; j < c; j += 16) {
        const v16 dyj = load(g + j), xj = load(row + j);
        store(dx + i * c + j, (dyj * load(weight + j) - xj * mean) * scale);
        if (mine) store(mine + j, load(mine + j) + dyj * xj * scale);
      }
    }
  }
  if (!dweight) return;
  for (int64_t j = 0; j < c; j += 16) {
    v16 total = {};
    for (int64_t part = 0; part < PARTS; part++) total += load(partial.data() + part * c + j);
    store(dweight + j, total);
  }
}

inline v16 sigmoid16(v16 x) { return 1.0f / (1.0f + exp16(-x)); }

void train_swiglu(const float* gate, const float* up, int64_t n, float* y) {
#pragma omp parallel for schedule(static) if (n > WORTH_THREADS)
  for (int64_t i = 0; i < n; i += 16) {
    const v16 g = load(gate + i);
    store(y + i, g * sigmoid16(g) * load(up + i));
  }
}

void train_swiglu_backward(const float* gate, const float* up, const float* dy, int64_t n, float* dgate, float* dup) {
#pragma omp parallel for schedule(static) if (n > WORTH_THREADS)
  for (int64_t i = 0; i < n; i += 16) {
    const v16 g = load(gate + i), s = sigmoid16(g), d = load(dy + i);
    store(dgate + i, d * load(up + i) * s * (1.0f + g * (1.0f - s)));
    store(dup + i, d * g * s);
  }
}

void train_rotate(const float* x, const float* cos, const float* sin, int64_t tokens, int64_t rows, int64_t heads,
                  int64_t width, int32_t back, float* y) {
  const int64_t half = width / 2;
#pragma omp parallel for schedule(static) if (tokens * heads * width > WORTH_THREADS)
  for (int64_t t = 0; t < tokens; t++) {
    const float *c = cos + t % rows * width, *s = sin + t % rows * width;
    for (int64_t h = 0; h < heads; h++) {
      const float* from = x + (t * heads + h) * width;
      float* to = y + (t * heads + h) * width;
      for (int64_t j = 0; j < half; j += 16) {
        const v16 a = load(from + j), b = load(from + half + j);
        const v16 first = load(s + j), second = load(s + half + j);
        if (back) {
          store(to + j, a * load(c + j) + b * second);
          store(to + half + j, b * load(c + half + j) - a * first);
        } else {
          store(to + j, a * load(c + j) - b * first);
          store(to + half + j, b * load(c + half + j) + a * second);
        }
      }
    }
  }
}

}  // namespace

extern const TrainKernels GAUNTLET_TRAIN = {train_rms_norm, train_rms_norm_backward, train_swiglu,
                                            train_swiglu_backward, train_rotate};

}  // namespace gauntlet
