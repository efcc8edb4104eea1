"""From a few sites to any number of sites in one batch.

The lemmas of such a proof speak of one CPU and one site: of the site's own bytes, views and ghosts, of what all sites
share, and of positions and places only as far as they are *before*, *at* or *after* the site in a loop over all sites,
*here* or *elsewhere* (`Words`). They are found, and proved inductive for any number of CPUs, in an instance with
`enough` sites. They are then inductive for any greater number: take a step of the whole system and a site that a lemma
speaks of; look only at this site, at those where the CPU is before and after the step, at the one that the patcher
writes, and at the next. That is a step of an instance with so many sites, which the proof covers, and the lemma means
there what it means in the whole. (The first store of a round also says that the round has begun; said again, as the
first of those sites, it changes nothing.) Smaller batches are proved one by one.

What is assumed, and how far it is checked (`objection`):
  - the strategy treats all sites alike: leaving any one site out of the plan for s sites gives the plan for s - 1
    (checked for s up to 5), and the instance with the proof is one of these;
  - the handler finds a site in its table: binary search finds every entry of a table in rising order of any length
    (`search_conditions`, confirmed by Z3); that tables are in rising order and complete is checked for up to 5 sites;
  - sites do not overlap, and each has its own bytes: so the model is made.
It says nothing about progress.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import z3

from models.compose import StrategyModel
from models.machines.views import BufferedView
from models.plan import Planned, plan
from models.protocol import Allocate, Claim, Free, Store, Strategy, Stub, Write
from models.scenario import Scenario
from models.system.evaluate import State
from models.system.expressions import Component, Enum, Expr, Variable, both, constant, either, equal, read
from models.text import site_address
from proofs.cubes import Cube, Cubes, Row
from proofs.infer import leading, size
from proofs.lemma import Lemma

MOST = 5  # sites up to which plans are compared
_SITE = re.compile(r"\bsite (\d+)")


def enough(model: StrategyModel) -> int:
    """How many sites an instance needs: the one spoken of, the one written, the next, and those where a CPU may be.

    A CPU is at one site; its waiting task, what an NMI interrupted and what its fetch buffer holds may be at others.
    """
    cpu = model.cpu
    buffer = cpu.view.fetching if isinstance(cpu.view, BufferedView) else None
    places = sum(variable is not None for variable in (cpu.saved, cpu.under, buffer))
    return 4 + places


# ---- one site's view of a state -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Word:
    """What a lemma may speak of: a variable as one site sees it. `of_value[i][v]`: the class of value v, seen from i."""

    variables: tuple[Variable, ...]  # by site; all the same where the sites share it
    columns: tuple[int, ...]
    bit: int | None
    classes: tuple[str, ...]
    of_value: tuple[tuple[int, ...], ...]

    def of(self, site: int, row: Row) -> int:
        value = row[self.columns[site]]
        return self.of_value[site][value >> self.bit & 1 if self.bit is not None else value]

    def among(self, site: int, classes: Sequence[int]) -> Expr:
        """That the class is one of these, said of the variable itself."""
        here = read(self.variables[site])
        values = [v for v, known in enumerate(self.of_value[site]) if known in classes]
        if self.bit is None:
            return here.is_in(values)
        mask = constant(1 << self.bit, here.type)
        return either(*(equal(here & mask, mask if value else 0) for value in values))


class Words:
    """What the lemmas of a model with some sites may speak of, and the same for each site."""

    def __init__(self, model: StrategyModel) -> None:
        self.model, self.sites = model, len(model.plan.sites)
        system = model.system
        (component,) = system.components
        order = {variable: i for i, variable in enumerate((*system.globals, *system.locals(component)))}
        groups = _groups(model)
        owned = {variable for group in groups for variable in group}
        self.component = component
        self.words: list[_Word] = []
        for group in groups:
            first = group[0]
            if any(v.type != first.type and size(v) != size(first) for v in group):
                raise NoSites(f"{first.name} has other values at other sites")
            for bit in range(len(first.bits)) if first.bits else (None,):
                count = 2 if bit is not None else size(first)
                labels = tuple(map(str, range(count)))
                same = tuple(tuple(range(count)) for _ in group)
                self.words.append(_Word(group, tuple(order[v] for v in group), bit, labels, same))
        for variable, column in order.items():
            if variable not in owned:
                for bit in range(len(variable.bits)) if variable.bits else (None,):
                    self.words.append(self._shared(variable, column, bit))

    def _shared(self, variable: Variable, column: int, bit: int | None) -> _Word:
        """A variable that all sites share: its values, seen from each site."""
        labels: Sequence[str] = variable.type.labels if isinstance(variable.type, Enum) and bit is None else ()
        names: dict[str, int] = {}
        seen = []
        for site in range(self.sites):
            classes = [_class(label, site) for label in labels] or [
                str(v) for v in range(2 if bit is not None else size(variable))
            ]
            seen.append(tuple(names.setdefault(name, len(names)) for name in classes))
        return _Word((variable,) * self.sites, (column,) * self.sites, bit, tuple(names), tuple(seen))

    def of(self, site: int, row: Row) -> Row:
        """A row as one site sees it."""
        return tuple(word.of(site, row) for word in self.words)


class NoSites(Exception):
    """The model does not treat its sites alike: the message says where."""


def _class(label: str, site: int) -> str:
    """A position or place, seen from `site`; numbers of positions do not count."""
    label = re.sub(r"^\d+ ", "", label)
    found = set(_SITE.findall(label))
    if not found:
        return label
    if len(found) > 1:
        raise NoSites(f"“{label}” is about several sites at once")
    other = int(found.pop())
    where = "here" if other == site else "before" if other < site else "after"
    return _SITE.sub(where, label)


def _groups(model: StrategyModel) -> list[tuple[Variable, ...]]:
    """The variables that each site has for itself, by site."""
    sites = model.plan.sites
    text, view = model.cpu.shared.text, model.cpu.view
    groups = [tuple(read.variable for read in model.cpu.latest)]
    for number in range(len(sites[0].granules)):
        if any(len(site.granules) != len(sites[0].granules) for site in sites):
            raise NoSites("sites are cut into different parts")
        groups.append(tuple(text.memory[site.granules[number]].variable for site in sites))
        views = getattr(view, "views", None)
        if views is not None:
            groups.append(tuple(views[site.granules[number]].variable for site in sites))
    stubs: dict[bool, dict[int, Variable]] = {}
    for code, live in model.cpu.shared.live.items():
        if isinstance(code, Stub):
            stubs.setdefault(code.interrupts_off, {})[code.site] = live.variable
    groups += [tuple(found[i] for i in range(len(sites))) for found in stubs.values()]
    return groups


class SiteOracle:
    """Knows what is reachable, as each site sees it: what it teaches is said of every site."""

    def __init__(self, model: StrategyModel, rows: Collection[Row]) -> None:
        self.words = Words(model)
        words = self.words.words
        width = len(model.system.globals)
        leader = leading(model.system, {row[:width] for row in rows})
        seen = {self.words.of(site, row) for row in rows for site in range(self.words.sites)}

        def rank(i: int) -> tuple[bool, bool, int]:
            """Dropped first: what the patcher's position tells, then locals; the position last."""
            variable = words[i].variables[0]
            return variable is leader, variable.component is not None, -len(words[i].classes)

        order = sorted(range(len(words)), key=rank)
        self.cubes = Cubes(seen, [len(word.classes) for word in words], order)

    def separate(self, state: State, actors: tuple[Component, ...], number: int) -> Lemma | None:
        row = state.shared + state.instances[0]
        for site in range(self.words.sites):
            mine = self.words.of(site, row)
            if mine not in self.cubes.rows:
                cube = self.cubes.separate(mine)
                return self.lemma(cube, number)
        return None

    def lemma(self, cube: Cube, number: int) -> Lemma:
        """That no site sees anything of the cube."""
        parts = []
        for site in range(self.words.sites):
            parts.append(~both(*(self.words.words[i].among(site, classes) for i, classes in cube.items())))
        local = any(self.words.words[i].variables[0].component is not None for i in cube)
        return Lemma(f"site-clause-{number}", "", both(*parts), (self.words.component,) if local else ())


# ---- what is assumed ------------------------------------------------------------------------------------------------


def objection(strategy: Strategy, scenario: Scenario) -> str:
    """Why the argument does not apply to a strategy; "" where nothing speaks against it."""
    plans = {s: plan(strategy, replace(scenario, sites=s)) for s in range(1, MOST + 1)}
    for s in range(2, MOST + 1):
        smaller = [_Sketch.of(p, None, s - 1) for p in plans[s - 1].steps]
        for gone in range(s):
            sketches = [_Sketch.of(p, gone, s) for p in plans[s].steps if _site(p) != gone]
            if sketches != smaller:
                return f"without site {gone} the plan for {s} sites is not the plan for {s - 1}"
    for s, made in plans.items():
        for table in made.claims:
            addresses = [site_address(site.index, strategy.offset) for site in table.step.sites]
            if addresses != sorted(set(addresses)):
                return f"the handler's table for {s} sites is not in rising order: {table.step.label or 'claim'}"
            if table.step.room is not None:
                return f"the handler's table has room for {table.step.room} sites, not for any number"
            if len(addresses) != s:
                return f"the handler's table for {s} sites has {len(addresses)} entries"
    return ""


@dataclass(frozen=True)
class _Sketch:
    """A step of a plan as far as it is the same for any number of sites."""

    kind: str
    label: str
    round: int
    site: int | None
    what: str

    @staticmethod
    def of(planned: Planned, gone: int | None, sites: int) -> _Sketch:
        """`gone`: the site that is left out; those behind it move up."""

        def number(site: int) -> int:
            return site - (gone is not None and site > gone)

        step, site = planned.step, _site(planned)
        what = ""
        match step:
            case Write():
                what = f"{step.content!r} {step.place.start} {step.place.stop}"
            case Store():
                what = f"{step.word} {step.value}"
            case Claim():
                what = f"{step.policy.kind} {[number(s.index) for s in step.sites if s.index != gone]} {step.counted}"
            case Allocate(stub=Stub() as stub) | Free(code=Stub() as stub):
                what = str(stub.interrupts_off)
            case Free(code=code):
                what = str(code)
        return _Sketch(type(step).__name__, planned.label, planned.round, None if site is None else number(site), what)


def _site(planned: Planned) -> int | None:
    """The site that a step is about, if it is about one."""
    match planned.step:
        case Write(place=place):
            return place.site.index
        case Allocate(stub=Stub() as stub) | Free(code=Stub() as stub):
            return stub.site
    return None


def search_conditions() -> list[tuple[str, z3.BoolRef]]:
    """What makes binary search in a table in rising order find every entry, for any length: each is to be valid.

    `key` stands at `there`; the search has come to `low` … `high` and looks at `middle`.
    """
    table = z3.Function("table", z3.IntSort(), z3.IntSort())
    low, high, there, key = z3.Ints("low high there key")
    middle = (low + high) / 2
    rising = z3.And(*(z3.Implies(a < b, table(a) < table(b)) for a in (middle, there) for b in (middle, there)))
    inside = z3.And(low <= there, there < high, table(there) == key, low >= 0)
    return [
        ("the search goes on while the key may be there", z3.Implies(inside, low < high)),
        ("it looks inside", z3.Implies(inside, z3.And(low <= middle, middle < high))),
        ("going up keeps the key", z3.Implies(z3.And(inside, rising, table(middle) < key), middle + 1 <= there)),
        ("going down keeps the key", z3.Implies(z3.And(inside, rising, table(middle) > key), there < middle)),
        (
            "the rest gets shorter",
            z3.Implies(inside, z3.And(high - (middle + 1) < high - low, middle - low < high - low)),
        ),
    ]


def search_is_right() -> bool:
    """Whether Z3 confirms every condition of the search."""
    for _, condition in search_conditions():
        solver = z3.Solver()
        solver.set("random_seed", 0)
        solver.add(z3.Not(condition))
        if solver.check() != z3.unsat:
            return False
    return True
