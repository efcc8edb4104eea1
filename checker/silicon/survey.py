"""What does this CPU do, beside what each preset allows? Programs of a few stores, each with yes-or-no questions.

A *litmus* is a strategy of a few steps. Its rows ask for something that can be seen: a torn instruction, the new and then
the old again, an older store missed after a younger one was seen, the old after the update has returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from checker.silicon.allowed import Allowed
from checker.silicon.asking import Question
from checker.silicon.compare import Comparison
from checker.silicon.operations import ALIGNMENTS, Setting
from models.machines.fetch import X86_PRESETS
from models.properties import BACK, STALE, TORN
from models.protocol import TRAP, Claim, Site, Step, Steps, Strategy, Sync, Write, emulate_new
from models.scenario import Scenario

ORDER = "order"  # beside the properties: the new at the site stored to last, then the old at the other one
ASKED = {
    TORN: "a torn instruction",
    BACK: "the new, then the old again",
    ORDER: "the second store, then not the first",
    STALE: "the old after the update has returned",
}
_SERIALISING = ("membarrier", "signal")
_MIXTURES = 8  # as many are kept of each run


@dataclass(frozen=True)
class Litmus:
    """A few stores, and what is asked about them. `synced`: the kinds of sync it is run with."""

    name: str
    says: str
    steps: Steps
    asks: tuple[str, ...]
    aligned: tuple[str, ...] = tuple(ALIGNMENTS)
    transition: str = "call:call"
    sites: int = 1
    synced: tuple[str, ...] = ("membarrier",)

    def questions(self) -> Iterator[Question]:
        """One for each alignment and kind of sync."""
        strategy = Strategy(self.name, self.says, "a survey", self.steps)
        for sync in self.synced:
            for align in self.aligned:
                scenario = Scenario(transition=self.transition, sites=self.sites)
                yield Question(strategy, scenario, Setting(align, "whole", sync, brief=True))


def _parts(*ranges: tuple[int, int]) -> Steps:
    """Each range of the site is stored to, in this order."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        for site in sites:
            for start, stop in ranges:
                yield Write(site.bytes(start, stop), site.new)

    return steps


def _guarded(*synced: int, first: bool = True) -> Steps:
    """Trap byte, tail, first byte; a sync after those whose number is in `synced`."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        yield Claim(emulate_new, sites)
        stores = [("first_byte", True), ("tail", False), ("first_byte", False)] if first else [("first_byte", True)]
        for number, (place, trap) in enumerate(stores, 1):
            for site in sites:
                yield Write(getattr(site, place), TRAP if trap else site.new)
            if number in synced:
                yield Sync()

    return steps


def _synced(sites: Sequence[Site]) -> Iterator[Step]:
    """One store, and a sync behind it."""
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()


_AGAIN = (TORN, BACK, STALE)
LITMUS = (
    Litmus("one-store", "one 4-byte store over the tail", _parts((1, 5)), _AGAIN),
    Litmus("two-stores", "two 2-byte stores over the tail", _parts((1, 3), (3, 5)), (TORN,)),
    Litmus("four-stores", "four 1-byte stores over the tail", _parts((1, 2), (2, 3), (3, 4), (4, 5)), (TORN,)),
    Litmus("nop-to-call", "a nop becomes a call by one store", _parts((0, 5)), _AGAIN, transition="nop:call"),
    Litmus("no-sync", "trap byte, tail, first byte, no sync", _guarded(3), (TORN, BACK)),
    Litmus("second-sync", "the same with the second sync only", _guarded(2, 3), (TORN,)),
    Litmus("first-sync", "the same with the first sync only", _guarded(1, 3), (TORN,)),
    Litmus("two-sites", "one 4-byte store each to two sites", _parts((1, 5)), (ORDER, BACK), ("within-8",), sites=2),
    Litmus("after-trap", "a trap byte; the handler emulates the new", _guarded(first=False), (BACK,), ("within-8",)),
    Litmus(
        "synced",
        "one 4-byte store over the tail, then a sync",
        _synced,
        (STALE,),
        ("within-8", "across-line"),
        synced=("membarrier", "signal", "barrier", "bare-signal", "none"),
    ),
)


@dataclass
class Row:
    """One question, how often the answer was yes, and which presets allow that.

    `promised`: whether the sync that was used serialises. Where it does not, the presets are asked as if there was none, and
    what is seen contradicts nobody.
    """

    litmus: str
    says: str
    asks: str
    align: str
    sync: str
    seen: int
    seen_in: int  # trials; where something torn was asked for, else 0
    trials: int
    executions: int
    allowed: dict[str, bool]
    promised: bool = True
    torn: list[dict[str, object]] = field(default_factory=list)  # the most frequent mixtures


@dataclass
class Survey:
    """All rows, and for each preset how many executions it does not allow, in all runs together."""

    rows: list[Row] = field(default_factory=list)
    not_allowed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(X86_PRESETS, 0))
    not_compared: int = 0  # torn executions that the harness had no row left for
    seconds: float = 0.0

    def too_wide(self, preset: str) -> int:
        """How many rows a preset allows that were not seen."""
        return sum(row.allowed[preset] and not row.seen for row in self.rows if row.promised)

    @property
    def sound(self) -> list[str]:
        """The presets that allow all that was seen."""
        return [name for name, count in self.not_allowed.items() if not count]

    @property
    def nearest(self) -> list[str]:
        """Of those, the ones that allow least of what was not seen."""
        least = min((self.too_wide(name) for name in self.sound), default=0)
        return [name for name in self.sound if self.too_wide(name) == least]


def count(asks: str, found: Comparison) -> int:
    """How many executions answer the question with yes."""
    if asks != ORDER:
        return sum(n for (property_, _), n in found.breaks.items() if property_ == asks)
    table = found.allowed.table
    old = [i for i, who in enumerate(table.whos) if who.meaning == found.allowed.model.plan.meanings[0]]
    return sum(
        n for cell, n in found.observation.cells.items() if not cell.site and cell.seen & 2 and cell.event in old
    )


def allows(asks: str, allowed: Allowed) -> bool:
    """Whether the model has an execution that answers with yes, or leaves what happens undefined."""
    if allowed.undefined:
        return True
    if asks != ORDER:
        return any(property_ == asks for property_, _ in allowed.breaks)
    atom = ("run", "0", str(allowed.model.plan.versions[0]))
    return any(len(had) > 1 and had[1] for p in allowed.phases.values() for had in p.atoms.get(atom, ()))


def survey(
    cpus: Sequence[int], executions: int, seconds: float, report: Callable[[str], None] = lambda _: None
) -> Survey:
    """Run every litmus for `seconds`, or until it has `executions`. Raises CannotAsk, Failed."""
    made = Survey()
    for litmus in LITMUS:
        for question in litmus.questions():
            setting = question.setting
            report(f"{litmus.name}, {setting.align}, {setting.sync}")
            found = question.ask(cpus, executions, seconds)
            made.not_compared += found.not_compared
            made.seconds += found.observation.seconds
            promised = setting.sync in _SERIALISING
            beside = {name: question.on(machine, found) for name, machine in X86_PRESETS.items()}
            for name, other in beside.items():
                made.not_allowed[name] += other.not_allowed if other and promised else 0
            bare = question if promised else question.without("sync-1")
            for asks in litmus.asks:
                allowed = {name: allows(asks, bare.allowed(machine)) for name, machine in X86_PRESETS.items()}
                made.rows.append(_row(litmus, question, asks, found, allowed, promised))
    return made


def _row(
    litmus: Litmus, question: Question, asks: str, found: Comparison, allowed: dict[str, bool], promised: bool
) -> Row:
    o, torn = found.observation, asks == TORN
    return Row(
        litmus.name,
        litmus.says,
        asks,
        question.setting.align or "",
        question.setting.sync,
        count(asks, found),
        o.torn_trials if torn else 0,
        o.trials,
        o.executions,
        allowed,
        promised,
        mixtures(found) if torn else [],
    )


def mixtures(found: Comparison) -> list[dict[str, object]]:
    """The most frequent torn executions: bytes that were fetched (null: not known) and that memory held, and how many."""
    counts: Counter[tuple[str | None, str]] = Counter()
    for torn in found.observation.torn:
        counts[torn.fetched.hex(" ") if torn.fetched else None, torn.memory.hex(" ")] += torn.count
    most = counts.most_common(_MIXTURES)
    return [{"fetched": fetched, "memory": memory, "count": number} for (fetched, memory), number in most]
