"""What does a machine model allow, operation by operation: everything that a CPU can run while the patcher is there.

One CPU beside the patcher tells all, as what it can be in does not depend on how many others there are. An execution on
silicon is known to have taken place between two operations; it is allowed if the model can do the same at some step in
between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from checker.report.layout import plural
from checker.search.generate import Unsupported
from checker.search.pairs import Pairs
from checker.silicon.operations import Table
from models.compose import StrategyModel
from models.machines.fetch import Granularity, GranuleOrder
from models.machines.places import DEAD_CLAIM, LOST, NOWHERE, TORN_PLACE, UNCLAIMED, UNDEFINED
from models.machines.views import BufferedView, CoherentView, StaleView, Value
from models.properties import FREED
from models.system.errors import ScenarioError
from models.system.expressions import Read
from models.system.system import Action
from models.text import Granule, OutcomeKind, SiteText

Atom = tuple[str, ...]  # something that a CPU does: what, at which site, and more where that says more
Seen = tuple[int, ...]  # by site: whether this CPU had run the new there before; () where the update is over

_HANDLED = (
    (re.compile(r"handler skips the instruction at site (\d+)"), "skip"),
    (re.compile(r"handler emulates “(.*)” at site (\d+)"), "emulate"),
    (re.compile(r"handler redirects it to the stub of site (\d+), which stands for “(.*)”"), "redirect"),
    (re.compile(r"handler lets it go back to site (\d+)"), "back"),
    (re.compile(r"handler leaves site (\d+) to “.*”"), "probe"),
    (re.compile(r"reread site (\d+): no trap byte"), "back"),
)
_MISSING = re.compile(r"(?:do not find|no count for) site (\d+)")
_READS = re.compile(r"(\S+) reads \{(.*?)\} for site (\d+)")
_MOST_STATES = 400_000  # of a CPU, summed over the patcher's steps: a quarter of a minute
_FATAL = {UNCLAIMED: "unclaimed", DEAD_CLAIM: "released", LOST: "lost", TORN_PLACE: "torn"}


def atom_of(model: StrategyModel, action: Action, place: str) -> Atom | None:
    """What a CPU's action is, `place` being where it leads; None for what no execution shows."""
    name = action.name
    if name in model.fetches:
        site, outcome = model.fetches[name]
        if outcome.kind is OutcomeKind.VERSION:
            return ("run", str(site.index), str(outcome.version))
        return ("trap" if outcome.kind is OutcomeKind.TRAP else "torn", str(site.index))
    if place in _FATAL:
        return (_FATAL[place],)
    for pattern, kind in _HANDLED:
        if match := pattern.match(name):
            words = match.groups()
            if kind == "emulate":
                return (kind, words[1], words[0])
            return (kind, *words)
    if match := _MISSING.match(name):
        return ("probe", match[1]) if model.plan.probes else None
    if match := _READS.match(name):
        return ("read", match[3], match[1], match[2])
    return None


@dataclass
class Phase:
    """What can be done while the patcher is at one step. `anything`: what happens is undefined."""

    atoms: dict[Atom, set[Seen]] = field(default_factory=dict)
    breaks: set[tuple[str, str]] = field(default_factory=set)  # properties, and how they are broken
    anything: bool = False
    fetch: list[tuple[Seen, Value]] = field(default_factory=list)  # for each state of a CPU, its variables

    def add(self, atom: Atom, seen: Seen) -> None:
        self.atoms.setdefault(atom, set()).add(seen)


class Allowed:
    """Everything that one model allows, by the number of the patcher's step."""

    def __init__(self, table: Table) -> None:
        """Explore. Raises Unsupported where one CPU does not tell all, ScenarioError where that takes too long."""
        self.table, self.model = table, table.model
        self.system = self.model.system
        self.pairs = Pairs(self.system)
        (self.component,) = self.system.components
        self.globals = {v: k for k, v in enumerate(self.system.globals)}
        self.locals = {v: k for k, v in enumerate(self.system.locals(self.component))}
        self.phases: dict[int, Phase] = {}
        self.states = 0
        self._explore()

    @cached_property
    def starts(self) -> list[int]:
        """For each operation, and for the end, the number of the patcher's step at which it begins."""
        found = [0]
        for operation in self.table.operations:
            found.append(found[-1] + operation.moves)
        return found

    @cached_property
    def breaks(self) -> set[tuple[str, str]]:
        """Every property that the model can break, and how."""
        return {broken for phase in self.phases.values() for broken in phase.breaks}

    @cached_property
    def undefined(self) -> bool:
        """Whether the model calls undefined what happens from some step on."""
        return any(phase.anything for phase in self.phases.values())

    def window(self, before: int, after: int) -> range:
        """The patcher's steps at which an execution can have taken place that began after operation `before` was published.

        `after` was published last when it was over: that operation may have been performed already, and not been
        published as done.
        """
        return range(self.starts[before], self.starts[min(after + 1, len(self.starts) - 1)] + 1)

    def allows(self, alternatives: Iterable[Iterable[Atom]], steps: range, seen: Seen | None) -> bool:
        """Whether all atoms of one of the alternatives can happen at some of these steps (`seen` before the first)."""
        phases = [self.phases[k] for k in steps if k in self.phases]
        if any(phase.anything for phase in phases):
            return True
        return any(all(any(self._has(p, atom, seen) for p in phases) for atom in atoms) for atoms in alternatives)

    def _has(self, phase: Phase, atom: Atom, seen: Seen | None) -> bool:
        found = phase.atoms.get(atom, set())
        return bool(found) if seen is None else seen in found or () in found

    def fetches(self, site: SiteText, code: bytes, steps: range, seen: Seen | None) -> bool:
        """Whether a CPU about to run `site` can fetch exactly these bytes at some of these steps.

        Where bytes are read one by one from memory, the model reads several at once, which is as good for what is run but
        not for which bytes: then the outcome has to be possible, and the bytes must have been there in the right order.
        """
        if isinstance(self.model.view, BufferedView) and self.model.view.machine.granularity is Granularity.BYTE:
            return self.allows([[self._outcome(site, code)]], steps, seen) and self._held(site, code, steps)
        for k in steps:
            phase = self.phases.get(k)
            if phase is None:
                continue
            if phase.anything:
                return True
            if self._has(phase, self._outcome(site, code), seen) and any(
                (seen is None or had in (seen, ())) and can_fetch(self.model, site, code, value)
                for had, value in phase.fetch
            ):
                return True
        return False

    def _outcome(self, site: SiteText, code: bytes) -> Atom:
        outcome = site.classify(code)
        if outcome.kind is OutcomeKind.VERSION:
            return ("run", str(site.index), str(outcome.version))
        return ("trap" if outcome.kind is OutcomeKind.TRAP else "torn", str(site.index))

    def _held(self, site: SiteText, code: bytes, steps: range) -> bool:
        """Whether memory held each of these bytes by the last of these steps, one after the other if reads are in order."""
        ascending = self.model.view.machine.order is GranuleOrder.ASCENDING
        known = [k for k in sorted(self.phases) if k < steps.stop]
        begins = 0
        for granule in site.granules:
            for at in range(granule.start, granule.stop):
                when = [k for k in known if k >= begins and self._may_be(granule, at, code[at], k)]
                if not when:
                    return False
                begins = when[0] if ascending else 0
        return True

    def _may_be(self, granule: Granule, at: int, byte: int, step: int) -> bool:
        """Whether memory may hold this byte at this place while the patcher is at `step`."""
        phase, memory = self.phases[step], self.model.view.text.memory[granule]
        if phase.anything or not phase.fetch:
            return phase.anything
        content = granule.contents[phase.fetch[0][1](memory)]
        return any(string[at - granule.start] == byte for string in content)

    # ---- exploring --------------------------------------------------------------------------------------------------

    def _explore(self) -> None:
        """Follow the patcher and one CPU beside it. What halts the system is noted, and not followed."""
        at = next(v for v in self.system.globals if v.name == "patcher")
        g, (start,) = self.pairs.initial()
        entry, undefined = {start}, False
        while entry:
            phase = self.phases[self.pairs.shared[g][self.globals[at]]] = Phase()
            live = self._live(g, entry, phase)
            undefined |= any(self._place(local) == UNDEFINED for local in entry - live)
            phase.anything = undefined
            moves = self.pairs.moves(g)
            if len(moves) > 1:
                raise Unsupported("a patcher with a choice of steps")
            entry = set()
            for move in moves:
                allowing = [local for local in live if self.pairs.allows(move.action, (self.component, g, local))]
                entry = {self.pairs.cast(move.action, (self.component, g, local)) for local in allowing}
                g = move.shared
        if undefined:
            for k in range(max(self.phases) + 1, self.starts[-1] + 1):
                self.phases[k] = Phase(anything=True)

    def _live(self, g: int, entry: set[int], found: Phase) -> set[int]:
        """What a CPU can be in at these shared values without having halted the system; what it does goes to `found`."""
        pairs, shared = self.pairs, self.pairs.shared[g]
        live: set[int] = set()
        todo = list(entry)
        while todo:
            local = todo.pop()
            if local in live:
                continue
            for broken in (pairs.system.invariants[k] for k in pairs.broken((self.component, g, local))):
                found.breaks.add((broken.property, broken.kind))
                if broken.property == FREED:
                    found.add(("freed",), ())
            if pairs.halts((self.component, g, local)):
                continue
            live.add(local)
            self._count()
            seen = self._seen(shared, local)
            found.fetch.append((seen, self._values(shared, local)))
            for step in pairs.successors((self.component, g, local)):
                if step.shared != g:
                    raise Unsupported("a CPU that changes shared values")
                todo.append(step.local)
                atom = atom_of(self.model, self.system.actions[step.action], self._place(step.local))
                if atom:
                    found.add(atom, seen)
                marks = [pairs.marks[k] for k in step.marks]
                found.breaks.update((mark.property, mark.kind) for mark in marks if not mark.premise)
        return live

    def _count(self) -> None:
        """One more state. Raises ScenarioError where there are too many."""
        self.states += 1
        if self.states > _MOST_STATES:
            plan = self.model.plan
            sites = plural(len(plan.sites), "site")
            raise ScenarioError(
                f"{plan.strategy.name} with {sites} has too many states to be compared with {plan.scenario.machine.name}: "
                "take fewer sites or rounds"
            )

    def _place(self, local: int) -> str:
        variable = self.model.cpu.place
        value = self.pairs.local[self.component][local][self.locals[variable.variable]]
        return str(variable.type.show(value))

    def _values(self, shared: tuple[int, ...], local: int) -> Value:
        values = self.pairs.local[self.component][local]

        def value(read: Read) -> int:
            if read.variable in self.globals:
                return shared[self.globals[read.variable]]
            return values[self.locals[read.variable]]

        return value

    def _seen(self, shared: tuple[int, ...], local: int) -> Seen:
        """Which sites this CPU has run the new at; once the update has returned, that is no longer known."""
        value = self._values(shared, local)
        if value(self.model.cpu.shared.returned) or not self.table.masks:
            return ()
        return tuple(int(value(latest) > 0) for latest in self.model.cpu.latest)


def _is_in(granule: Granule, code: bytes, content: Iterable[bytes]) -> bool:
    return code[granule.start : granule.stop] in content


def can_fetch(model: StrategyModel, site: SiteText, code: bytes, value: Value) -> bool:
    """Whether a CPU whose variables have these values may now execute `site` having fetched exactly `code`."""
    place = model.cpu.place.type.show(value(model.cpu.place))
    if place == NOWHERE or place != f"at site {site.index}":
        return False
    view = model.cpu.view
    return all(_granule(view, site, k, granule, code, value) for k, granule in enumerate(site.granules))


def _granule(view: object, site: SiteText, k: int, granule: Granule, code: bytes, value: Value) -> bool:
    """Whether the bytes of one granule can be those of `code`."""
    match view:
        case StaleView():
            items = [item for i, item in enumerate(view.items[granule]) if value(view.views[granule]) >> i & 1]
            if not view.bytewise:
                return any(_is_in(granule, code, item) for item in items)
            strings = [next(iter(item)) for item in items]
            return all(
                any(s[j] == code[granule.start + j] for s in strings) for j in range(granule.stop - granule.start)
            )
        case BufferedView():
            if view.fetching.type.show(value(view.fetching)) != site.name or not value(view.read[k]):
                return False
            return _is_in(granule, code, granule.contents[value(view.read[k]) - 1])
        case CoherentView():
            return _is_in(granule, code, granule.contents[value(view.text.memory[granule])])
    raise TypeError(f"no rule for {type(view).__name__}")


def outcomes(allowed: Allowed) -> Iterator[tuple[int, Atom, Seen]]:
    """Every step of the patcher, what can be done there, and having run the new where."""
    for k, phase in sorted(allowed.phases.items()):
        for atom, seens in phase.atoms.items():
            yield from ((k, atom, seen) for seen in seens)
