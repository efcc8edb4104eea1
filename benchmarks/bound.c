/*
 * How fast can a table be looked at in random places? That bounds a search that does so once for each transition.
 *
 * bound THREADS SECONDS LOG2_BYTES...: for each size, a line “log2_bytes accesses_per_second huge_bytes”. The table is in
 * huge pages where the system gives them, and touched before the clock starts. Every access is a read of a word in a
 * line that was asked for (prefetched, for writing, as the search does) some accesses before; of several such distances
 * the best counts. Compile with -O3 -pthread.
 */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MOST_THREADS 64
#define BLOCK 4096                                        /* accesses between two looks at the clock */

static const int distances[] = {8, 16, 32, 64};

struct worker {
    pthread_t thread;
    const uint64_t *table;
    int shift, distance;
    double seconds, rate;
    uint64_t seed, sum;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline uint64_t place(uint64_t i, int shift)
{   /* as good as random, and as cheap as the hash of the search */
    i *= 0xa24baed4963ee407u;
    i ^= i >> 32;
    return i * 0x9fb21c651e98df25u >> shift;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    uint64_t i = w->seed, sum = 0, done = 0;
    double began = now(), passed;
    do {
        for (int k = 0; k < BLOCK; k++, i++) {
            __builtin_prefetch(&w->table[place(i + (uint64_t)w->distance, w->shift)], 1);
            sum += w->table[place(i, w->shift)];
        }
        done += BLOCK;
        passed = now() - began;
    } while (passed < w->seconds);
    w->sum = sum;                                         /* so that the reads are not left out */
    w->rate = (double)done / passed;
    return NULL;
}

/* Bytes of this process that are in huge pages. */
static uint64_t huge_bytes(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "AnonHugePages: %llu", &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return (uint64_t)kib << 10;
}

int main(int argc, char **argv)
{
    static struct worker workers[MOST_THREADS];
    int threads = argc > 3 ? atoi(argv[1]) : 0;
    double seconds = argc > 3 ? atof(argv[2]) : 0;
    if (threads < 1 || threads > MOST_THREADS) {
        fprintf(stderr, "usage: bound THREADS SECONDS LOG2_BYTES...\n");
        return 2;
    }
    for (int a = 3; a < argc; a++) {
        int log = atoi(argv[a]);
        size_t huge = (size_t)1 << 21, bytes = (size_t)1 << log;
        if (log < 12 || log > 40)
            return 2;
        char *memory = mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            perror("mmap");
            return 1;
        }
        uint64_t *table = (uint64_t *)(((uintptr_t)memory + huge - 1) & ~(uintptr_t)(huge - 1));
#ifdef MADV_HUGEPAGE
        madvise(table, bytes, MADV_HUGEPAGE);
#endif
        memset(table, 1, bytes);
        double best = 0;
        for (size_t d = 0; d < sizeof distances / sizeof *distances; d++) {
            double rate = 0;
            for (int t = 0; t < threads; t++) {
                workers[t] = (struct worker){.table = table, .shift = 64 - (log - 3), .distance = distances[d],
                                             .seconds = seconds, .seed = (uint64_t)t << 40};
                if (pthread_create(&workers[t].thread, NULL, work, &workers[t]) != 0) {
                    fprintf(stderr, "no thread\n");
                    return 1;
                }
            }
            for (int t = 0; t < threads; t++) {
                pthread_join(workers[t].thread, NULL);
                rate += workers[t].rate;
            }
            best = rate > best ? rate : best;
        }
        printf("%d %.0f %llu\n", log, best, (unsigned long long)huge_bytes());
        fflush(stdout);
        munmap(memory, bytes + huge);
    }
    return 0;
}
