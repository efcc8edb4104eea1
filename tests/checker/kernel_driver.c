/*
 * Runs the search kernel without Python, for a sanitizer to watch: the tables come from a file (see test_kernel.py), each
 * in memory of exactly its size. Prints what was counted; every search is done with 1, 2 and 3 threads, kept and
 * forgotten, and once with a budget that is too small.
 */
#include KERNEL
#include <inttypes.h>
#include <stdio.h>

static void *block(FILE *file)
{   /* the next array of the file */
    uint64_t bytes;
    if (fread(&bytes, sizeof bytes, 1, file) != 1)
        abort();
    void *memory = malloc(bytes);
    if (memory == NULL || fread(memory, 1, bytes, file) != bytes)
        abort();
    return memory;
}

struct loaded {
    struct tables tables;
    uint8_t *goal, *wanted;
    uint64_t *numbers;            /* of the initial state two halves, the level of what is wanted */
};

static struct loaded load(const char *name)
{
    struct loaded l = {0};
    FILE *file = fopen(name, "rb");
    if (file == NULL)
        abort();
    uint32_t *four = block(file);
    l.tables.groups = four[0], l.tables.shared = four[1], l.tables.shared_bits = four[2], l.tables.symmetric = four[3];
    free(four);
    l.tables.group = block(file);
    l.tables.pairs = block(file);
    l.tables.shared_steps = block(file);
    l.tables.local_steps = block(file);
    l.tables.first_move = block(file);
    l.tables.moves = block(file);
    l.tables.fired = block(file);
    l.tables.casts = block(file);
    l.tables.halted = block(file);
    l.goal = block(file);
    l.wanted = block(file);
    l.numbers = block(file);
    fclose(file);
    return l;
}

static void unload(struct loaded *l)
{
    free(l->tables.group), free(l->tables.pairs), free(l->tables.first_move);
    free(l->tables.shared_steps), free(l->tables.local_steps);
    free(l->tables.moves), free((void *)l->tables.fired), free(l->tables.casts), free((void *)l->tables.halted);
    free(l->goal), free(l->wanted), free(l->numbers);
}

/* Ask everything that can be asked of a complete search. */
static void ask(struct search *s, const struct loaded *l)
{
    uint32_t level = (uint32_t)l->numbers[2], at = 0;
    uint64_t low = l->numbers[0], high = l->numbers[1];
    int reached = search_layers(s, level, l->wanted, 1, NULL, 0) && search_in_layer(s, 0, low, high);
    int sooner = level > 0 && search_layers(s, level - 1, l->wanted, 1, NULL, 0) && search_in_layer(s, 0, low, high);
    int doomed = search_doomed(s, l->goal, &at);
    if (doomed == 1 && !search_in_layer(s, 0, low, high))
        abort();
    uint64_t goals = search_select(s, l->goal, NULL, NULL, 0);
    uint64_t *states = malloc((goals ? goals : 1) * 2 * sizeof *states);
    uint32_t *levels = malloc((goals ? goals : 1) * sizeof *levels);
    if (states == NULL || levels == NULL || search_select(s, l->goal, states, levels, goals) != goals)
        abort();
    if (goals > 0 && !(search_layers(s, levels[goals - 1], NULL, 0, states + 2 * (goals - 1), 1)
                       && search_in_layer(s, 0, low, high)))
        abort();
    free(states), free(levels);
    printf(" reached %d sooner %d doomed %d at %" PRIu32 " goals %" PRIu64, reached, sooner, doomed, doomed == 1 ? at : 0,
           goals);
}

int main(int count, char **words)
{
    if (count != 4)
        return 2;
    uint64_t budget = strtoull(words[2], NULL, 10), lines = strtoull(words[3], NULL, 10);
    for (int run = 0; run < 7; run++) {
        int threads = run % 3 + 1, forget = run >= 3 && run < 6, status;
        struct loaded l = load(words[1]);
        struct statistics found;
        struct search *s = search_new(&l.tables, l.numbers[0], l.numbers[1], run == 6 ? budget / 8 : budget, lines);
        if (s == NULL)
            return 3;
        while ((status = search_step(s, 5000, threads)) == MORE)
            if (forget)
                search_forget(s);
        search_statistics(s, &found);
        printf("%s threads %d status %d stored %" PRIu64 " full %" PRIu64 " transitions %" PRIu64 " halted %" PRIu64
               " depth %" PRIu64, run == 6 ? "poor" : forget ? "forget" : "keep", threads, status, found.stored,
               found.full_states, found.transitions, found.halted_states, found.depth);
        if (!forget && status == COMPLETE)
            ask(s, &l);
        printf("\n");
        search_free(s);
        unload(&l);
    }
    return 0;
}
