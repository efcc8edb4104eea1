/* The steps of a strategy on real memory: one patcher performs them, the other CPUs run the sites in a loop.
 *
 * What to do comes as text on standard input (operations.py writes it, program.h reads it): nothing here knows any
 * strategy. How a site is run, and what its traps and faults lead to, is in site.h. What was seen goes to standard
 * output, one JSON object on each line.
 *
 * The code lies in a memory file that is mapped twice: readable and executable where it runs, and writable elsewhere
 * for the patcher. All around it the address space is reserved and holds nothing, so that a call whose displacement is
 * a mixture lands where it faults, and the program counter tells which bytes were fetched.
 *
 * The patcher runs the whole sequence again and again (a trial each). Before each operation it publishes its number in
 * `step`; executing threads read it before and after each execution. So for each execution it is known during which
 * operations it took place, and that, with who was called, is what is counted.
 */
#define _GNU_SOURCE
#include "site.h"
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the patcher ------------------------------------------------------------------------------------------------- */

static u64 dice = 88172645463325252u;

static u32 random_below(u32 limit)
{
    dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
    return limit ? (u32)(dice >> 20) % limit : 0;
}

static double patience_ends;
static int locked;  /* the patcher is in a read-side section of its own */

static const struct timespec moment = { .tv_nsec = 20000 };

/* Wait a little; where that has not helped for long, the other thread is not running, so make room for it. */
static void linger(u32 *spins)
{
    if (++*spins & 0x3ff)
        __builtin_ia32_pause();
    else
        nanosleep(&moment, NULL);
}

/* Whether the patcher has waited long enough to say that it waits in vain. */
static int hopeless(u32 *spins)
{
    linger(spins);
    return (*spins & 0x3ff) == 0 && now() > patience_ends;
}

#define WAIT_UNTIL(condition) \
    do { u32 spins = 0; while (!(condition)) if (hopeless(&spins)) return 0; } while (0)
#define EACH(t) for (struct thread *t = threads; t < threads + P.cpus; t++)

/* Wait until every thread that is at a site, or in a handler, has come out of it. */
static int wait_outside(void)
{
    EACH(t) {
        u32 inside = atomic_load(&t->inside);
        WAIT_UNTIL(!(inside & 1) || atomic_load(&t->inside) != inside);
    }
    return 1;
}

static int interrupt_all(void)
{
    u32 asked = atomic_fetch_add(&S.asked, 1) + 1;
    EACH(t)
        if (syscall(SYS_tgkill, getpid(), t->id, SIGUSR1))
            failed("tgkill");
    return (int)asked;
}

static int synchronise(void)
{
    int command = P.sync == MEMBARRIER ? MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE : MEMBARRIER_CMD_PRIVATE_EXPEDITED;
    if (P.sync == NONE)
        return 1;
    WAIT_UNTIL(!atomic_load(&S.halt));
    if (P.sync == MEMBARRIER || P.sync == BARRIER) {
        if (syscall(SYS_membarrier, command, 0, 0))
            failed("membarrier");
    } else {
        u32 asked = (u32)interrupt_all();
        EACH(t)
            WAIT_UNTIL(atomic_load(&t->acknowledged) == asked);
    }
    return !P.gate || wait_outside();
}

/* One store instruction of the piece's width. */
static void store(const struct code *piece)
{
    volatile u8 *to = writable(piece->at);
    u64 value;
    memcpy(&value, piece->bytes, 8);
    switch (piece->length) {
    case 1: __asm__ volatile("movb %b1, (%0)" : : "r"(to), "q"(value) : "memory"); break;
    case 2: __asm__ volatile("movw %w1, (%0)" : : "r"(to), "r"(value) : "memory"); break;
    case 4: __asm__ volatile("movl %k1, (%0)" : : "r"(to), "r"(value) : "memory"); break;
    case 8: __asm__ volatile("movq %1, (%0)" : : "r"(to), "r"(value) : "memory"); break;
    default: die("a store of a width that there is not");
    }
}

static void protect(struct page *page, int dead)
{
    if (dead)  /* first: who faults there asks why */
        page->dead = 1;
    if (mprotect((void *)page->at, PAGE, dead ? PROT_NONE : PROT_READ | PROT_EXEC))
        failed("mprotect");
    page->dead = dead;
}

/* Performs one operation; returns 0 when it waits in vain. */
static int perform(const struct operation *o)
{
    switch (o->kind) {
    case STORE:
        for (u64 i = 0; i < o->b; i++)
            store(&P.piece[o->a + i]);
        return 1;
    case SYNC: return synchronise();
    case CLAIM:
        if (P.counted)
            EACH(t)
                atomic_store(&t->count, 1);
        atomic_store(&S.claim, (u32)o->a);
        return 1;
    case RELEASE:
        if (!P.counted)
            atomic_store(&S.claim, 0);
        else
            EACH(t)
                if (atomic_load(&t->count))
                    atomic_fetch_sub(&t->count, 1);
        return 1;
    case DISCARD: atomic_store(&S.claim, 0); return 1;
    case WAIT_HANDLERS:
        if (!P.counted)
            return wait_outside();
        EACH(t)
            WAIT_UNTIL(atomic_load(&t->count) == 0);
        return 1;
    case WAIT_READERS: WAIT_UNTIL(!locked); return wait_outside();
    case WAIT_TASKS:
        EACH(t) {  /* a thread's next execution, begun after this one, is where its task may switch */
            u64 done = atomic_load(&t->executions);
            WAIT_UNTIL(atomic_load(&t->executions) != done);
        }
        return 1;
    case LOCK: locked = 1; return 1;
    case UNLOCK: locked = 0; return 1;
    case STOP:
        atomic_store(&S.halt, 1);
        interrupt_all();
        EACH(t)
            WAIT_UNTIL(atomic_load(&t->parked));
        return 1;
    case RESUME:
        atomic_store(&S.halt, 0);
        EACH(t)
            WAIT_UNTIL(!atomic_load(&t->parked));
        return 1;
    case WORD: *(volatile u32 *)(P.data + 8 * o->a) = (u32)o->b; return 1;
    case ALLOCATE: {
        const struct code *stub = &P.piece[o->a];
        memcpy((void *)writable(stub->at), stub->bytes, stub->length);
        protect(page_of(stub->at), 0);
        return 1;
    }
    case FREE: protect(page_of(o->a), 1); return 1;
    case RETURN:
    default: return 1;
    }
}

/* Every thread has executed `more` sites since it had executed `since[i]`. */
static int let_them_run(const u64 *since, u64 more)
{
    for (u32 i = 0; i < P.cpus; i++)
        WAIT_UNTIL(atomic_load(&threads[i].executions) >= since[i] + more);
    return 1;
}

static void look(u64 *executions)
{
    for (u32 i = 0; i < P.cpus; i++)
        executions[i] = atomic_load(&threads[i].executions);
}

static void reset(void)
{
    for (u32 i = 0; i < P.resets; i++)
        memcpy((void *)writable(P.reset[i].at), P.reset[i].bytes, P.reset[i].length);
    for (u32 i = 0; i < P.pages; i++)
        if (P.page[i].dead != P.page[i].starts_dead)
            protect(&P.page[i], P.page[i].starts_dead);
    for (u32 i = 0; i < P.words; i++)
        *(volatile u32 *)(P.data + 8 * i) = (u32)P.word[i];
    EACH(t)
        atomic_store(&t->count, 0);
    locked = 0;
    atomic_store(&S.claim, 0);
    atomic_store(&S.step, 0);
}

/* Between operations: mostly a short while, and now and then one in which a whole execution finds room. */
static void dawdle(void)
{
    u32 most = random_below(32) ? P.pause : P.long_pause;
    for (u32 pause = random_below(most); pause; pause--)
        __builtin_ia32_pause();
}

/* One trial: what the sites held at first, all operations, and a while after. Returns the operation that it waited at in
 * vain (after the last one: nobody ran a site any more), or -1. */
static int one_trial(u32 trial)
{
    u64 since[MOST];
    int waits = -1;
    reset();
    look(since);
    atomic_store(&S.ends, 0);
    atomic_store(&S.trial, trial);
    patience_ends = now() + 10 + P.patience;
    if (!let_them_run(since, P.settle))
        die("a thread does not start");
    patience_ends = now() + P.patience;
    for (u32 i = 0; i < P.operations; i++) {
        if (!perform(&P.operation[i])) {
            waits = (int)i;
            break;
        }
        atomic_store_explicit(&S.step, i + 1, memory_order_release);
        dawdle();
    }
    if (waits < 0) {
        look(since);
        if (!let_them_run(since, P.settle))
            waits = (int)P.operations;
    }
    atomic_store(&S.ends, trial);
    atomic_store(&S.halt, 0);
    patience_ends = now() + 1 + P.patience;
    EACH(t) {
        u32 spins = 0;
        while (atomic_load(&t->trial) != trial)
            if (hopeless(&spins))
                die("a thread does not come back");
    }
    return waits;
}

static void pin(u32 cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        failed("sched_setaffinity");
}

static void *executor(void *argument)
{
    struct thread *mine = argument;
    pin(P.cpu[mine->number]);
    stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };
    if (!stack.ss_sp || sigaltstack(&stack, NULL))
        failed("sigaltstack");
    mine->id = (pid_t)syscall(SYS_gettid);
    me = mine;
    for (u32 trial = 1;; trial++) {
        for (u32 spins = 0; atomic_load(&S.trial) < trial;)
            linger(&spins);
        if (atomic_load(&S.trial) == UINT32_MAX)
            return NULL;
        serialise();
        mine->seen = 0, mine->late = 0, mine->running = trial;
        u32 step = 0, alone = 0;
        while (atomic_load_explicit(&S.ends, memory_order_acquire) != trial) {
            for (u32 s = P.sites; s-- > 0;)  /* the last one first: the patcher goes the other way */
                execute(s);
            alone = step == atomic_load_explicit(&S.step, memory_order_relaxed) ? alone + 1 : 0;
            step = atomic_load_explicit(&S.step, memory_order_relaxed);
            if (alone >= ALONE && alone % (ALONE / 8) == 0)
                nanosleep(&moment, NULL);  /* the patcher has lost its CPU to others: so nothing is missed */
        }
        atomic_store(&mine->trial, trial);
    }
}

/* ---- set up, and say what was seen -------------------------------------------------------------------------------- */

static void map_memory(void)
{
    int file = memfd_create("code", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)P.pages * PAGE))
        failed("memfd_create");
    alias = mmap(NULL, (size_t)P.pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    void *around = mmap((void *)P.low, P.high - P.low, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    void *data = mmap((void *)P.data, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (alias == MAP_FAILED || around != (void *)P.low || data != (void *)P.data)
        failed("mmap");
    memset(alias, 0xf4, (size_t)P.pages * PAGE);  /* hlt: faults where it stands */
    for (u32 i = 0; i < P.pages; i++) {
        struct page *page = &P.page[i];
        if (mmap((void *)page->at, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, file, (off_t)i * PAGE) ==
            MAP_FAILED)
            failed("mmap");
        protect(page, page->starts_dead);
    }
    for (u32 i = 0; i < P.codes; i++)
        memcpy((void *)writable(P.code[i].at), P.code[i].bytes, P.code[i].length);
}

static void print_hex(const char *name, const u8 *bytes)
{
    printf(",\"%s\":\"", name);
    for (int i = 0; i < LENGTH; i++)
        printf("%02x", bytes[i]);
    printf("\"");
}

static void print_thread(const struct thread *t)
{
    for (u32 b = 0; b <= P.operations; b++)
        for (u32 a = b; a <= P.operations; a++)
            for (u32 s = 0; s < P.sites; s++)
                for (u32 seen = 0; seen < masks(); seen++)
                    for (u32 e = 0; e < events(); e++) {
                        u64 count = t->counts[cell(b, a, s, seen, e)];
                        if (count)
                            printf("{\"kind\":\"count\",\"before\":%u,\"after\":%u,\"site\":%u,\"seen\":%u,"
                                   "\"event\":%u,\"count\":%lu}\n", b, a, s, seen, e, count);
                    }
    for (u32 i = 0; i < MOST_TORN; i++) {
        const struct torn *o = &t->table[i];
        if (!o->count)
            continue;
        printf("{\"kind\":\"torn\",\"before\":%u,\"after\":%u,\"site\":%u,\"signal\":%u,\"known\":%u,\"landing\":%lu",
               o->before, o->after, o->site, o->signal, o->known, o->landing);
        print_hex("fetched", o->fetched);
        print_hex("memory", o->memory);
        printf(",\"count\":%lu}\n", o->count);
    }
    printf("{\"kind\":\"thread\",\"executions\":%lu,\"traps\":%lu,\"retries\":%lu,\"forgotten\":%lu,"
           "\"torn_trials\":%lu}\n", atomic_load(&t->executions), t->traps, t->retries, t->forgotten, t->torn_trials);
}

int main(void)
{
    struct rlimit none = { 0, 0 };
    setrlimit(RLIMIT_CORE, &none);
    int follows = !prctl(PR_SET_PDEATHSIG, SIGKILL);
    read_program();
    if (!follows || (u32)getppid() != P.parent)
        die("nobody is there to read what it says");
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) ||
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
        failed("membarrier");
    map_memory();
    install_handlers();
    pin(P.patcher_cpu);
    threads = aligned_alloc(_Alignof(struct thread), P.cpus * sizeof *threads);
    memset(threads, 0, P.cpus * sizeof *threads);
    for (u32 i = 0; i < P.cpus; i++) {
        threads[i].number = i;
        threads[i].counts = calloc(cell(P.operations + 1, 0, 0, 0, 0), sizeof(u64));
        threads[i].table = calloc(MOST_TORN, sizeof(struct torn));
        if (!threads[i].counts || !threads[i].table ||
            (errno = pthread_create(&threads[i].thread, NULL, executor, &threads[i])))
            failed("pthread_create");
    }
    double began = now();
    u32 trial = 0;
    u64 most = 0;
    int waits = -1;
    while (waits < 0 && most < P.executions && now() - began < P.seconds && trial < UINT32_MAX - 2) {
        waits = one_trial(++trial);
        most = 0;
        EACH(t)
            most += atomic_load(&t->executions);
    }
    double seconds = now() - began;
    atomic_store(&S.trial, UINT32_MAX);
    EACH(t)
        pthread_join(t->thread, NULL);
    EACH(t)
        print_thread(t);
    printf("{\"kind\":\"end\",\"trials\":%u,\"seconds\":%.6f,\"waits\":%d}\n", trial, seconds, waits);
    return 0;
}
