// What stands between the products; behind lanes.inl.

namespace gauntlet {
namespace {

void norm_row(const float* x, const float* weight, int64_t c, float eps, float* y) {
  vf squares{};
  int64_t j = 0;
  for (; j + LANES <= c; j += LANES) squares += load(x + j) * load(x + j);
  float total = sum(squares);
  for (; j < c; j++) total += x[j] * x[j];
  const float scale = 1.0f / std::sqrt(total / (float)c + eps);
  for (j = 0; j + LANES <= c; j += LANES) store(y + j, load(x + j) * scale * load(weight + j));
  for (; j < c; j++) y[j] = x[j] * scale * weight[j];
}

void rms_norm(const float* x, const float* weight, int64_t m, int64_t c, float eps, float* y) {
#pragma omp parallel for schedule(static) if (m > 8)
  for (int64_t i = 0; i < m; i++) norm_row(x + i * c, weight, c, eps, y + i * c);
}

// The argument of the sigmoid that the gate is multiplied by.
template <Activation A, typename V>
inline V inner(V g) {
  if constexpr (A == SILU) return g;
  else return GELU * (g + CUBE * g * g * g);
}

template <Activation A>
void glu_as(const float* x, int64_t m, int64_t width, float* y) {
#pragma omp parallel for schedule(static) if (m > 2)
  for (int64_t i = 0; i < m; i++) {
    const float *gate = x + i * 2 * width, *up = gate + width;
    float* to = y + i * width;
    int64_t j = 0;
    for (; j + LANES <= width; j += LANES) {
      const vf g = load(gate + j);
      store(to + j, g / (1.0f + exponential(-inner<A>(g))) * load(up + j));
    }
    for (; j < width; j++) to[j] = gate[j] / (1.0f + std::exp(-inner<A>(gate[j]))) * up[j];
  }
}

void glu(const float* x, int64_t m, int64_t width, Activation activation, float* y) {
  if (activation == SILU)
    glu_as<SILU>(x, m, width, y);
  else
    glu_as<GELU_TANH>(x, m, width, y);
}

}  // namespace
}  // namespace gauntlet
