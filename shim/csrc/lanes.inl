// Vectors as wide as the registers of the instruction set that this is compiled for, of GCC's and Clang's vector
// extension. Wider ones would live in memory. An instruction is called by name only where compilers make several of it.
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace gauntlet {
namespace {

// Values of 32 bits in a vector. All widths the kernels work on are multiples of 16, and so of this.
#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LANES * 2)));
typedef int8_t vb __attribute__((vector_size(LANES)));
// The same where they need not be aligned.
typedef float vf_any __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t vu_any __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint16_t vh_any __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

inline vf splat(float x) { return x - (vf){}; }
inline vu words(const uint32_t* p) { return *(const vu_any*)p; }

inline vf load(const float* p) { return *(const vf_any*)p; }
inline void store(float* p, vf v) { *(vf_any*)p = v; }

// bf16 is the upper half of a float.
inline vf load(const uint16_t* p) {
#if defined(__AVX512F__)
  // Masked by all ones: GCC warns of what the plain one leaves out.
  const vu wide = (vu)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256((const __m256i*)p));
#elif defined(__AVX2__)
  const vu wide = (vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
#else
  const vu wide = __builtin_convertvector((vh)*(const vh_any*)p, vu);
#endif
  return (vf)(wide << 16);
}

// The lower halves of `words`, whose upper halves are zero.
inline void store_halves(uint16_t* p, vu words) {
#if defined(__AVX512F__)
  _mm256_storeu_si256((__m256i*)p, _mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)words));
#elif defined(__AVX2__)
  const __m256i all = (__m256i)words;
  _mm_storeu_si128((__m128i*)p, _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
#else
  *(vh_any*)p = __builtin_convertvector(words, vh);
#endif
}

inline void store(uint16_t* p, vf v) {
  const vu bits = (vu)v, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  store_halves(p, v == v ? rounded : (bits >> 16) | 64);  // NaN stays NaN
}

inline uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)((bits >> 16) | 64);  // NaN stays NaN
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline float to_float(float x) { return x; }
inline float to_float(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}
inline void put(float* p, float x) { *p = x; }
inline void put(float* p, uint16_t x) { *p = to_float(x); }
inline void put(uint16_t* p, float x) { *p = to_bf16(x); }
inline void put(uint16_t* p, uint16_t x) { *p = x; }

inline float sum(vf v) {
  float s = 0;
  for (int i = 0; i < LANES; i++) s += v[i];
  return s;
}

inline float largest(vf v) {
  float most = v[0];
  for (int i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
  return most;
}

// Adding it to a float rounds that to a whole number in the low bits: 1.5 * 2^23.
constexpr float MAGIC = 12582912.0f;

// e^x to about 2 ulp: x = n ln 2 + r with |r| <= ln 2 / 2, and the Taylor polynomial of degree 6 in r.
inline vf exponential(vf x) {
  x = x < splat(-87.0f) ? splat(-87.0f) : x;
  x = x > splat(88.0f) ? splat(88.0f) : x;
  const vf t = x * 1.44269504f + MAGIC;
  const vf n = t - MAGIC;
  const vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vf p = splat(1.0f / 720);
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const vi power = (((vi)t - (vi)splat(MAGIC)) + 127) << 23;
  return p * (vf)power;
}

inline vf sigmoid(vf x) { return 1.0f / (1.0f + exponential(-x)); }

// gelu(x) is about x sigmoid(GELU (x + CUBE x^3)) (Hendrycks and Gimpel 2016): the published formula in tanh, since
// (1 + tanh z) / 2 = sigmoid(2 z). GELU is 2 sqrt(2 / pi).
constexpr float GELU = 1.59576912f, CUBE = 0.044715f;

inline vf root(vf x) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_sqrt_ps(0xffff, (__m512)x);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
  return (vf)_mm_sqrt_ps((__m128)x);
#else
  for (int i = 0; i < LANES; i++) x[i] = std::sqrt(x[i]);
  return x;
#endif
}

}  // namespace
}  // namespace gauntlet
