// A table of operations on float32 memory, one after another. What each does is decided by graphs/table.py.
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { COPY, FILL, ADD, SUB, MUL, DIV, TANH, TANH_BACKWARD, COMPLEX_MUL, SUM, GEMM };

// n: sizes; p: result and operands, s: their strides along each size, in numbers; a, b: factors, as each code reads them.
typedef struct { int32_t code, num_axes; int64_t n[6]; float *p[3]; int64_t s[3][6]; float a, b; } operation;
#if defined(__AVX512F__)  // vectors wider than the processor's would be taken apart in memory
#define LANES 16
#define ROWS 12  // of a product's result, two vectors each, that the registers hold
#define MANY TWELVE
#elif defined(__AVX__)
#define LANES 8
#define ROWS 6
#define MANY SIX
#else
#define LANES 4
#define ROWS 6
#define MANY SIX
#endif
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef void (*sgemm_t)(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                        const int *, const float *, const int *, const float *, float *, const int *);

#ifdef FP_FAST_FMAF  // contraction is off, so that sums and products round as torch's: where it may be on, it is written
#define FMA(x, y, z) fmaf(x, y, z)
#else
#define FMA(x, y, z) ((x) * (y) + (z))
#endif
#if defined(__AVX512F__)
#define FMA_LANES(x, y, z) ((lanes)_mm512_fmadd_ps((__m512)(x), (__m512)(y), (__m512)(z)))
#elif defined(__AVX__) && defined(__FMA__)
#define FMA_LANES(x, y, z) ((lanes)_mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(z)))
#elif defined(__aarch64__)
#define FMA_LANES(x, y, z) ((lanes)vfmaq_f32((float32x4_t)(z), (float32x4_t)(x), (float32x4_t)(y)))
#else
#define FMA_LANES(x, y, z) ((x) * (y) + (z))
#endif

// Small numbers by an odd polynomial, as in Cephes; others by 1 - 2 / (e^2x + 1), whose error is below a rounding where
// the gradient 1 - tanh^2 nearly cancels. e^t = 2^n e^r with |r| < 0.35. Both are computed, so that loops become vectors.
static inline float tanh_of(float given) {
  float a = fabsf(given), x = a < 9.1f ? a : 9.1f, z = x * x;  // not a number: below
  float p = FMA(z, -5.70498872745e-3f, 2.06390887954e-2f);
  p = FMA(z, p, -5.37397155531e-2f), p = FMA(z, p, 1.33314422036e-1f), p = FMA(z, p, -3.33332819422e-1f);
  float small = FMA(x * z, p, x);
  float t = 2 * x, n = rintf(t * 1.44269504f), r = FMA(n, 2.12194440e-4f, FMA(n, -0.693359375f, t));
  float e = FMA(r, 1.9841270e-4f, 1.3888889e-3f);
  e = FMA(r, e, 8.3333333e-3f), e = FMA(r, e, 4.1666667e-2f), e = FMA(r, e, 1.6666667e-1f), e = FMA(r, e, 0.5f);
  e = FMA(r, e, 1.0f), e = FMA(r, e, 1.0f);
  union { int32_t i; float f; } power = {((int32_t)n + 127) << 23};
  float y = copysignf(x < 0.625f ? small : 1 - 2 / (FMA(e, power.f, 1.0f)), given);
  return given == given ? y : given;
}

// The loops that matter are those over contiguous numbers: they become vector instructions.
#define EACH(E)                                                                                                        \
  if (so == 1 && sx == 1 && sy == 1) for (int64_t i = 0; i < n; i++) { float x = X[i], y = Y[i]; O[i] = E; }           \
  else if (so == 1 && sx == 1 && sy == 0) for (int64_t i = 0; i < n; i++) { float x = X[i], y = *Y; O[i] = E; }        \
  else if (so == 1 && sx == 0 && sy == 1) for (int64_t i = 0; i < n; i++) { float x = *X, y = Y[i]; O[i] = E; }        \
  else for (int64_t i = 0; i < n; i++) { float x = X[i * sx], y = Y[i * sy]; O[i * so] = E; }
#define EACH_OF_ONE(E)                                                                                                 \
  if (so == 1 && sx == 1) for (int64_t i = 0; i < n; i++) { float x = X[i]; O[i] = E; }                                \
  else for (int64_t i = 0; i < n; i++) { float x = X[i * sx]; O[i * so] = E; }

static void along(const operation *o, int64_t n, float *restrict O, const float *restrict X, const float *restrict Y,
                  int64_t so, int64_t sx, int64_t sy) {
  float a = o->a, b = o->b;
  switch (o->code) {
    case COPY: EACH_OF_ONE(x) break;
    case FILL: for (int64_t i = 0; i < n; i++) O[i * so] = a; break;
    case ADD: EACH(x + a * y) break;
    case SUB: EACH(x - a * y) break;
    case MUL: EACH(x * y) break;
    case DIV: EACH(x / y) break;
    case TANH: EACH_OF_ONE(tanh_of(x)) break;
    case TANH_BACKWARD: EACH(x * (1 - y * y)) break;
    case COMPLEX_MUL:  // the imaginary parts stand beside the real ones and are taken times a and b
      for (int64_t i = 0; i < n; i++) {
        float xr = X[i * sx], xi = a * X[i * sx + 1], yr = Y[i * sy], yi = b * Y[i * sy + 1];
        O[i * so] = xr * yr - xi * yi, O[i * so + 1] = xr * yi + xi * yr;
      }
  }
}

static float sum_of(const float *X, int64_t n, int64_t s) {
  float part[16] = {0}, sum = 0;
  int64_t i = 0;
  if (s == 1) for (; i + 16 <= n; i += 16) for (int j = 0; j < 16; j++) part[j] += X[i + j];
  else for (; i + 16 <= n; i += 16) for (int j = 0; j < 16; j++) part[j] += X[(i + j) * s];
  for (; i < n; i++) part[0] += X[i * s];
  for (int j = 0; j < 16; j++) sum += part[j];
  return sum;
}

// Over the middle one of three axes.
static void sum(const operation *o) {
  const int64_t *s = o->s[1], R = o->n[1], C = o->n[2];
  for (int64_t k = 0; k < o->n[0]; k++) {
    float *O = o->p[0] + k * o->s[0][0];
    const float *X = o->p[1] + k * s[0];
    int64_t c = 0;
    if (s[2] == 1 && o->s[0][2] == 1) for (; c + LANES <= C; c += LANES) {
      lanes part[4] = {{0}};
      for (int64_t r = 0; r < R; r++) part[r % 4] += *(const lanes *)(X + r * s[1] + c);
      *(lanes *)(O + c) = (part[0] + part[1]) + (part[2] + part[3]);
    }
    for (; c < C; c++) O[c * o->s[0][2]] = sum_of(X + c * s[2], R, s[1]);
  }
}

// Of a product O (+)= X Y: rows, and as many columns of Y and O as registers hold, of which ``width`` are wanted.
typedef struct {
  int64_t rows, width, depth, xr, xk, yr, or;
  const float *X, *Y;
  float *O;
  int add;
} panel;

static void put(const panel *p, int64_t rows, int64_t full, const float *part) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t n = 0; n < p->width; n++)
      p->O[r * p->or + n] = part[r * full + n] + (p->add ? p->O[r * p->or + n] : 0);
}

// R rows of one or two vectors at a time, as long as there are so many. Sums have names, so that registers hold them.
#define ONE(DO) DO(0)
#define FOUR(DO) DO(0) DO(1) DO(2) DO(3)
#define SIX(DO) FOUR(DO) DO(4) DO(5)
#define TWELVE(DO) SIX(DO) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define START(r) lanes a##r = {0}, b##r = {0};
#define LOAD(r) a##r = *(const lanes *)(O + r * or); if (is_wide) b##r = *(const lanes *)(O + r * or + LANES);
#define STEP(r) x = X[r * xr] - (lanes){0}, a##r = FMA_LANES(x, y, a##r); if (is_wide) b##r = FMA_LANES(x, z, b##r);
#define STORE(r) *(lanes *)(O + r * or) = a##r; if (is_wide) *(lanes *)(O + r * or + LANES) = b##r;
#define TILES(name, R, EACH, WIDE)                                                                                     \
  static __attribute__((noinline)) void name(panel *p) {                                                               \
    enum { is_wide = WIDE };                                                                                           \
    float part[R * 2 * LANES];                                                                                         \
    int64_t full = (is_wide ? 2 : 1) * LANES, xr = p->xr, xk = p->xk, yr = p->yr;                                      \
    int64_t is_whole = p->width == full, or = is_whole ? p->or : full;                                                 \
    for (; p->rows >= R; p->rows -= R, p->X += R * xr, p->O += R * p->or) {                                            \
      const float *X = p->X, *Y = p->Y;                                                                                \
      float *O = is_whole ? p->O : part;                                                                               \
      EACH(START)                                                                                                      \
      if (p->add && is_whole) { EACH(LOAD) }                                                                           \
      for (int64_t k = p->depth; k; k--, X += xk, Y += yr) {                                                           \
        lanes x, y = *(const lanes *)Y, z = is_wide ? *(const lanes *)(Y + LANES) : y;                                 \
        EACH(STEP)                                                                                                     \
      }                                                                                                                \
      EACH(STORE)                                                                                                      \
      if (!is_whole) put(p, R, full, part);                                                                            \
    }                                                                                                                  \
  }
TILES(wide_rows, ROWS, MANY, 1) TILES(four_wide_rows, 4, FOUR, 1) TILES(wide_row, 1, ONE, 1)
TILES(thin_rows, ROWS, MANY, 0) TILES(four_thin_rows, 4, FOUR, 0) TILES(thin_row, 1, ONE, 0)

// Of small matrices, in parts whose columns fit the registers and whose depth the nearest memory.
static void product(int64_t M, int64_t N, int64_t K, const float *X, int64_t xr, int64_t xk, const float *Y, int64_t yr,
                    int64_t yn, float *O, int64_t or, int add) {
  enum { DEPTH = 256 };
  float packed[DEPTH * 2 * LANES];
  for (int64_t k = 0; k < K; k += DEPTH, add = 1) {
    for (int64_t n = 0; n < N; n += 2 * LANES) {
      int64_t width = N - n < 2 * LANES ? N - n : 2 * LANES, full = width > LANES ? 2 * LANES : LANES;
      int64_t depth = K - k < DEPTH ? K - k : DEPTH;
      panel p = {M, width, depth, xr, xk, yr, or, X + k * xk, Y + k * yr + n * yn, O + n, add};
      if (yn != 1 || width < full) {
        memset(packed, 0, depth * full * sizeof *packed);
        for (int64_t i = 0; i < depth; i++)
          for (int64_t j = 0; j < width; j++) packed[i * full + j] = p.Y[i * yr + j * yn];
        p.Y = packed, p.yr = full;
      }
      if (full > LANES) wide_rows(&p), four_wide_rows(&p), wide_row(&p);
      else thin_rows(&p), four_thin_rows(&p), thin_row(&p);
    }
  }
}

// Row-major products of n[3] pairs: n[0] x n[2] by n[2] x n[1], with b times what was there. s: rows, transposed?, pairs.
static void multiply(const operation *o, sgemm_t sgemm) {
  int M = o->n[0], N = o->n[1], K = o->n[2], rows[3] = {o->s[0][0], o->s[1][0], o->s[2][0]};
  int xt = o->s[1][1], yt = o->s[2][1], add = o->b != 0, is_own = N > 1 && (double)M * N * K < 1 << 20;
  int64_t xr = xt ? 1 : rows[1], xk = xt ? rows[1] : 1, yr = yt ? 1 : rows[2], yn = yt ? rows[2] : 1;
  for (int64_t k = 0; k < o->n[3]; k++) {
    float *O = o->p[0] + k * o->s[0][2];
    const float *X = o->p[1] + k * o->s[1][2], *Y = o->p[2] + k * o->s[2][2];
    if (is_own || !sgemm) product(M, N, K, X, xr, xk, Y, yr, yn, O, rows[0], add);
    else sgemm(yt ? "T" : "N", xt ? "T" : "N", &N, &M, &K, &o->a, Y, rows + 2, X, rows + 1, &o->b, O, rows);
  }
}

void run(const operation *o, int64_t count, sgemm_t sgemm) {
  for (const operation *end = o + count; o < end; o++) {
    if (o->code == GEMM) { multiply(o, sgemm); continue; }
    if (o->code == SUM) { sum(o); continue; }
    int last = o->num_axes - 1;
    int64_t at[6] = {0}, n = o->n[last];
    float *O = o->p[0];
    const float *X = o->p[1], *Y = o->p[2];
    if (o->code == COPY && n % LANES == 0 && last == 1 && o->s[0][1] == 1 && o->s[1][1] == 1) {  // columns of channels
      for (int64_t i = 0; i < o->n[0]; i++)
        for (int64_t j = 0; j < n; j += LANES)
          *(lanes *)(O + i * o->s[0][0] + j) = *(const lanes *)(X + i * o->s[1][0] + j);
      continue;
    }
    for (int axis = 0; axis >= 0;) {
      along(o, n, O, X, Y, o->s[0][last], o->s[1][last], o->s[2][last]);
      for (axis = last - 1; axis >= 0; axis--) {
        O += o->s[0][axis], X += o->s[1][axis], Y += o->s[2][axis];
        if (++at[axis] < o->n[axis]) break;
        O -= o->s[0][axis] * at[axis], X -= o->s[1][axis] * at[axis], Y -= o->s[2][axis] * at[axis], at[axis] = 0;
      }
    }
  }
}
