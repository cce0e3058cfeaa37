// A table of operations on float32 memory, one after another. What each does is decided by graphs/table.py.
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { COPY, FILL, ADD, SUB, MUL, DIV, TANH, TANH_BACKWARD, COMPLEX_MUL, SUM, GEMM };

// n: sizes; p: result and operands, s: their strides along each size, in numbers; a, b: factors, as each code reads them.
typedef struct { int32_t code, num_axes; int64_t n[6]; float *p[3]; int64_t s[3][6]; float a, b; } operation;
#if defined(__AVX512F__)  // vectors wider than the processor's would be taken apart in memory
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef void (*sgemm_t)(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                        const int *, const float *, const int *, const float *, float *, const int *);

#ifdef FP_FAST_FMAF  // contraction is off, so that sums and products round as torch's: where it may be on, it is written
#define FMA(x, y, z) fmaf(x, y, z)
#else
#define FMA(x, y, z) ((x) * (y) + (z))
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

// Row-major products of n[3] pairs: n[0] x n[2] by n[2] x n[1], with b times what was there. s: rows, transposed?, pairs.
static void multiply(const operation *o, sgemm_t sgemm) {
  int M = o->n[0], N = o->n[1], K = o->n[2], rows[3] = {o->s[0][0], o->s[1][0], o->s[2][0]};
  for (int64_t k = 0; k < o->n[3]; k++)
    sgemm(o->s[2][1] ? "T" : "N", o->s[1][1] ? "T" : "N", &N, &M, &K, &o->a, o->p[2] + k * o->s[2][2], rows + 2,
          o->p[1] + k * o->s[1][2], rows + 1, &o->b, o->p[0] + k * o->s[0][2], rows);
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
