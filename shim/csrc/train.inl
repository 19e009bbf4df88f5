// Included behind kernels.inl, by one file for each instruction set.
#include <vector>

#include "train.h"

namespace gauntlet {
namespace {

// Below this many values a second thread costs more than it saves.
constexpr int64_t WORTH_THREADS = 1 << 14;
// Parts that the rows of a sum over rows are split into.
constexpr int64_t PARTS = 32;

template <typename T>
void train_rms_norm(const T* x, const float* weight, int64_t m, int64_t c, float eps, T* y, float* inverse) {
#pragma omp parallel for schedule(static) if (m * c > WORTH_THREADS)
  for (int64_t i = 0; i < m; i++) {
    const T* row = x + i * c;
    vf squares = {};
    for (int64_t j = 0; j < c; j += LANES) squares += load(row + j) * load(row + j);
    const float scale = 1.0f / std::sqrt(sum(squares) / (float)c + eps);
    inverse[i] = scale;
    for (int64_t j = 0; j < c; j += LANES) store(y + i * c + j, load(row + j) * scale * load(weight + j));
  }
}

// With n = x * inverse and g = dy * weight: dx = inverse * (g - n * mean(g * n)), dweight = sum over rows of dy * n.
template <typename T>
void train_rms_norm_backward(const T* x, const float* weight, const float* inverse, const T* dy, int64_t m, int64_t c,
                             T* dx, float* dweight) {
  std::vector<float> partial(dweight ? PARTS * c : 0, 0.0f);
#pragma omp parallel for schedule(static) if (m * c > WORTH_THREADS)
  for (int64_t part = 0; part < PARTS; part++) {
    float* mine = dweight ? partial.data() + part * c : nullptr;
    for (int64_t i = m * part / PARTS; i < m * (part + 1) / PARTS; i++) {
      const T *row = x + i * c, *g = dy + i * c;
      const float scale = inverse[i];
      vf dots = {};
      for (int64_t j = 0; j < c; j += LANES) dots += load(g + j) * load(weight + j) * load(row + j);
      const float mean = sum(dots) * scale * scale / (float)c;
      for (int64_t j = 0; j < c; j += LANES) {
        const vf dyj = load(g + j), xj = load(row + j);
        store(dx + i * c + j, (dyj * load(weight + j) - xj * mean) * scale);
        if (mine) store(mine + j, load(mine + j) + dyj * xj * scale);
      }
    }
  }
  if (!dweight) return;
  for (int64_t j = 0; j < c; j += LANES) {
    vf total = {};
    for (int64_t part = 0; part < PARTS; part++) total += load(partial.data() + part * c + j);
    store(dweight + j, total);
  }
}

template <typename T>
void train_glu(const T* gate, const T* up, int64_t n, Activation activation, T* y) {
#pragma omp parallel for schedule(static) if (n > WORTH_THREADS)
  for (int64_t i = 0; i < n; i += LANES) {
    const vf g = load(gate + i);
    const vf s = activation == SILU ? sigmoid(g) : sigmoid(GELU * (g + CUBE * g * g * g));
    store(y + i, g * s * load(up + i));
  }
}

// With u the sigmoid's argument, (g s(u))' = s (1 + g u' (1 - s)).
template <typename T>
void train_glu_backward(const T* gate, const T* up, const T* dy, int64_t n, Activation activation, T* dgate, T* dup) {
#pragma omp parallel for schedule(static) if (n > WORTH_THREADS)
  for (int64_t i = 0; i < n; i += LANES) {
    const vf g = load(gate + i), d = load(dy + i);
    if (activation == SILU) {
      const vf s = sigmoid(g);
      store(dgate + i, d * load(up + i) * s * (1.0f + g * (1.0f - s)));
      store(dup + i, d * g * s);
    } else {
      const vf s = sigmoid(GELU * (g + CUBE * g * g * g)), slope = GELU * (1.0f + 3.0f * CUBE * g * g);
      store(dgate + i, d * load(up + i) * s * (1.0f + g * slope * (1.0f - s)));
      store(dup + i, d * g * s);
    }
  }
}

template <typename T>
void train_rotate(const T* x, const float* cos, const float* sin, int64_t tokens, int64_t rows, int64_t heads,
                  int64_t width, int32_t back, T* y) {
  const int64_t half = width / 2;
#pragma omp parallel for schedule(static) if (tokens * heads * width > WORTH_THREADS)
  for (int64_t t = 0; t < tokens; t++) {
    const float *c = cos + t % rows * width, *s = sin + t % rows * width;
    for (int64_t h = 0; h < heads; h++) {
      const T* from = x + (t * heads + h) * width;
      T* to = y + (t * heads + h) * width;
      for (int64_t j = 0; j < half; j += LANES) {
        const vf a = load(from + j), b = load(from + half + j);
        const vf first = load(s + j), second = load(s + half + j);
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

// Bits that look drawn at random, from a counter: a multiply-xorshift hash of 32 bits.
inline vu draws(vu x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

// Stochastic rounding: `drawn`, 16 bits, carries into the kept half as often as the dropped half is large, so that the
// mean of what is stored is the value itself.
inline void store_drawn(uint16_t* p, vf v, vu drawn) { store_halves(p, ((vu)v + drawn) >> 16); }

inline void adamw_lanes(uint16_t* weight, const uint16_t* grad, uint16_t* exp_avg, uint16_t* exp_avg_sq, uint32_t index,
                    const AdamWStep& s) {
  vu lanes;
  for (int i = 0; i < LANES; i++) lanes[i] = i;
  const vu first = draws((lanes + index) * 0x9e3779b9u + s.key), second = draws(first + 1);
  const vf g = load(grad) * s.scale;
  const vf m = load(exp_avg) * s.beta1 + g * (1.0f - s.beta1);
  const vf v = load(exp_avg_sq) * s.beta2 + g * g * (1.0f - s.beta2);
  store_drawn(weight, load(weight) * s.decay - m * s.rate / (root(v) * s.root + s.eps), first & 0xffff);
  store_drawn(exp_avg, m, first >> 16);
  store_drawn(exp_avg_sq, v, second & 0xffff);
}

void train_adamw(uint16_t* weight, const uint16_t* grad, uint16_t* exp_avg, uint16_t* exp_avg_sq, int64_t n,
                 const AdamWStep* step) {
  const int64_t whole = n / LANES * LANES;
#pragma omp parallel for schedule(static) if (n > WORTH_THREADS)
  for (int64_t i = 0; i < whole; i += LANES)
    adamw_lanes(weight + i, grad + i, exp_avg + i, exp_avg_sq + i, (uint32_t)i, *step);
  if (whole == n) return;
  uint16_t rest[4][LANES] = {};
  uint16_t* const lists[] = {weight, exp_avg, exp_avg_sq};
  const size_t bytes = (n - whole) * sizeof(uint16_t);
  for (int list = 0; list < 3; list++) std::memcpy(rest[list], lists[list] + whole, bytes);
  std::memcpy(rest[3], grad + whole, bytes);
  adamw_lanes(rest[0], rest[3], rest[1], rest[2], (uint32_t)whole, *step);
  for (int list = 0; list < 3; list++) std::memcpy(lists[list] + whole, rest[list], bytes);
}

template <typename T>
constexpr TrainKernels<T> of = {train_rms_norm<T>, train_rms_norm_backward<T>, train_glu<T>, train_glu_backward<T>,
                                train_rotate<T>};

}  // namespace

extern const AllTrainKernels GAUNTLET_TRAIN = {of<float>, of<uint16_t>, train_adamw};

}  // namespace gauntlet
