// Matrix work: multiply in double, float and integer, blocked transpose, Gaussian elimination, determinant.
#include <math.h>
#include <stdio.h>

enum { N = 24 };
static double a[N][N], b[N][N], c[N][N];
static float fa[N][N], fb[N][N];
static long ia[N][N], ib[N][N];

static void fill(void) {
    unsigned state = 1;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            state = state * 1103515245u + 12345u;
            ia[i][j] = (long)(state >> 20) - 2048;
            ib[j][i] = ia[i][j] * 3 - i;
            a[i][j] = (double)ia[i][j] / 1024;
            b[i][j] = (double)ib[i][j] / 512;
            fa[i][j] = (float)a[i][j];
            fb[i][j] = (float)b[i][j];
        }
}

static double determinant(void) {
    double m[N][N], result = 1;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            m[i][j] = a[i][j] + (i == j ? 3 : 0);
    for (int k = 0; k < N; k++) {
        int pivot = k;
        for (int i = k + 1; i < N; i++)
            if (fabs(m[i][k]) > fabs(m[pivot][k]))
                pivot = i;
        for (int j = 0; pivot != k && j < N; j++) {
            double keep = m[k][j];
            m[k][j] = m[pivot][j];
            m[pivot][j] = keep;
        }
        result *= pivot == k ? m[k][k] : -m[k][k];
        for (int i = k + 1; i < N; i++)
            for (int j = N - 1; j >= k; j--)
                m[i][j] -= m[k][j] * (m[i][k] / m[k][k]);
    }
    return result;
}

int main(void) {
    fill();
    double trace = 0, sum = 0;
    float fsum = 0;
    long isum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double dot = 0;
            float fdot = 0;
            long idot = 0;
            for (int k = 0; k < N; k++) {
                dot += a[i][k] * b[k][j];
                fdot += fa[i][k] * fb[k][j];
                idot += ia[i][k] * ib[k][j];
            }
            c[i][j] = dot;
            sum += dot * (i - j);
            fsum += fdot * (float)(i + j);
            isum ^= idot << (i & 7);
            trace += i == j ? dot : 0;
        }
    printf("trace %.17g sum %.17g float %.9g long %ld\n", trace, sum, fsum, isum);
    printf("corner %a %a determinant %.15g\n", c[0][N - 1], c[N - 1][0], determinant());
    return 0;
}
