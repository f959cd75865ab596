// The n-body simulation of five bodies: doubles with square roots and divisions. Prints the energy's bits.
// args: 3
#include "kernel.h"

struct body {
    double p[3], v[3], mass;
};

#define SOLAR 39.47841760435743
#define DAYS 365.24
#define STEPS 1000 // in a round

static struct body bodies[] = {
    {{0, 0, 0}, {0, 0, 0}, SOLAR},
    {{4.84143144246472090, -1.16032004402742839, -0.103622044471123109},
     {0.00166007664274403694 * DAYS, 0.00769901118419740425 * DAYS, -0.0000690460016972063023 * DAYS},
     0.000954791938424326609 * SOLAR},
    {{8.34336671824457987, 4.12479856412430479, -0.403523417114321381},
     {-0.00276742510726411 * DAYS, 0.00499852801234917238 * DAYS, 0.0000230417297573763929 * DAYS},
     0.000285885980666130812 * SOLAR},
    {{12.8943695621391310, -15.1111514016986312, -0.223307578892655734},
     {0.00296460137564761618 * DAYS, 0.00237847173959480950 * DAYS, -0.0000296589568540237556 * DAYS},
     0.0000436624404335156298 * SOLAR},
    {{15.3796971148509165, -25.9193146099879641, 0.179258772950371181},
     {0.00268067772490389322 * DAYS, 0.00162824170038242295 * DAYS, -0.0000951592254519715870 * DAYS},
     0.0000515138902046611451 * SOLAR}};
enum { COUNT = sizeof bodies / sizeof bodies[0] };

static double energy(void) {
    double e = 0;
    for (int i = 0; i < COUNT; i++) {
        for (int k = 0; k < 3; k++)
            e += 0.5 * bodies[i].mass * bodies[i].v[k] * bodies[i].v[k];
        for (int j = i + 1; j < COUNT; j++) {
            double d2 = 0;
            for (int k = 0; k < 3; k++)
                d2 += (bodies[i].p[k] - bodies[j].p[k]) * (bodies[i].p[k] - bodies[j].p[k]);
            e -= bodies[i].mass * bodies[j].mass / __builtin_sqrt(d2);
        }
    }
    return e;
}

static void advance(double dt) {
    for (int i = 0; i < COUNT; i++)
        for (int j = i + 1; j < COUNT; j++) {
            double d[3], d2 = 0;
            for (int k = 0; k < 3; k++) {
                d[k] = bodies[i].p[k] - bodies[j].p[k];
                d2 += d[k] * d[k];
            }
            double pull = dt / (d2 * __builtin_sqrt(d2));
            for (int k = 0; k < 3; k++) {
                bodies[i].v[k] -= d[k] * bodies[j].mass * pull;
                bodies[j].v[k] += d[k] * bodies[i].mass * pull;
            }
        }
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < 3; k++)
            bodies[i].p[k] += dt * bodies[i].v[k];
}

static void kernel(long rounds) {
    for (int i = 1; i < COUNT; i++)
        for (int k = 0; k < 3; k++)
            bodies[0].v[k] -= bodies[i].v[k] * bodies[i].mass / SOLAR;
    print("energy ");
    print_double(energy());
    for (long step = 0; step < rounds * STEPS; step++)
        advance(0.001);
    print(" becomes ");
    print_double(energy());
}
