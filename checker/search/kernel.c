/*
 * Breadth-first search over packed states, level by level, driven by tables: the same code for every system.
 *
 * A state is one word: the number of its shared values in the low bits, above it the number of each instance's locals.
 * What an instance can do depends on the shared values and its own locals alone (a *pair*), so every pair has a row of
 * edges, and exploring a state is a look-up for each instance and an addition for each transition. The patcher's moves
 * belong to the shared values; each instance consents to one or not (a bit of its pair), and a broadcast maps locals to
 * locals. tables.py makes the tables from the transition system and describes them; native.py drives this file.
 *
 *   state store   `all`: every state in the order of its discovery, so a level is a range of it and the next level is
 *                 what has been appended behind. The store and the table are reserved once as address space and grow
 *                 in place.
 *   table         open addressing with linear probing by cache lines, the states themselves in the slots (one cache
 *                 miss for each transition). Lines are in the order of hashes, so that a larger table is made where the
 *                 smaller one lies, in one pass from the top down.
 *   batches       successors are collected and their lines prefetched; they are inserted while the next are found.
 *   threads       take chunks of the level from a counter and insert with compare-and-swap. Nothing that is answered
 *                 depends on who comes first: counts are sums, and paths are found afterwards from the levels.
 *   symmetry      of the orbit of a state under swapping instances of one component, the one with sorted locals is
 *                 kept; counts of the full system are sums over orbits.
 *   compact       with -DCOMPACT the table holds 32 bits of each state's hash instead of the state. It does not grow.
 *
 * Compile with -DWIDE for states of up to 127 bits; without it they have up to 63.
 */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MOST_INSTANCES 32
#define MOST_THREADS 64
#define CHUNK 128                 /* states that a thread takes at a time */
#define BATCH 64                  /* successors between prefetch and insertion */
#define NEVER UINT32_MAX
#define FIRST_LINES 8192          /* of a new table */
#define SMALL_LINES (1 << 18)     /* up to here it grows fourfold, since every growth moves all states */

#ifdef WIDE
typedef unsigned __int128 state_t;
#else
typedef uint64_t state_t;
#endif

/* ---- the tables (written by tables.py, field by field) ------------------------------------------------------------ */

struct pair {
    uint32_t first, count;        /* its edges */
    uint32_t consent;             /* bit k: it allows the k-th move at its shared values; the highest bit: it halts */
    _Atomic uint32_t expanded;    /* the first level with a state, not halted, that has this pair */
};
#define HALTS 0x80000000u

struct move { uint32_t shared, bit, casts; };             /* casts: where its rows of `casts` begin, one per component */

struct group { uint32_t first_instance, instances, shift, bits, locals, first_pair; };  /* a component */

struct tables {
    uint32_t groups, shared, shared_bits, symmetric;
    struct group *group;
    struct pair *pairs;
    int64_t *shared_steps, *local_steps;  /* by edge, differences; three more at the end are read and not used */
    uint32_t *first_move;         /* by shared value, one more than there are */
    struct move *moves;
    _Atomic uint32_t *fired;      /* by move: the first level at which it is enabled */
    uint32_t *casts;              /* casts[move.casts[group] + locals]: the locals after the broadcast */
    _Atomic uint32_t *halted;     /* by pair: the first level with a halted state that has it */
};

/* ---- the search --------------------------------------------------------------------------------------------------- */

#ifdef COMPACT
typedef uint32_t slot_t;
#elif defined(WIDE)
typedef struct { uint64_t low, high; } slot_t;            /* low: 0 empty, 2 being written, else odd */
#else
typedef uint64_t slot_t;                                  /* the state plus one; 0 is empty */
#endif

struct layer { state_t *slots; uint64_t size, used; };    /* a small set of states */

struct search {
    struct tables t;
    uint32_t instances, row[MOST_INSTANCES];              /* by instance: its group */
    uint32_t shift[MOST_INSTANCES];
    state_t mask[MOST_INSTANCES];
    double factorial[MOST_INSTANCES + 1];

    slot_t *table;
    uint64_t lines;                                       /* of the table */
    int is_last;                                          /* it cannot grow any more */
    size_t table_reserved;
    state_t *all;
    size_t all_reserved;
    uint64_t capacity;                                    /* states that `all` has room for */
    _Atomic uint64_t tail;                                /* states stored */

    uint64_t *level;                                      /* where each level begins; level[depth + 1] is its end */
    uint32_t depth, levels_allocated;
    _Atomic uint64_t cursor;                              /* the next state to expand */
    uint64_t slice_end;
    uint64_t keep_from;                                   /* states before this one were given back to the system */
    uint64_t budget;                                      /* bytes for the table and the store */

    uint64_t full_states, transitions;                    /* of the full system */
    uint64_t halted_states;                               /* stored ones */
    double omitted;                                       /* COMPACT: expected number of states taken for known ones */
    int threads;
    uint32_t most_successors;                             /* of one state */

    struct layer *layers;                                 /* of the last question for a path */
    uint32_t layer_count;
};

enum { MORE = 0, COMPLETE = 1, NO_MEMORY = 2 };

struct worker {
    struct search *s;
    pthread_t thread;
    uint64_t full_states, transitions, halted_states;
    double omitted;
    uint32_t buffered, waiting_count, fresh_count;
    void *memory;                 /* of what follows */
    state_t *buffer, *waiting;    /* successors that were found; those before them, whose lines are on their way */
    uint64_t *hash;               /* of those that wait, and of those that are to wait */
    state_t fresh[CHUNK];
    char apart[128];              /* from what the next worker writes */
};

static inline uint64_t hash_of(state_t state)
{   /* two rounds of multiplication; each brings what lies high down again */
    uint64_t h = (uint64_t)state;
#ifdef WIDE
    uint64_t high = (uint64_t)(state >> 64) * 0x9fb21c651e98df25u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u ^ high ^ high >> 29;
#endif
    h = (h ^ h >> 32) * 0xa24baed4963ee407u;
    h = (h ^ h >> 29) * 0x9fb21c651e98df25u;
    return h ^ h >> 32;
}

#define LINE (64 / sizeof(slot_t))

static inline uint64_t slots_of(const struct search *s) { return s->lines * LINE; }
static inline uint64_t room_of(const struct search *s)
{   /* how many states the table takes before it must grow; the last growth leaves it fuller */
    uint64_t sixteenth = slots_of(s) / 16;
    return (s->is_last ? 15 : sizeof(slot_t) > 8 ? 14 : 12) * sixteenth;
}

static uint64_t bytes_of(const struct search *s)
{
    return slots_of(s) * sizeof(slot_t) + (atomic_load(&s->tail) - s->keep_from) * sizeof(state_t);
}

static inline uint64_t slack_of(const struct search *s)
{   /* what the threads may add between two looks at the room */
    return (uint64_t)s->threads * CHUNK * s->most_successors;
}

/* ---- the table: lines of slots, each line one cache line, filled from its first slot ------------------------------- */

static inline uint64_t home_of(const struct search *s, uint64_t hash)
{   /* the first slot of the line where a state with this hash belongs: lines are in the order of hashes */
    return (uint64_t)((unsigned __int128)hash * s->lines >> 64) * LINE;
}

static inline uint64_t next_line(const struct search *s, uint64_t slot)
{
    return slot + LINE < slots_of(s) ? slot + LINE : 0;
}

#ifdef COMPACT
typedef _Atomic uint32_t shared_slot;
static inline slot_t slot_for(state_t state, uint64_t hash)
{
    (void)state;
    return (uint32_t)hash ? (uint32_t)hash : 1;
}
#elif defined(WIDE)
typedef struct { _Atomic uint64_t low, high; } shared_slot;
static inline slot_t slot_for(state_t state, uint64_t hash)
{
    (void)hash;
    return (slot_t){(uint64_t)state << 1 | 1, (uint64_t)(state >> 63)};
}
static inline state_t state_in(slot_t slot) { return (state_t)slot.high << 63 | slot.low >> 1; }
static inline int is_empty(slot_t slot) { return slot.low == 0; }
#else
typedef _Atomic uint64_t shared_slot;
static inline slot_t slot_for(state_t state, uint64_t hash)
{
    (void)hash;
    return state + 1;
}
static inline state_t state_in(slot_t slot) { return slot - 1; }
static inline int is_empty(slot_t slot) { return slot == 0; }
#endif

#if !defined(WIDE) || defined(COMPACT)
/* Whether a line has `wanted`: all of it without a branch, since it is one cache miss. No may come too early. */
static inline int look(const shared_slot *line, slot_t wanted)
{
#if !defined(COMPACT) && !defined(__SANITIZE_THREAD__)
    typedef int64_t lanes __attribute__((vector_size(32), may_alias));
    const lanes *half = (const lanes *)line;
    lanes key = {0, 0, 0, 0}, same;
    key += (int64_t)wanted;
    same = (half[0] == key) | (half[1] == key);
    return (same[0] | same[1] | same[2] | same[3]) != 0;
#else
    int same = 0;
    for (uint32_t k = 0; k < LINE; k++)
        same |= atomic_load_explicit(&line[k], memory_order_relaxed) == wanted;
    return same;
#endif
}
#endif

/* Insert into the table: true if the state was not there. */
#ifdef WIDE
#ifndef COMPACT
static inline int insert(struct worker *w, state_t state, uint64_t hash)
{
    struct search *s = w->s;
    slot_t wanted = slot_for(state, hash);
    for (uint64_t home = home_of(s, hash);; home = next_line(s, home)) {
        shared_slot *line = (shared_slot *)s->table + home;
        for (uint32_t k = 0; k < LINE; k++) {
            uint64_t low = atomic_load_explicit(&line[k].low, memory_order_acquire);
            if (low == 0 && atomic_compare_exchange_strong_explicit(
                    &line[k].low, &low, 2, memory_order_acquire, memory_order_acquire)) {
                atomic_store_explicit(&line[k].high, wanted.high, memory_order_relaxed);
                atomic_store_explicit(&line[k].low, wanted.low, memory_order_release);
                return 1;
            }
            while (low == 2)      /* another thread is about to finish its entry */
                low = atomic_load_explicit(&line[k].low, memory_order_acquire);
            if (low == wanted.low && atomic_load_explicit(&line[k].high, memory_order_relaxed) == wanted.high)
                return 0;
        }
    }
}
#endif
#endif
#if !defined(WIDE) || defined(COMPACT)
static inline int insert(struct worker *w, state_t state, uint64_t hash)
{
    struct search *s = w->s;
    slot_t wanted = slot_for(state, hash);
    uint32_t passed = 0;
    for (uint64_t home = home_of(s, hash);; home = next_line(s, home), passed += LINE) {
        shared_slot *line = (shared_slot *)s->table + home;
        if (look(line, wanted))
            return 0;
        for (uint32_t k = 0; k < LINE; k++) {             /* every slot again: another thread may have filled it */
            slot_t found = atomic_load_explicit(&line[k], memory_order_relaxed);
            if (found == 0 && s->threads == 1)
                atomic_store_explicit(&line[k], wanted, memory_order_relaxed);
            if (found == 0 && (s->threads == 1 || atomic_compare_exchange_strong_explicit(
                    &line[k], &found, wanted, memory_order_relaxed, memory_order_relaxed))) {
                w->omitted += (double)(passed + k) / 4294967295.0;
                return 1;
            }
            if (found == wanted)
                return 0;
        }
    }
}
#endif

#ifndef COMPACT
static uint64_t find(const struct search *s, state_t state)
{   /* the slot of a state that is there */
    uint64_t hash = hash_of(state);
    slot_t wanted = slot_for(state, hash);
    for (uint64_t home = home_of(s, hash);; home = next_line(s, home))
        for (uint32_t k = 0; k < LINE; k++)
            if (memcmp(&s->table[home + k], &wanted, sizeof wanted) == 0)
                return home + k;
}

/* ---- growing: enlarge the table where it lies --------------------------------------------------------------------- */

static void put_back(struct search *s, slot_t entry)
{
    for (uint64_t home = home_of(s, hash_of(state_in(entry)));; home = next_line(s, home))
        for (uint32_t k = 0; k < LINE; k++)
            if (is_empty(s->table[home + k])) {
                s->table[home + k] = entry;
                return;
            }
}

/* How many lines a larger table has: more than twice as many while it is small, a quarter more where memory is dear. */
static uint64_t larger(const struct search *s)
{
    int dear = bytes_of(s) + s->lines * 64 > s->budget;
    if (s->lines < SMALL_LINES && bytes_of(s) + 3 * s->lines * 64 <= s->budget)
        return 4 * s->lines;
#ifdef WIDE
    dear = dear || s->lines > 1 << 17;
#endif
    return dear ? s->lines / 4 * 5 : 2 * s->lines;
}

/*
 * An entry stands in its own line or, where that is full, in the next that is not. So a run of lines that are full but
 * for the last holds all that belongs to it. Take out whole runs, from the top down, and put their entries back by the
 * new size: an entry's new home is not below its old one, so never below its own run, and all that is above has been
 * moved already. The run at line 0 may hold entries that wrapped around: it goes first and comes back last. False if
 * there is no memory for a run.
 */
static int grow(struct search *s)
{
    uint64_t old = slots_of(s), head = 0, room = 64 * LINE;
    slot_t *held = malloc(room * sizeof *held), *first;
    while (head + LINE < old && !is_empty(s->table[head + LINE - 1]))
        head += LINE;
    head += LINE;
    first = malloc(head * sizeof *first);
    if (held == NULL || first == NULL) {
        free(held);
        free(first);
        return 0;
    }
    memcpy(first, s->table, head * sizeof *first);
    memset(s->table, 0, head * sizeof *first);
    s->lines = larger(s);
    for (uint64_t begin = old, end = old; end > 0; end = begin) {
        begin -= LINE;
        while (begin > 0 && !is_empty(s->table[begin - 1]))
            begin -= LINE;
        if (end - begin > room) {
            slot_t *more = realloc(held, 2 * (end - begin) * sizeof *held);
            if (more == NULL)
                abort();                                  /* some kilobytes; half of the table has moved: no way back */
            held = more;
            room = 2 * (end - begin);
        }
        memcpy(held, s->table + begin, (end - begin) * sizeof *held);
        memset(s->table + begin, 0, (end - begin) * sizeof *held);
        for (uint64_t i = 0; i < end - begin; i++)
            if (!is_empty(held[i]))
                put_back(s, held[i]);
    }
    for (uint64_t i = 0; i < head; i++)
        if (!is_empty(first[i]))
            put_back(s, first[i]);
    free(first);
    free(held);
    return 1;
}
#endif

/* ---- packing and symmetry ----------------------------------------------------------------------------------------- */

static inline uint32_t shared_of(const struct search *s, state_t state)
{
    return (uint32_t)state & (((uint32_t)1 << s->t.shared_bits) - 1);
}

static inline uint32_t local_of(const struct search *s, state_t state, uint32_t i)
{
    return (uint32_t)((state >> s->shift[i]) & s->mask[i]);
}

static inline state_t pack(const struct search *s, uint32_t shared, const uint32_t *locals)
{
    state_t state = shared;
    for (uint32_t i = 0; i < s->instances; i++)
        state |= (state_t)locals[i] << s->shift[i];
    return state;
}

static void sort(uint32_t *values, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint32_t value = values[i], k = i;
        for (; k > 0 && values[k - 1] > value; k--)
            values[k] = values[k - 1];
        values[k] = value;
    }
}

static state_t representative(const struct search *s, uint32_t shared, uint32_t *locals)
{
    for (uint32_t c = 0; c < s->t.groups; c++)
        sort(locals + s->t.group[c].first_instance, s->t.group[c].instances);
    return pack(s, shared, locals);
}

/* How many states of the full system a representative stands for: n! over the factorials of its runs. */
static double orbit(const struct search *s, const uint32_t *locals)
{
    double size = 1;
    for (uint32_t c = 0; c < s->t.groups; c++) {
        const uint32_t *own = locals + s->t.group[c].first_instance;
        uint32_t n = s->t.group[c].instances, run = 1;
        size *= s->factorial[n];
        for (uint32_t i = 1; i <= n; i++) {
            if (i < n && own[i] == own[i - 1]) {
                run++;
                continue;
            }
            size /= s->factorial[run];
            run = 1;
        }
    }
    return size;
}

static double orbit_of(const struct search *s, state_t state)
{
    uint32_t locals[MOST_INSTANCES];
    for (uint32_t i = 0; i < s->instances; i++)
        locals[i] = local_of(s, state, i);
    return orbit(s, locals);
}

/* ---- expanding ---------------------------------------------------------------------------------------------------- */

static void store_fresh(struct worker *w)
{
    struct search *s = w->s;
    uint64_t at = atomic_fetch_add_explicit(&s->tail, w->fresh_count, memory_order_relaxed);
    memcpy(s->all + at, w->fresh, w->fresh_count * sizeof(state_t));
    w->fresh_count = 0;
}

/*
 * Insert what waits, and let what was found wait in its place. One line is asked for with each that is looked at, so
 * that the memory is never idle.
 */
static void insert_batch(struct worker *w)
{
    struct search *s = w->s;
    uint32_t both = w->buffered > w->waiting_count ? w->buffered : w->waiting_count;
    for (uint32_t i = 0; i < both; i++) {
        uint64_t hash = w->hash[i];
        if (i < w->buffered) {
            w->hash[i] = hash_of(w->buffer[i]);
            __builtin_prefetch(&s->table[home_of(s, w->hash[i])], 1);
        }
        if (i >= w->waiting_count || !insert(w, w->waiting[i], hash))
            continue;
        w->full_states += s->t.symmetric ? (uint64_t)orbit_of(s, w->waiting[i]) : 1;
        w->fresh[w->fresh_count++] = w->waiting[i];
        if (w->fresh_count == CHUNK)
            store_fresh(w);
    }
    state_t *inserted = w->waiting;
    w->waiting = w->buffer;
    w->waiting_count = w->buffered;
    w->buffer = inserted;
    w->buffered = 0;
}

/* Insert everything, and store what was new. */
static void drain(struct worker *w)
{
    insert_batch(w);
    insert_batch(w);
    store_fresh(w);
}

static inline void note(_Atomic uint32_t *first_level, uint32_t level)
{
    if (__builtin_expect(atomic_load_explicit(first_level, memory_order_relaxed) == NEVER, 0))
        atomic_store_explicit(first_level, level, memory_order_relaxed);
}

struct view {                     /* a state taken apart */
    uint32_t shared, consent, locals[MOST_INSTANCES];
    struct pair *pair[MOST_INSTANCES];
};

static inline void take_apart(const struct search *s, state_t state, struct view *v)
{
    v->shared = shared_of(s, state);
    v->consent = 0x7fffffff;
    uint32_t halts = 0;
    for (uint32_t i = 0; i < s->instances; i++) {
        const struct group *c = &s->t.group[s->row[i]];
        v->locals[i] = local_of(s, state, i);
        v->pair[i] = &s->t.pairs[c->first_pair + v->shared * c->locals + v->locals[i]];
        halts |= v->pair[i]->consent & HALTS;
        v->consent &= v->pair[i]->consent;
    }
    v->consent |= halts;
}

/* The state after a move of the patcher. */
static inline state_t after_move(const struct search *s, const struct view *v, const struct move *m, int symmetric)
{
    uint32_t locals[MOST_INSTANCES];
    for (uint32_t i = 0; i < s->instances; i++) {
        uint32_t casts = m->casts == NEVER ? NEVER : s->t.casts[m->casts + s->row[i]];
        locals[i] = casts == NEVER ? v->locals[i] : s->t.casts[casts + v->locals[i]];
    }
    return symmetric ? representative(s, m->shared, locals) : pack(s, m->shared, locals);
}

/* The patcher's moves; returns how many there are that change the state. */
static uint32_t expand_moves(struct worker *w, state_t state, const struct view *v, uint32_t level)
{
    struct search *s = w->s;
    uint32_t found = 0;
    for (uint32_t k = s->t.first_move[v->shared]; k < s->t.first_move[v->shared + 1]; k++) {
        const struct move *m = &s->t.moves[k];
        if (!(v->consent >> m->bit & 1))
            continue;
        note(&s->t.fired[k], level);
        state_t after = after_move(s, v, m, 0);
        if (after == state)
            continue;
        w->buffer[w->buffered++] = s->t.symmetric ? after_move(s, v, m, 1) : after;
        found++;
    }
    return found;
}

/* The successors by instance i: differences to add. Four at a time, since most have fewer and a branch costs more. */
static inline void expand_plain(struct worker *w, state_t state, const struct view *v, uint32_t i)
{
    struct search *s = w->s;
    const int64_t *shared = s->t.shared_steps + v->pair[i]->first, *local = s->t.local_steps + v->pair[i]->first;
    uint32_t count = v->pair[i]->count, shift = s->shift[i];
    state_t *restrict out = w->buffer + w->buffered;
    for (uint32_t k = 0; k < count; k += 4)
        for (uint32_t j = 0; j < 4; j++)
            out[k + j] = state + (state_t)shared[k + j] + ((state_t)local[k + j] << shift);
    w->buffered += count;
}

/* The same under symmetry: the new locals move to their place among the sorted ones of their group. */
static inline void expand_sorted(struct worker *w, state_t state, const struct view *v, uint32_t i,
                                 const struct group *group)
{
    struct search *s = w->s;
    uint32_t edge = v->pair[i]->first, end = edge + v->pair[i]->count;
    uint32_t first = group->first_instance, last = first + group->instances;
    if (i > first && v->locals[i] == v->locals[i - 1])
        return;                                           /* the same successors once more */
    for (; edge < end; edge++) {
        uint32_t moved = v->locals[i] + (uint32_t)s->t.local_steps[edge], k = i;
        state_t after = state + (state_t)s->t.shared_steps[edge];
        for (; k + 1 < last && v->locals[k + 1] < moved; k++)
            after += (state_t)((int64_t)v->locals[k + 1] - v->locals[k]) << s->shift[k];
        for (; k > first && v->locals[k - 1] > moved; k--)
            after += (state_t)((int64_t)v->locals[k - 1] - v->locals[k]) << s->shift[k];
        w->buffer[w->buffered++] = after + ((state_t)((int64_t)moved - v->locals[k]) << s->shift[k]);
    }
}

static void expand(struct worker *w, state_t state, uint32_t level)
{
    struct search *s = w->s;
    struct view v;
    take_apart(s, state, &v);
    if (v.consent & HALTS) {
        w->halted_states++;
        for (uint32_t i = 0; i < s->instances; i++)
            note(&s->t.halted[v.pair[i] - s->t.pairs], level);
        return;
    }
    uint64_t found = expand_moves(w, state, &v, level);
    for (uint32_t i = 0; i < s->instances; i++) {
        note(&v.pair[i]->expanded, level);
        found += v.pair[i]->count;
        if (s->t.symmetric)
            expand_sorted(w, state, &v, i, &s->t.group[s->row[i]]);
        else
            expand_plain(w, state, &v, i);
    }
    w->transitions += found * (s->t.symmetric ? (uint64_t)orbit(s, v.locals) : 1);
    if (w->buffered >= BATCH)
        insert_batch(w);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    struct search *s = w->s;
    while (atomic_load_explicit(&s->tail, memory_order_relaxed) + slack_of(s) < room_of(s)) {
        uint64_t from = atomic_fetch_add_explicit(&s->cursor, CHUNK, memory_order_relaxed);
        if (from >= s->slice_end)
            break;
        uint64_t to = from + CHUNK < s->slice_end ? from + CHUNK : s->slice_end;
        for (uint64_t i = from; i < to; i++)
            expand(w, s->all[i], s->depth);
        drain(w);
    }
    return NULL;
}

/* ---- driving ------------------------------------------------------------------------------------------------------ */

static void *reserve(size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE;
#endif
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
#if defined(MADV_HUGEPAGE) && !defined(COMPACT)           /* a table that does not grow is touched everywhere at once */
    madvise(memory, bytes, MADV_HUGEPAGE);                /* a wish; without it the search is only slower */
#endif
    return memory;
}

static void forget_layers(struct search *s)
{
    for (uint32_t k = 0; k < s->layer_count; k++)
        free(s->layers[k].slots);
    free(s->layers);
    s->layers = NULL;
    s->layer_count = 0;
}

void search_free(struct search *s)
{
    if (s == NULL)
        return;
    forget_layers(s);
    if (s->table != NULL)
        munmap(s->table, s->table_reserved);
    if (s->all != NULL)
        munmap(s->all, s->all_reserved);
    free(s->level);
    free(s);
}

/*
 * A search that has stored the initial state (two halves), or NULL without memory. `budget`: bytes for states. The
 * tables must outlive it. `lines`: how large the table is to be at first, 0 if nobody knows; (COMPACT) for good.
 */
struct search *search_new(const struct tables *t, uint64_t low, uint64_t high, uint64_t budget, uint64_t lines)
{
    struct search *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->t = *t;
    s->budget = budget;
    uint32_t most = 0, moves = 0;
    for (uint32_t c = 0; c < t->groups; c++) {
        const struct group *g = &t->group[c];
        uint32_t widest = 0;
        for (uint32_t i = 0; i < g->instances; i++) {
            uint32_t instance = g->first_instance + i;
            s->row[instance] = c;
            s->shift[instance] = g->shift + i * g->bits;
            s->mask[instance] = ((state_t)1 << g->bits) - 1;
            s->instances++;
        }
        for (uint32_t p = 0; p < t->shared * g->locals; p++)
            widest = t->pairs[g->first_pair + p].count > widest ? t->pairs[g->first_pair + p].count : widest;
        most += widest * g->instances;
    }
    for (uint32_t g = 0; g < t->shared; g++)
        moves = t->first_move[g + 1] - t->first_move[g] > moves ? t->first_move[g + 1] - t->first_move[g] : moves;
    s->most_successors = most + moves + 1;
    s->factorial[0] = 1;
    for (uint32_t n = 1; n <= MOST_INSTANCES; n++)
        s->factorial[n] = s->factorial[n - 1] * n;

    s->lines = lines ? lines : FIRST_LINES;
    s->table_reserved = budget + s->lines * 64;
    s->all_reserved = (slots_of(s) + budget / sizeof(state_t)) * sizeof(state_t);
#ifdef COMPACT
    s->is_last = 1;
    s->table_reserved = lines * 64;
    s->all_reserved = slots_of(s) * sizeof(state_t);
#endif
    s->capacity = s->all_reserved / sizeof(state_t);
    s->table = reserve(s->table_reserved);
    s->all = reserve(s->all_reserved);
    s->levels_allocated = 256;
    s->level = calloc(s->levels_allocated, sizeof *s->level);
    if (s->table == NULL || s->all == NULL || s->level == NULL) {
        search_free(s);
        return NULL;
    }
    uint64_t hash;
    state_t none = 0;
    struct worker w = {.s = s, .buffered = 1, .waiting = &none, .hash = &hash};
    s->threads = 1;
    s->level[1] = 1;
#ifdef WIDE
    state_t first = (state_t)high << 64 | low;
#else
    state_t first = low;
    (void)high;
#endif
    w.buffer = &first;
    drain(&w);
    s->full_states = w.full_states;
    return s;
}

/* Make room for what the threads may add before they look again. False: the budget does not allow it. */
static int make_room(struct search *s)
{
    while (atomic_load(&s->tail) + slack_of(s) >= room_of(s)) {
#ifdef COMPACT
        return 0;
#else
        if (s->is_last)
            return 0;
        if (bytes_of(s) + (larger(s) - s->lines) * 64 > s->budget || !grow(s))
            s->is_last = 1;
#endif
    }
    return bytes_of(s) + slack_of(s) * sizeof(state_t) <= s->budget
        && atomic_load(&s->tail) + slack_of(s) < s->capacity;
}

/* Give the levels before the present one back to the system: no path can be asked for any more. */
void search_forget(struct search *s)
{
    uint64_t page = 1 << 21, keep = s->level[s->depth] * sizeof(state_t) / page * page;
    if (keep > 0)
        madvise(s->all, keep, MADV_DONTNEED);
    s->keep_from = keep / sizeof(state_t);
#ifndef COMPACT
    s->is_last = 0;                                       /* there is room again */
#endif
}

/*
 * Expand up to `most` states of the present level, and go on to the next when it is done. MORE, COMPLETE or NO_MEMORY;
 * after NO_MEMORY a call goes on where this one stopped, if there is room again (search_forget).
 */
int search_step(struct search *s, uint64_t most, int threads)
{
    struct worker *workers;
    uint64_t from = atomic_load(&s->cursor), end = s->level[s->depth + 1];
    s->threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    if (end - from < 16 * CHUNK)
        s->threads = 1;                                   /* not worth starting a thread */
    if (!make_room(s))
        return NO_MEMORY;
    s->slice_end = end - from > most ? from + most : end;
    workers = calloc((size_t)s->threads, sizeof *workers);
    if (workers == NULL)
        return NO_MEMORY;
    int started = 1;
    for (int i = 0; i < s->threads; i++) {
        workers[i].s = s;
        size_t room = BATCH + s->most_successors + 4;
        char *memory = malloc(room * (2 * sizeof(state_t) + sizeof(uint64_t)));
        if (memory == NULL) {
            s->threads = i;                               /* fewer threads will do, but not none */
            break;
        }
        workers[i].memory = memory;
        workers[i].buffer = (state_t *)memory;
        workers[i].waiting = workers[i].buffer + room;
        workers[i].hash = (uint64_t *)(workers[i].waiting + room);
    }
    if (s->threads == 0) {
        free(workers);
        return NO_MEMORY;
    }
    for (; started < s->threads; started++)
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started]) != 0)
            break;                                        /* fewer threads will do */
    work(&workers[0]);
    for (int i = 0; i < started; i++) {
        if (i > 0)
            pthread_join(workers[i].thread, NULL);
        s->full_states += workers[i].full_states;
        s->transitions += workers[i].transitions;
        s->halted_states += workers[i].halted_states;
        s->omitted += workers[i].omitted;
    }
    for (int i = 0; i < s->threads; i++)
        free(workers[i].memory);
    free(workers);
    if (atomic_load(&s->cursor) > s->slice_end)
        atomic_store(&s->cursor, s->slice_end);
    if (atomic_load(&s->cursor) < end)
        return MORE;
    uint64_t tail = atomic_load(&s->tail);
    if (tail == end)
        return COMPLETE;
    if (s->depth + 3 >= s->levels_allocated) {
        uint64_t *longer = realloc(s->level, 2 * s->levels_allocated * sizeof *longer);
        if (longer == NULL)
            return NO_MEMORY;
        s->level = longer;
        s->levels_allocated *= 2;
    }
    s->depth++;
    s->level[s->depth + 1] = tail;
    return MORE;
}

struct statistics {
    uint64_t stored, full_states, transitions, halted_states, depth, frontier, bytes;
    double omitted;
};

void search_statistics(const struct search *s, struct statistics *out)
{
    out->stored = atomic_load(&s->tail);
    out->full_states = s->full_states;
    out->transitions = s->transitions;
    out->halted_states = s->halted_states;
    out->depth = s->depth;
    out->frontier = out->stored - atomic_load(&s->cursor);
    out->bytes = bytes_of(s);
    out->omitted = s->omitted;
}

/* ---- questions about a complete search: which states lead somewhere ----------------------------------------------- */

/* The successors of a state (as stored: representatives under symmetry), or none if it is halted. */
static uint32_t successors(const struct search *s, state_t state, state_t *out)
{
    struct view v;
    uint32_t count = 0;
    take_apart(s, state, &v);
    if (v.consent & HALTS)
        return 0;
    for (uint32_t k = s->t.first_move[v.shared]; k < s->t.first_move[v.shared + 1]; k++)
        if (v.consent >> s->t.moves[k].bit & 1)
            out[count++] = after_move(s, &v, &s->t.moves[k], (int)s->t.symmetric);
    for (uint32_t i = 0; i < s->instances; i++) {
        uint32_t edge = v.pair[i]->first, end = edge + v.pair[i]->count, locals[MOST_INSTANCES];
        for (; edge < end; edge++) {
            uint32_t shared = v.shared + (uint32_t)s->t.shared_steps[edge];
            memcpy(locals, v.locals, sizeof locals);
            locals[i] += (uint32_t)s->t.local_steps[edge];
            out[count++] = s->t.symmetric ? representative(s, shared, locals) : pack(s, shared, locals);
        }
    }
    return count;
}

static int layer_has(const struct layer *l, state_t state)
{
    if (l->size == 0)
        return 0;
    for (uint64_t slot = hash_of(state) & (l->size - 1); l->slots[slot] != 0; slot = (slot + 1) & (l->size - 1))
        if (l->slots[slot] == state + 1)
            return 1;
    return 0;
}

static int layer_add(struct layer *l, state_t state)
{
    if (layer_has(l, state))
        return 1;
    if (l->used * 2 >= l->size) {
        struct layer larger = {NULL, l->size ? l->size * 2 : 64, 0};
        larger.slots = calloc(larger.size, sizeof *larger.slots);
        if (larger.slots == NULL)
            return 0;
        for (uint64_t i = 0; i < l->size; i++)
            if (l->slots[i] != 0)
                layer_add(&larger, l->slots[i] - 1);
        free(l->slots);
        *l = larger;
    }
    uint64_t slot = hash_of(state) & (l->size - 1);
    while (l->slots[slot] != 0)
        slot = (slot + 1) & (l->size - 1);
    l->slots[slot] = state + 1;
    l->used++;
    return 1;
}

static state_t state_of(const uint64_t *halves)
{
#ifdef WIDE
    return (state_t)halves[1] << 64 | halves[0];
#else
    return halves[0];
#endif
}

/* From the targets on level `depth`, the sets on all levels above. Takes `targets` over. 0 without memory. */
static int lead_back(struct search *s, uint32_t depth, struct layer targets)
{
    state_t *after = malloc(s->most_successors * sizeof *after);
    int ok = after != NULL;
    forget_layers(s);
    s->layers = calloc(depth + 1, sizeof *s->layers);
    if (s->layers == NULL) {
        free(after);
        free(targets.slots);
        return 0;
    }
    s->layer_count = depth + 1;
    s->layers[depth] = targets;
    for (uint32_t d = depth; ok && d-- > 0;)
        for (uint64_t i = s->level[d]; ok && i < s->level[d + 1]; i++) {
            uint32_t n = successors(s, s->all[i], after);
            for (uint32_t k = 0; k < n; k++)
                if (layer_has(&s->layers[d + 1], after[k])) {
                    ok = layer_add(&s->layers[d], s->all[i]);
                    break;
                }
        }
    free(after);
    return ok;
}

/*
 * For every level up to `depth`, the set of states from which a target is reached in as many steps as are left to that
 * depth. Targets: the states of that level with a pair that `wanted` names (if it is given; `live`: only those that are
 * not halted), and the `count` states at `states` (two halves each). 0 without memory.
 */
int search_layers(struct search *s, uint32_t depth, const uint8_t *wanted, int live, const uint64_t *states,
                  uint64_t count)
{
    struct layer targets = {NULL, 0, 0};
    int ok = 1;
    for (uint64_t i = 0; ok && i < count; i++)
        ok = layer_add(&targets, state_of(states + 2 * i));
    for (uint64_t i = s->level[depth]; ok && wanted != NULL && i < s->level[depth + 1]; i++) {
        struct view v;
        int has = 0;
        take_apart(s, s->all[i], &v);
        for (uint32_t k = 0; k < s->instances; k++)
            has |= wanted[v.pair[k] - s->t.pairs];
        if (has && !(live && v.consent & HALTS))
            ok = layer_add(&targets, s->all[i]);
    }
    if (ok)
        return lead_back(s, depth, targets);
    free(targets.slots);
    return 0;
}

int search_in_layer(const struct search *s, uint32_t level, uint64_t low, uint64_t high)
{
    uint64_t halves[2] = {low, high};
    return level < s->layer_count && layer_has(&s->layers[level], state_of(halves));
}

/*
 * The states, not halted, from which no state with one of the shared values in `goal` can be reached: 1 if there are
 * any, with the first level that has one in *level, and the layers of those as search_layers makes them. 0 if there are
 * none, -1 without memory for nine bytes a state and slot. Looks at the states from the last to the first, again and again while that finds more that
 * can; few are left after the first time.
 */
int search_doomed(struct search *s, const uint8_t *goal, uint32_t *level)
{
#ifdef COMPACT
    (void)s, (void)goal, (void)level;
    return -1;                                            /* states cannot be looked up */
#else
    uint64_t stored = atomic_load(&s->tail), left = 0;
    if (bytes_of(s) + stored * sizeof(uint64_t) + slots_of(s) > s->budget)
        return -1;
    state_t *after = malloc(s->most_successors * sizeof *after);
    uint8_t *able = calloc(slots_of(s), 1);
    uint64_t *pending = malloc(stored * sizeof *pending);
    struct layer doomed = {NULL, 0, 0};
    int answer = after == NULL || able == NULL || pending == NULL ? -1 : 0;
    for (uint64_t i = stored; answer == 0 && i-- > 0;)
        pending[left++] = i;
    for (uint64_t before = left + 1; left < before;) {
        before = left;
        left = 0;
        for (uint64_t k = 0; k < before; k++) {
            state_t state = s->all[pending[k]];
            int can = goal[shared_of(s, state)];
            uint32_t n = can ? 0 : successors(s, state, after);
            for (uint32_t j = 0; j < n && !can; j++)
                can = able[find(s, after[j])];
            if (can)
                able[find(s, state)] = 1;
            else
                pending[left++] = pending[k];
        }
    }
    for (uint32_t d = 0; d <= s->depth && answer == 0; d++)
        while (left > 0 && pending[left - 1] < s->level[d + 1]) {     /* they are in falling order */
            struct view v;
            state_t state = s->all[pending[--left]];
            take_apart(s, state, &v);
            if (v.consent & HALTS || answer < 0)
                continue;
            *level = d;
            answer = layer_add(&doomed, state) ? 1 : -1;
        }
    free(after), free(able), free(pending);
    if (answer == 1)
        return lead_back(s, *level, doomed) ? 1 : -1;
    free(doomed.slots);
    return answer;
#endif
}

/*
 * The stored states whose shared values `wanted` names, in order of discovery: at most `room` to `out` (two halves
 * each) with their levels. Returns how many there are.
 */
uint64_t search_select(const struct search *s, const uint8_t *wanted, uint64_t *out, uint32_t *levels, uint64_t room)
{
    uint64_t found = 0;
    for (uint32_t d = 0; d <= s->depth; d++)
        for (uint64_t i = s->level[d]; i < s->level[d + 1]; i++) {
            state_t state = s->all[i];
            if (!wanted[shared_of(s, state)])
                continue;
            if (found < room) {
                out[2 * found] = (uint64_t)state;
#ifdef WIDE
                out[2 * found + 1] = (uint64_t)(state >> 64);
#else
                out[2 * found + 1] = 0;
#endif
                levels[found] = d;
            }
            found++;
        }
    return found;
}
