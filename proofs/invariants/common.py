"""Lemmas that several strategies share, each a sentence and its expression."""

from __future__ import annotations

from models.machines.places import ELSEWHERE, ERRORS, NOWHERE, RETURNING, UNCLAIMED
from models.machines.views import StaleView
from models.protocol import PolicyKind, ResumeMachine, StopMachine, Sync, WaitForHandlers, WaitForTasks
from models.system.expressions import FALSE, TRUE, Expr, both, constant, either, if_else
from proofs.lemma import Lemma
from proofs.vocabulary import Window, Words, implies

MEAN_NEW = (PolicyKind.EMULATE_NEW, PolicyKind.REDIRECT)


def text_follows(words: Words) -> Lemma:
    """Memory at every moment."""
    return Lemma(
        "text-follows-the-patcher",
        "Nobody but the patcher writes text, so its position says which bytes memory holds and what serialising shows.",
        words.follows(words.cpu.shared.text.memory.values()),
    )


def claim_follows(words: Words) -> Lemma:
    """The claim at every moment."""
    return Lemma(
        "claim-follows-the-patcher",
        "The handler finds a claim from before the first trap byte is stored until after the last one can be met.",
        words.follows([words.cpu.shared.claim]),
    )


def rounds_follow(words: Words) -> Lemma:
    """Rounds begun and returned at every moment."""
    return Lemma(
        "rounds-follow-the-patcher",
        "Whether old or new may be called depends on whether the update has begun and returned, and the patcher says so.",
        words.follows([words.cpu.shared.begun, words.cpu.shared.returned]),
    )


def data_follow(words: Words) -> Lemma:
    """Data words at every moment."""
    return Lemma(
        "data-follow-the-patcher",
        "Data is coherent: whoever reads the word finds what the patcher stored last.",
        words.follows(words.cpu.shared.words.values()),
    )


def code_follows(words: Words) -> Lemma:
    """What is allocated at every moment."""
    return Lemma(
        "code-follows-the-patcher",
        "Code is there from its allocation until the patcher frees it.",
        words.follows(words.cpu.shared.live.values()),
    )


def sees_only_since_its_last_sync(words: Words) -> Lemma:
    """What a CPU can have fetched."""
    return Lemma(
        "sees-only-since-its-last-sync",
        "A CPU that has answered a sync can fetch only what memory held since its request, any other one only what it "
        "held since the request of the sync before: no old byte is left when the new one beside it is stored.",
        words.sees_only(words.windows, words.plan.sites),
        (words.cpu.component,),
    )


def no_answer_from_the_handler(words: Words) -> Lemma:
    """The handler runs with interrupts off, and so does what it leads to until its IRET or longer."""
    trapped = {site: words.may_have_seen_trap(site) for site in words.plan.sites}
    parts = [implies(words.within(words.masked(site)), seen) for site, seen in trapped.items()]
    parts.append(implies(words.within(words.cpu.places.returning()), either(*trapped.values())))
    return Lemma(
        "no-answer-from-the-handler",
        "A CPU that has trapped answers no sync before interrupts are on again, so until then the trap byte is one of "
        "the bytes that it may have fetched since it last answered, and what the handler needs is still there.",
        both(*parts),
        (words.cpu.component,),
    )


def nobody_has_crashed(words: Words) -> Lemma:
    """No error place, and no place to which nothing leads."""
    cpu = words.cpu
    nowhere = [place for place in (*ERRORS, *words.unused()) if place in cpu.places.labels]
    sound = ~cpu.place.is_in([NOWHERE, *nowhere])
    return Lemma(
        "nobody-has-crashed",
        "A crash is where a torn instruction, an unclaimed trap or a lost return ends, and no CPU comes back from it.",
        sound if cpu.under is None else sound & ~cpu.under.is_in(nowhere),
        (cpu.component,),
    )


def crashed_by_unclaimed_traps_only(words: Words) -> Lemma:
    """No error place but one."""
    return Lemma(
        "crashed-by-unclaimed-traps-only",
        "A trap that nobody claims is all that goes wrong: no CPU executes torn bytes or reads a table that is gone.",
        ~words.runs([place for place in ERRORS if place != UNCLAIMED]),
        (words.cpu.component,),
    )


def no_way_back(words: Words) -> Lemma | None:
    """Behind `never-back`, in every round that changes the text from an instruction that is judged when it runs.

    None where the handler runs the new code and its IRET does not serialise: then there is a way back.
    """
    plan, cpu = words.plan, words.cpu
    serialises = plan.scenario.machine.iret_serialises
    if not serialises and any(table.step.policy.kind in MEAN_NEW for table in plan.claims):
        return None
    returning: Expr = words.within(cpu.places.returning()) if serialises else FALSE
    parts = []
    for number in range(1, plan.rounds + 1):
        old = plan.versions[number - 1].calls
        if old is not None and old.reads is not None:
            continue  # what it calls is settled by the word
        for site in plan.sites:
            changed = words.changed(site, number)
            inside = [cpu.places.inside(f, site.index) for f in plan.functions.values() if f.reads is not None]
            inside += [f"{RETURNING} to {place}" for place in inside]
            latest = cpu.latest[site.index]
            ran = (latest >= number) | words.within(inside)
            windows = [Window(moment, TRUE, min(changed)) for moment in sorted(changed)]
            seen = words.at(changed) & (latest <= number) & (returning | words.sees_only(windows, [site]))
            parts.append(implies(words.at(words.during(number)) & ran, seen))
    return Lemma(
        "no-way-back",
        "A CPU that ran the new code, or that the handler let run it, has serialised since the trap byte was stored (by "
        "its IRET or by answering a sync), so nothing that it can still fetch makes up the old instruction.",
        both(*parts),
        (cpu.component,),
    )


def counted(words: Words) -> Lemma | None:
    """The count on each CPU. None where there is none."""
    count = words.cpu.count
    if count is None:
        return None
    searching = words.runs(words.searching())
    one, none = constant(1, count.type), constant(0, count.type)
    expected = if_else(words.at(words.claimed()), one, none) + if_else(searching, one, none)
    return Lemma(
        "one-count-for-the-claim-one-for-the-handler",
        "A handler that trapped while the patcher held its count finds it above zero, and no count wraps or is left over.",
        count == expected,
        (words.cpu.component,),
    )


def handlers_end_before_the_table_goes(words: Words) -> Lemma | None:
    """When a handler that has taken a count can be there. None where the patcher does not wait for handlers."""
    waits = words.steps(WaitForHandlers)
    if not waits:
        return None
    return Lemma(
        "handlers-end-before-the-table-goes",
        "A handler that has taken a count is waited for, and nobody can take one after the patcher has dropped its own.",
        implies(words.runs(words.searching()), words.at(words.before(waits[-1]) & words.claim_stands())),
        (words.cpu.component,),
    )


def handles_what_it_found(words: Words) -> Lemma:
    """What the handler's search has settled."""
    cpu, tables = words.cpu, words.plan.claims
    parts = []
    for site in words.plan.sites:
        found = [f"claim {number}" for number, table in enumerate(tables, 1) if site.index in table.finds]
        parts.append(implies(words.runs([f"handling site {site.index}"]), cpu.shared.claim.is_in(found)))
    return Lemma(
        "handles-what-it-found",
        "The handler acts on a site only when it has found it in the table, and the table is still there.",
        both(*parts),
        (cpu.component,),
    )


def nothing_runs_in_an_nmi(words: Words) -> Lemma | None:
    """Where a CPU is during an NMI. None without NMIs, and with stop-machine, where an NMI can run sites."""
    cpu = words.cpu
    if cpu.under is None or cpu.halt is not None:
        return None
    return Lemma(
        "nothing-runs-in-an-nmi",
        "An NMI on a CPU that is not parked adds no run of a site, so what it interrupts goes on as if nothing had been.",
        (cpu.under == NOWHERE) | cpu.at(ELSEWHERE),
        (cpu.component,),
    )


def waiting_tasks(words: Words) -> Lemma | None:
    """Where the waiting task is. None where no task waits."""
    saved, places = words.cpu.saved, words.cpu.places
    if saved is None:
        return None
    return Lemma(
        "tasks-wait-where-they-can-be-preempted",
        "No task waits inside the handler or with interrupts off, so what resumes brings no trap from long ago.",
        saved.is_in([NOWHERE, *places.preemptible()]),
        (words.cpu.component,),
    )


def nobody_in_freed_code(words: Words) -> Lemma | None:
    """Where tasks can be before, during and after the grace period for tasks. None where nothing is freed after one."""
    cpu = words.cpu
    if cpu.owes is None or cpu.saved is None or cpu.saved_owes is None:
        return None
    parts = []
    for code in cpu.shared.live:
        inside = [place for place in cpu.places.of_code(code) if place in cpu.places.labels]
        open_, waited = words.enterable(code)
        for there, owes in ((words.runs(inside), cpu.owes), (cpu.saved.is_in(inside), cpu.saved_owes)):
            parts.append(implies(there, words.at(open_) | words.at(waited) & owes))
    return Lemma(
        "nobody-in-freed-code",
        "Whoever is in code that is to be freed, running or preempted, got there before the grace period and has made "
        "no voluntary switch since, so the patcher still waits for that task.",
        both(*parts),
        (cpu.component,),
    )


def parked_while_text_changes(words: Words) -> Lemma | None:
    """Between the wait of stop-machine and the request to go on. None without stop-machine."""
    halt = words.cpu.halt
    if halt is None:
        return None
    return Lemma(
        "parked-while-text-changes",
        "From when every CPU has parked until they are let go, nobody runs, so nobody executes what is half old.",
        implies(words.at(words.stopped()), halt == "parked"),
        (words.cpu.component,),
    )


# ---- what is needed only to show that the patcher finishes ----------------------------------------------------------


def can_always_fetch(words: Words) -> Lemma | None:
    """No view is empty. None where nothing is fetched ahead, and where a CPU can answer at a site."""
    view = words.cpu.view
    if not isinstance(view, StaleView) or words.cpu.owes is None:
        return None
    return Lemma(
        "a-cpu-can-always-fetch",
        "Serialising leaves a CPU what memory holds and stores only add to it, so a CPU at a site goes on.",
        both(*(~(view.views[granule] == 0) for site in words.plan.sites for granule in site.granules)),
        (words.cpu.component,),
    )


def owing_tasks_wait(words: Words) -> Lemma | None:
    """Who owes a voluntary switch. None where nobody can."""
    cpu = words.cpu
    if cpu.saved is None or cpu.saved_owes is None:
        return None
    return Lemma(
        "only-waiting-tasks-owe",
        "Where no task waits to be resumed, none owes a voluntary switch but the one that runs.",
        implies(cpu.saved_owes, ~(cpu.saved == NOWHERE)),
        (cpu.component,),
    )


def asked_while_waited_for(words: Words) -> Lemma | None:
    """When a request stands. None where no task is waited for: then the waits themselves say enough."""
    cpu = words.cpu
    if cpu.owes is None or cpu.saved_owes is None:
        return None
    syncs, graces = (frozenset(span.last for span in words.steps(kind)) for kind in (Sync, WaitForTasks))
    asked = implies(cpu.ipi, words.at(syncs)) if cpu.ipi is not None else TRUE
    return Lemma(
        "asked-while-waited-for",
        "A sync or a voluntary switch is asked of a CPU only while the patcher waits for just that.",
        both(asked, implies(cpu.owes | cpu.saved_owes, words.at(graces))),
        (cpu.component,),
    )


def halts_when_told(words: Words) -> Lemma | None:
    """How far a CPU is in stop-machine. None without it."""
    halt = words.cpu.halt
    if halt is None:
        return None
    stopping, leaving = (frozenset(span.last for span in words.steps(kind)) for kind in (StopMachine, ResumeMachine))
    others = words.moments(0, words.end + 1) - stopping - leaving - words.stopped()
    parts = [
        implies(words.at(stopping), halt.is_in(("asked", "parked"))),
        implies(words.at(leaving), halt.is_in(("released", "running"))),
        implies(words.at(others), halt == "running"),
    ]
    return Lemma(
        "halts-when-told",
        "A CPU is asked, parked or let go only while the patcher waits for just that, so nobody is left behind parked.",
        both(*parts),
        (words.cpu.component,),
    )


BYTES = (
    text_follows,
    claim_follows,
    rounds_follow,
    sees_only_since_its_last_sync,
    no_answer_from_the_handler,
    no_way_back,
    nothing_runs_in_an_nmi,
    waiting_tasks,
)  # what every update by trap byte, tail and first byte rests on
INT3 = (*BYTES, nobody_has_crashed)
FINISHING = (can_always_fetch, owing_tasks_wait, asked_while_waited_for, halts_when_told)
