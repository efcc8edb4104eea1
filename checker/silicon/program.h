/* What the harness is to do: the table that operations.py writes, and reading it from standard input. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

enum { PAGE = 4096, LENGTH = 5, MAGIC = 0x600d, MOST = 256, MOST_TORN = 16384, TRIES = 1024, MOST_BYTES = 32, SITES = 8, WHOS = 64, LINE = 64,
       ALONE = 4096 };
enum kind { STORE, SYNC, CLAIM, RELEASE, DISCARD, WAIT_HANDLERS, WAIT_READERS, WAIT_TASKS, LOCK, UNLOCK, STOP, RESUME,
            WORD, ALLOCATE, FREE, RETURN, KINDS };
static const char *const kinds[KINDS] = {
    "store", "sync", "claim", "release", "discard", "wait-handlers", "wait-readers", "wait-tasks", "lock", "unlock",
    "stop", "resume", "word", "allocate", "free", "return" };
enum sync { MEMBARRIER, SIGNAL, BARRIER, BARE_SIGNAL, NONE };  /* the last three do not promise to serialise */
enum special { UNCLAIMED, DEAD_CLAIM, LOST, TORN, FREED, SPECIALS };
enum act { SKIP, CALL, STUB, STUB_OFF, BACK, NOWHERE };

/* ---- the program ------------------------------------------------------------------------------------------------ */

struct code { u64 at; u32 length; u8 bytes[MOST_BYTES]; };
struct page { u64 at; volatile int dead; int starts_dead; };
struct operation { enum kind kind; u64 a, b; };
struct action { int found; enum act act; int pushes; u64 target; };

static struct {
    u32 pages, codes, resets, pieces, operations, sites, claims, whos, words;
    struct page page[MOST];
    struct code code[MOST];           /* written once */
    struct code reset[MOST];          /* written at the start of every trial */
    struct code piece[4 * MOST];      /* one store instruction each; of 1, 2, 4 or 8 bytes */
    struct operation operation[MOST];
    u64 site[MOST], low, high, data, word[MOST];
    struct action action[MOST][SITES];    /* by claim (from 1) and site; claim 0 is the owner of a probe */
    u8 means_new[WHOS];                 /* by who is called */
    int counted, rechecks, rereads, probe, gate, masks;
    enum sync sync;
    u32 parent, patcher_cpu, cpus, cpu[MOST], settle, pause, long_pause;
    u64 executions;
    double seconds, patience;
} P;

static u8 *alias;  /* where the patcher writes */

/* Say in one line why this cannot go on, and leave. */
static void die(const char *what)
{
    printf("{\"kind\":\"error\",\"what\":\"%s\"}\n", what);
    fflush(stdout);
    exit(3);
}

/* The same for a system call that has failed. */
static void failed(const char *call)
{
    char what[256];
    snprintf(what, sizeof what, errno ? "%s: %s" : "%s", call, strerror(errno));
    die(what);
}

static void misread(const char *what)
{
    char said[256];
    snprintf(said, sizeof said, "a line of the program is not understood: %.99s", what);
    die(said);
}

static struct page *page_of(u64 address)
{
    for (u32 i = 0; i < P.pages; i++)
        if (P.page[i].at == (address & ~(u64)(PAGE - 1)))
            return &P.page[i];
    return NULL;
}

/* Pages come in ascending order, so what lies across two of them is in one piece here, too. */
static volatile u8 *writable(u64 address)
{
    struct page *page = page_of(address);
    if (!page)
        die("an address outside all pages");
    return alias + (u64)(page - P.page) * PAGE + address % PAGE;
}

static void read_code(struct code *code, const char *rest)
{
    char hex[2 * MOST_BYTES + 1];
    if (sscanf(rest, "%lx %64s", &code->at, hex) != 2)
        misread("code");
    code->length = (u32)strlen(hex) / 2;
    for (u32 i = 0; i < code->length; i++)
        sscanf(hex + 2 * i, "%2hhx", &code->bytes[i]);
}

static void read_operation(const char *rest)
{
    struct operation *made = &P.operation[P.operations++];
    char name[32];
    if (sscanf(rest, "%31s %lx %lx", name, &made->a, &made->b) != 3)
        misread("operation");
    while (made->kind < KINDS && strcmp(kinds[made->kind], name))
        made->kind++;
    if (made->kind == KINDS)
        misread(name);
}

static struct action *action_of(u32 claim, u32 site)
{
    if (claim >= MOST || site >= SITES)
        die("too large a program");
    return &P.action[claim][site];
}

static void read_program(void)
{
    char line[256], name[32], rest[200];
    while (fgets(line, sizeof line, stdin)) {
        u32 i, j, act, pushes;
        u64 value;
        rest[0] = 0;
        if (sscanf(line, "%31s %199[^\n]", name, rest) < 1)
            continue;
        if (P.pages + 1 >= MOST || P.codes + 1 >= MOST || P.resets + 1 >= MOST || P.pieces + 1 >= 4 * MOST ||
            P.operations + 1 >= MOST || P.sites > SITES || P.words >= MOST || P.cpus >= MOST || P.whos > WHOS)
            die("too large a program");
        if (!strcmp(name, "page")) {
            struct page *page = &P.page[P.pages++];
            sscanf(rest, "%lx %d", &page->at, &page->starts_dead);
        } else if (!strcmp(name, "code"))
            read_code(&P.code[P.codes++], rest);
        else if (!strcmp(name, "reset"))
            read_code(&P.reset[P.resets++], rest);
        else if (!strcmp(name, "piece"))
            read_code(&P.piece[P.pieces++], rest);
        else if (!strcmp(name, "operation"))
            read_operation(rest);
        else if (!strcmp(name, "site"))
            sscanf(rest, "%lx", &P.site[P.sites++]);
        else if (!strcmp(name, "word"))
            sscanf(rest, "%lx", &P.word[P.words++]);
        else if (!strcmp(name, "action") && sscanf(rest, "%u %u %u %u %lx", &i, &j, &act, &pushes, &value) == 5)
            *action_of(i, j) = (struct action){ 1, (enum act)act, (int)pushes, value };
        else if (!strcmp(name, "means-new") && sscanf(rest, "%u", &i) == 1 && i < WHOS)
            P.means_new[i] = 1;
        else if (!strcmp(name, "cpu"))
            sscanf(rest, "%u", &P.cpu[P.cpus++]);
        else if (!strcmp(name, "parent"))
            sscanf(rest, "%u", &P.parent);
        else if (!strcmp(name, "region"))
            sscanf(rest, "%lx %lx %lx", &P.low, &P.high, &P.data);
        else if (!strcmp(name, "handler"))
            sscanf(rest, "%u %u %d %d %d %d", &P.claims, &P.whos, &P.counted, &P.rechecks, &P.rereads, &P.probe);
        else if (!strcmp(name, "run"))
            sscanf(rest, "%u %d %d %u %u %u %u %lu %lf %lf", (u32 *)&P.sync, &P.gate, &P.masks, &P.patcher_cpu,
                   &P.settle, &P.pause, &P.long_pause, &P.executions, &P.seconds, &P.patience);
        else
            misread(name);
    }
}
