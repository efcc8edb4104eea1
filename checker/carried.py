"""What is a state of a strategy without some step in the words of the complete strategy?

Both systems say the same things, but number them differently: positions of the patcher, contents of memory, claims,
places. A state is carried over by what its values stand for. A value that the complete strategy has no word for is not
carried, and nothing that reads it can be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, product

from models.compose import StrategyModel
from models.machines.views import BufferedView, StaleView
from models.plan import Plan
from models.system.evaluate import Evaluator, State
from models.system.expressions import Enum, Variable
from models.text import Granule, Memory, SiteText, project

_Source = Callable[[State, int | None], int | None]  # the value in a state, of an instance; None where there is none


@dataclass(frozen=True)
class Carried:
    """A state of the complete system; `missing` are the variables whose values could not be carried over."""

    state: State
    missing: frozenset[Variable]


class Carrier:
    """Carries states of `changed`, a strategy without some steps, over to `complete`, the same strategy with them.

    The patcher is where its next move is the same: what comes before that move counts as done, also where it was left
    out. A variable that only `complete` has keeps its initial value: only steps that were left out would set it.
    """

    def __init__(self, complete: StrategyModel, changed: StrategyModel) -> None:
        self.complete, self.changed = complete, changed
        self.evaluator = Evaluator(changed.system)
        text: dict[str, _Source] = dict(self._text())
        self.sources = {v: text.get(v.name) or self._source(v) for v in complete.system.variables}

    def __call__(self, state: State) -> Carried:
        missing: set[Variable] = set()

        def value(variable: Variable, instance: int | None) -> int:
            found = self.sources[variable](state, instance)
            if found is None:
                missing.add(variable)
            return variable.initial if found is None else found

        system = self.complete.system
        shared = tuple(value(v, None) for v in system.globals)
        instances = tuple(tuple(value(v, i) for v in system.locals(c)) for i, (c, _) in enumerate(system.instances))
        return Carried(State(shared, instances), frozenset(missing))

    # ---- labels -----------------------------------------------------------------------------------------------------

    def _source(self, variable: Variable) -> _Source:
        """The value by its label, or as a number where it has none."""
        there = next((v for v in self.changed.system.variables if v.name == variable.name), None)
        if there is None:
            return lambda state, i: variable.initial
        known: dict[int, int | None] = {}
        if isinstance(there.type, Enum):
            assert isinstance(variable.type, Enum)
            numbers = {self._label(variable.name, label, True): k for k, label in enumerate(variable.type.labels)}
            labels = [self._label(variable.name, label, False) for label in there.type.labels]
            known = {k: numbers.get(label) for k, label in enumerate(labels)}

        def value(state: State, i: int | None) -> int | None:
            found = self.evaluator.read(state, variable.name, i)
            return known[found] if isinstance(there.type, Enum) else found

        return value

    def _label(self, name: str, label: str, complete: bool) -> object:
        """What a label stands for in both systems: a move without its number, a claim by its step."""
        if name == "patcher":
            return label.partition(" ")[2] or label
        if name == "claim" and label != "none":
            plan = (self.complete if complete else self.changed).plan
            return list(_claims(plan))[int(label.partition(" ")[2]) - 1]
        return label

    # ---- text -------------------------------------------------------------------------------------------------------

    def _text(self) -> Iterator[tuple[str, _Source]]:
        """What memory holds and what CPUs may fetch of it, granule by granule."""
        view = self.complete.cpu.view
        for site in self.complete.plan.sites:
            for granule in site.granules:
                yield self.complete.cpu.shared.text.memory[granule].variable.name, self._memory(granule)
                if isinstance(view, StaleView):
                    yield view.views[granule].variable.name, self._mask(granule, view)
        if isinstance(view, BufferedView):
            for k, read in enumerate(view.read):
                yield read.variable.name, self._buffer(k)

    def _memory(self, granule: Granule) -> _Source:
        site = self.changed.plan.sites[granule.site]
        names = [self.changed.cpu.shared.text.memory[g].variable.name for g in site.granules]

        def value(state: State, i: int | None) -> int | None:
            held = [g.contents[self.evaluator.read(state, name)] for g, name in zip(site.granules, names, strict=True)]
            whole = frozenset(b"".join(parts) for parts in product(*held))
            return _index(granule.contents, project(whole, granule.start, granule.stop))

        return value

    def _mask(self, granule: Granule, view: StaleView) -> _Source:
        other = self.changed.cpu.view
        assert isinstance(other, StaleView)
        found = _around(granule, self.changed.plan.sites[granule.site])
        if found is None:
            return lambda state, i: None
        _, around = found
        bits = [_index(view.items[granule], _part(item, granule, around)) for item in other.items[around]]
        name = other.views[around].variable.name

        def value(state: State, i: int | None) -> int | None:
            mask, carried = self.evaluator.read(state, name, i), 0
            for k, bit in enumerate(bits):
                if mask >> k & 1:
                    if bit is None:
                        return None
                    carried |= 1 << bit
            return carried

        return value

    def _buffer(self, k: int) -> _Source:
        other = self.changed.cpu.view
        assert isinstance(other, BufferedView)
        fetching = other.fetching.type

        def value(state: State, i: int | None) -> int | None:
            whose = fetching.show(self.evaluator.read(state, other.fetching.variable.name, i))
            site = next((s for s in self.complete.plan.sites if whose == f"site {s.index}"), None)
            if site is None:
                return 0
            granule = site.granules[k]
            found = _around(granule, self.changed.plan.sites[site.index])
            if found is None:
                return None
            j, around = found
            content = self.evaluator.read(state, other.read[j].variable.name, i)
            if content == 0:
                return 0
            index = _index(granule.contents, _part(around.contents[content - 1], granule, around))
            return None if index is None else index + 1

        return value


def _claims(plan: Plan) -> Iterator[tuple[str, int, int]]:
    """The claims of a plan: label, round, and which of those it is."""
    taken: dict[tuple[str, int], Iterator[int]] = {}
    for p in plan.steps:
        if p.claim:
            yield p.label, p.round, next(taken.setdefault((p.label, p.round), count()))


def _around(granule: Granule, site: SiteText) -> tuple[int, Granule] | None:
    """The granule of `site`, and its number, that has all bytes of `granule`."""
    found = (x for x in enumerate(site.granules) if x[1].start <= granule.start and granule.stop <= x[1].stop)
    return next(found, None)


def _part(memory: Memory, granule: Granule, around: Granule) -> Memory:
    return project(memory, granule.start - around.start, granule.stop - around.start)


def _index(contents: tuple[Memory, ...] | list[Memory], memory: Memory) -> int | None:
    return contents.index(memory) if memory in contents else None
