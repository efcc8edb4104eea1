"""From a few rounds to any number of rounds, for a protocol that comes back to where it started.

Every state of a round can be said relative to the round: which versions of the instruction memory and views hold, counted
from the round's own (the old one is -1, the new one 0), whose claim it is, how far a CPU has come. Where the states of
round 2 and of a later round are the same in these words, the protocol has come back: as every round does the same steps,
counted from its own version, what later rounds reach is then what these reach, and what holds in them holds in all.

What is assumed: that the steps of every round are those of the round before it, said in the same words (checked for the
rounds that the instance has); that a round's versions are told apart by their bytes (checked). Words and code that is
freed belong to no round in particular: for strategies that have them the argument is not made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable
from dataclasses import replace

from models.compose import StrategyModel
from models.machines.views import StaleView
from models.scenario import Scenario
from models.system.expressions import Enum, Variable
from models.text import Granule, SiteText, encode
from proofs.cubes import Row

_NUMBER = re.compile(r"\b(round|claim|return) (\d+)")
_POSITION = re.compile(r"^\d+ ")
Name = Callable[[int, int], Hashable]  # of a value, in a round


class NoPeriod(Exception):
    """The argument does not apply; the message says why."""


def instance(scenario: Scenario, transition: str) -> Scenario:
    """The scenario in which round 2 can be compared with a later one."""
    return replace(scenario, rounds=2 + period(transition))


def period(transition: str) -> int:
    """After how many rounds the same kind of instruction is replaced by the same kind."""
    old, new = transition.split(":")
    return 1 if old == new else 2


def comes_back(model: StrategyModel, rows: Collection[Row]) -> int:
    """How many different states a round has, where the last round has just those of the round a period earlier.

    Raises NoPeriod where it has not, or where the argument does not apply.
    """
    made = model.plan
    if made.strategy.rounds:
        raise NoPeriod("the strategy has a sequence of rounds of its own")
    if made.freed:
        raise NoPeriod("what is freed belongs to one round, not to each")
    if made.words:
        raise NoPeriod("words that functions read are not counted by rounds")
    last = made.rounds
    earlier = last - period(made.transition)
    if earlier < 2:
        raise NoPeriod(f"{last} rounds are too few to compare")
    if _plan(model, last) != _plan(model, earlier):
        raise NoPeriod(f"round {last} does not do what round {earlier} does")
    names = _Names(model)
    seen: dict[int, set[Hashable]] = {earlier: set(), last: set()}
    for row in rows:
        number = names.round_of(row)
        if number in seen:
            seen[number].add(names.of(row, number))
    if not seen[last] or seen[last] != seen[earlier]:
        more = len(seen[last] ^ seen[earlier])
        raise NoPeriod(f"rounds {earlier} and {last} differ in {more} states of a CPU")
    return len(seen[last])


def _plan(model: StrategyModel, number: int) -> list[tuple[str, str]]:
    """The steps of one round, as far as they are the same in all."""
    return [(type(p.step).__name__, p.label) for p in model.plan.steps if p.round == number]


class _Names:
    """What the values of a row are called, relative to a round."""

    def __init__(self, model: StrategyModel) -> None:
        self.model = model
        system = model.system
        (component,) = system.components
        self.variables = (*system.globals, *system.locals(component))
        (patcher,) = [i for i, v in enumerate(self.variables) if v.name == "patcher"]
        self.patcher = patcher
        self.rounds = self._rounds(self.variables[patcher])
        held, seen = self._text()
        self.names = [self._name(v, held, seen) for v in self.variables]

    def _rounds(self, patcher: Variable) -> list[int]:
        """The round of each position of the patcher."""
        assert isinstance(patcher.type, Enum)
        found, number = [], 1
        for label in patcher.type.labels:
            found.append(number)
            number += _POSITION.sub("", label).startswith("return ")
        return found

    def round_of(self, row: Row) -> int:
        return self.rounds[row[self.patcher]]

    def of(self, row: Row, number: int) -> Hashable:
        return tuple(name(value, number) for name, value in zip(self.names, row, strict=True))

    def _text(self) -> tuple[dict[Variable, tuple[SiteText, Granule]], dict[Variable, tuple[SiteText, Granule]]]:
        """The variables for what memory holds, and for what a CPU may fetch."""
        cpu = self.model.cpu
        places = [(site, granule) for site in self.model.plan.sites for granule in site.granules]
        held = {cpu.shared.text.memory[g].variable: (site, g) for site, g in places}
        views = getattr(cpu.view, "views", {})
        if not views and cpu.view.serialised():
            raise NoPeriod("what a fetch buffer holds is not counted by rounds")
        return held, {views[g].variable: (site, g) for site, g in places if g in views}

    def _name(
        self,
        variable: Variable,
        held: dict[Variable, tuple[SiteText, Granule]],
        seen: dict[Variable, tuple[SiteText, Granule]],
    ) -> Name:
        if variable in held:
            site, granule = held[variable]
            contents = [self._versions(site, granule, content) for content in granule.contents]
            return lambda value, number: _relative(contents[value], number)
        if variable in seen:
            site, granule = seen[variable]
            view = self.model.cpu.view
            assert isinstance(view, StaleView)
            items = [self._versions(site, granule, content) for content in view.items[granule]]
            return lambda value, number: frozenset(
                _relative(item, number) for i, item in enumerate(items) if value >> i & 1
            )
        if variable.name in ("begun", "returned") or variable.name.startswith("latest_"):
            return lambda value, number: value - number
        if isinstance(variable.type, Enum):
            labels = [_POSITION.sub("", label) for label in variable.type.labels]
            return lambda value, number: _NUMBER.sub(lambda m: f"{m[1]} {int(m[2]) - number}", labels[value])
        return lambda value, number: value

    def _versions(self, site: SiteText, granule: Granule, content: frozenset[bytes]) -> frozenset[tuple[Hashable, ...]]:
        """A content byte by byte: each byte by the version that alone has it, or as it is where all calls have it."""
        made = self.model.plan
        whole = [encode(version, site.address, site.length, site.book) for version in made.versions]
        calls = [v for v, version in enumerate(made.versions) if version.calls]
        found = set()
        for string in content:
            name: list[Hashable] = []
            for offset, byte in enumerate(string, granule.start):
                of = [v for v, data in enumerate(whole) if data[offset] == byte]
                mine = [v for v in of if v in calls]
                if len(of) == 1 and mine:
                    name.append(mine[0])
                elif not mine or mine == calls:
                    name.append(f"{byte:02x}")
                else:
                    raise NoPeriod(f"byte {offset} of site {site.index} does not tell the versions apart")
            found.add(tuple(name))
        return frozenset(found)


def _relative(content: frozenset[tuple[Hashable, ...]], number: int) -> Hashable:
    """A content with versions counted from a round's own."""
    return frozenset(tuple(b - number if isinstance(b, int) else b for b in string) for string in content)
