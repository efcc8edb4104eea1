/* What an executing thread does: run a site, handle its traps as the model's handler does, survive its faults. */
#include "program.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <ucontext.h>

/* ---- what threads share ------------------------------------------------------------------------------------------ */

struct torn { u32 before, after, site, signal, known; u64 landing; u8 fetched[LENGTH], memory[LENGTH]; u64 count; };

struct thread {
    _Alignas(2 * LINE) _Atomic u32 inside;  /* odd: from before a site until after it; += 2 at the end of a handler */
    _Atomic u32 count;                      /* references to the claim */
    _Atomic u32 trial, acknowledged, parked;
    _Atomic u64 executions;
    _Alignas(2 * LINE) u64 stack;           /* of run_site, to come back from anywhere */
    int masked, active, special, late;      /* late: nobody but the end of the trial has let it go */
    u32 via, site, number;
    struct torn now;
    u32 seen;                               /* at which sites this thread has run the new, in this trial */
    u64 retries, traps, forgotten;
    u64 torn_trials;                        /* in how many trials something was torn */
    u32 running, torn_in;                   /* the trial that runs, and the last one in which something was torn */
    u64 *counts;                            /* by before, after, site, seen, event */
    struct torn *table;                     /* MOST_TORN rows; who has not been counted is free */
    pid_t id;
    pthread_t thread;
};

static struct thread *threads;
static _Thread_local struct thread *me;
static struct { _Alignas(2 * LINE) _Atomic u32 step; _Alignas(2 * LINE) _Atomic u32 claim, trial, ends, asked, halt; } S;

static u32 events(void) { return (P.claims + 2) * P.whos + SPECIALS; }
static u32 masks(void) { return P.masks ? 1u << P.sites : 1; }
static u64 cell(u32 before, u32 after, u32 site, u32 seen, u32 event)
{
    return (((u64)(before * (P.operations + 1) + after) * P.sites + site) * masks() + seen) * events() + event;
}

static void serialise(void)
{
    u32 a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- running a site ---------------------------------------------------------------------------------------------- */

struct result { u64 who, magic; };
struct result run_site(u64 *stack, u64 address);
void run_site_back(void);

/* Every register is zero inside, so that what is run by mistake faults and writes nowhere. */
__asm__(".text\n.globl run_site, run_site_back\n.p2align 6\n"
        "run_site:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"
        "  mov %rsp, (%rdi)\n"
        "  xor %eax, %eax; xor %ebx, %ebx; xor %ecx, %ecx; xor %edx, %edx; xor %esi, %esi; xor %edi, %edi\n"
        "  xor %ebp, %ebp; xor %r8d, %r8d; xor %r9d, %r9d; xor %r10d, %r10d; xor %r11d, %r11d\n"
        "  xor %r12d, %r12d; xor %r13d, %r13d; xor %r14d, %r14d; xor %r15d, %r15d\n"
        "  call *(%rsp)\n"
        "run_site_back:\n"
        "  pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  ret\n");

static void count_torn(u32 before, u32 after)
{
    struct torn *t = &me->now;
    me->torn_trials += me->torn_in != me->running;
    me->torn_in = me->running;
    u64 hash = ((((u64)before << 8 | after) << 8 | t->site) << 8 | t->signal) * 0x9e3779b97f4a7c15u ^
               t->landing * 0xc2b2ae3d27d4eb4fu;
    for (u32 i = 0; i < TRIES; i++) {
        struct torn *o = &me->table[((hash >> 32) + i) % MOST_TORN];
        if (!o->count) {
            *o = *t;
            o->before = before, o->after = after;
        }
        if (o->before == before && o->after == after && o->site == t->site && o->signal == t->signal &&
            o->landing == t->landing) {
            o->count++;
            return;
        }
    }
    me->forgotten++;
}

static void execute(u32 site)
{
    me->site = site, me->via = 0, me->special = -1, me->active = 1;
    u32 inside = atomic_load_explicit(&me->inside, memory_order_relaxed) | 1;
    atomic_store_explicit(&me->inside, inside, memory_order_release);
    u32 before = atomic_load_explicit(&S.step, memory_order_acquire);
    struct result r = run_site(&me->stack, P.site[site]);
    u32 after = atomic_load_explicit(&S.step, memory_order_acquire);
    atomic_store_explicit(&me->inside, atomic_load_explicit(&me->inside, memory_order_relaxed) + 1, memory_order_release);
    me->active = 0;
    if (me->masked) {
        sigset_t one;
        sigemptyset(&one), sigaddset(&one, SIGUSR1);
        me->masked = 0;
        pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    }

    if (me->late)
        return;
    u32 event, first = (P.claims + 2) * P.whos;
    u32 who = (u32)r.who;
    if (me->special < 0 && r.magic != MAGIC + site)
        me->special = LOST;
    else if (me->special < 0 && who >= P.whos) {
        me->special = TORN;
        me->now = (struct torn){ .site = site, .landing = who };
    }
    event = me->special < 0 ? me->via * P.whos + who : first + (u32)me->special;
    if (me->special == TORN)
        count_torn(before, after);
    me->counts[cell(before, after, site, me->seen, event)]++;
    if (P.masks && me->special < 0 && P.means_new[who])
        me->seen |= 1u << site;
    atomic_store_explicit(&me->executions, atomic_load_explicit(&me->executions, memory_order_relaxed) + 1,
                          memory_order_release);
}

/* ---- traps and faults -------------------------------------------------------------------------------------------- */

static void leave(greg_t *regs, enum special special)
{
    me->special = special;
    regs[REG_RIP] = (greg_t)(uintptr_t)run_site_back;
    regs[REG_RSP] = (greg_t)me->stack;
}

static void act(greg_t *regs, const struct action *action, u32 via)
{
    me->via = via;
    u64 returns_to = P.site[me->site] + LENGTH;
    switch (action->act) {
    case SKIP:
        regs[REG_RIP] = (greg_t)returns_to;
        break;
    case CALL:
        if (action->pushes) {
            regs[REG_RSP] -= 8;
            *(u64 *)regs[REG_RSP] = returns_to;
        }
        regs[REG_RIP] = (greg_t)action->target;
        break;
    case STUB:
    case STUB_OFF:
        regs[REG_RIP] = (greg_t)action->target;
        break;
    case BACK:
        me->retries++;
        me->via = 0;
        if (atomic_load(&S.ends) == me->running) {
            me->late = 1;
            leave(regs, LOST);
            break;
        }
        regs[REG_RIP] = (greg_t)P.site[me->site];
        break;
    case NOWHERE:
        leave(regs, LOST);
    }
}

static int take_count(void)
{
    u32 held = atomic_load(&me->count);
    while (held)
        if (atomic_compare_exchange_weak(&me->count, &held, held + 1))
            return 1;
    return 0;
}

static void unclaimed(greg_t *regs)
{
    if (P.probe && P.action[0][me->site].found)
        act(regs, &P.action[0][me->site], P.claims + 1);
    else if (P.rereads && *writable(P.site[me->site]) != 0xcc) {
        me->retries++;
        regs[REG_RIP] = (greg_t)P.site[me->site];
    } else
        leave(regs, UNCLAIMED);
}

/* The trap handler, as the model has it: look-up, then action; what the action needs of the claim is read again. */
static const struct action *trapped(greg_t *regs)
{
    const struct action *action = NULL;
    if (P.counted && !take_count()) {
        unclaimed(regs);
        return NULL;
    }
    u32 claim = atomic_load(&S.claim);
    if (P.counted && !claim)
        leave(regs, DEAD_CLAIM);
    else if (!claim || !P.action[claim][me->site].found)
        unclaimed(regs);
    else {
        if (P.rechecks)
            claim = atomic_load(&S.claim);
        if (!claim || !P.action[claim][me->site].found)
            leave(regs, DEAD_CLAIM);
        else
            act(regs, action = &P.action[claim][me->site], claim);
    }
    if (P.counted)
        atomic_fetch_sub(&me->count, 1);
    return action;
}

static void torn(int signal, u64 rip, greg_t *regs)
{
    u64 site = P.site[me->site], far = rip - (site + LENGTH);
    struct torn *t = &me->now;
    *t = (struct torn){ .site = me->site, .signal = (u32)signal, .landing = rip };
    t->known = rip >= site + PAGE && rip < P.high;  /* a call that went astray: where to tells its bytes */
    if (t->known) {
        t->fetched[0] = 0xe8;
        memcpy(t->fetched + 1, &far, LENGTH - 1);
    }
    for (int i = 0; i < LENGTH; i++)
        t->memory[i] = *writable(site + (u64)i);
    leave(regs, TORN);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)info;
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    u64 rip = (u64)regs[REG_RIP];
    if (!me || !me->active) {  /* not a site's fault but ours: die of it */
        struct sigaction plain = { .sa_handler = SIG_DFL };
        sigaction(signal, &plain, NULL);
        return;
    }
    const struct action *action = NULL;
    struct page *page = page_of(rip);
    if (signal == SIGTRAP && rip == P.site[me->site] + 1) {
        me->traps++;
        action = trapped(regs);
    } else if (page && page->dead)
        leave(regs, FREED);
    else
        torn(signal, rip, regs);
    if (action && action->act == STUB_OFF && P.gate)
        sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGUSR1), me->masked = 1;
    if (!action || action->act != STUB_OFF)  /* with interrupts off the handler lasts until the stub is left */
        atomic_fetch_add(&me->inside, 2);
}

/* What the patcher asks for by signal: serialise, and with that or without it stay parked for a while. */
static void on_interrupt(int signal)
{
    (void)signal;
    if (!me)
        return;
    u32 asked = atomic_load(&S.asked);
    if (atomic_load(&S.halt)) {
        atomic_store(&me->parked, 1);
        while (atomic_load(&S.halt))
            __builtin_ia32_pause();
        me->late = atomic_load(&S.ends) == atomic_load(&S.trial);
    }
    if (P.sync != BARE_SIGNAL || atomic_load(&me->parked))
        serialise();
    atomic_store(&me->parked, 0);
    atomic_store(&me->acknowledged, asked);
}

static void install_handlers(void)
{
    static const int faults[] = { SIGTRAP, SIGSEGV, SIGILL, SIGBUS, SIGFPE };
    struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
    if (P.gate)  /* an interrupt gate: no interrupt until the handler is over */
        sigaddset(&fault.sa_mask, SIGUSR1);
    for (u32 i = 0; i < sizeof faults / sizeof *faults; i++)
        if (sigaction(faults[i], &fault, NULL))
            failed("sigaction");
    struct sigaction interrupt = { .sa_handler = on_interrupt, .sa_flags = SA_ONSTACK | SA_RESTART };
    if (sigaction(SIGUSR1, &interrupt, NULL))
        failed("sigaction");
}
