"""What a CPU may see of the text when it fetches: the variables and rules behind the staleness values of `fetch`.

`Text` owns what memory holds; a `View` says what a fetch makes of it. All three views answer the same questions:
when is an outcome possible, what does serialising do, what does a store do to every CPU, and which CPUs could only
fetch the trap byte.

What is left out: granules of sites that share a cache line go stale independently (may raise a false alarm where a
line is fetched as one; misses nothing, since every combination is allowed).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import product

from models.machines.fetch import Granularity, GranuleOrder, Machine, Staleness
from models.machines.x86 import TRAP_BYTE
from models.system.expressions import TRUE, Bits, Component, Enum, Expr, Operand, Read, both, constant, either, if_else
from models.system.system import Builder, Fairness
from models.system.visitor import each
from models.text import Granule, Memory, Mixture, Outcome, Pick, SiteText, least, only_trap

Assignments = list[tuple[Expr, Operand]]
Value = Callable[[Read], int]  # the value that one CPU has for a variable, in some state


def show_memory(strings: Sequence[bytes]) -> str:
    """Bytes in hex; for each byte that may be one of several the alternatives, as `11/51`."""
    return " ".join("/".join(dict.fromkeys(f"{s[i]:02x}" for s in strings)) for i in range(len(strings[0])))


class Text:
    """What memory holds: one variable per granule."""

    def __init__(self, builder: Builder, sites: Sequence[SiteText]) -> None:
        self.sites = sites
        self.memory: dict[Granule, Read] = {}
        for site in sites:
            for granule in site.granules:
                labels = tuple(show_memory(sorted(content)) for content in granule.contents)
                self.memory[granule] = builder.variable(
                    f"memory_{site.index}_{granule.start}",
                    Enum(f"bytes{site.index}_{granule.start}", labels),
                    labels[0],
                    says=f"{granule.name} of site {site.index}",
                )

    def changed(self, site: SiteText, memory: Memory) -> dict[Granule, int]:
        """The content of each granule of `site` when its memory is `memory`."""
        return {granule: granule.content(memory) for granule in site.granules}

    def holds_trap(self, site: SiteText) -> Expr:
        """Whether memory has the trap byte first (surely: no store is under way)."""
        head = site.granules[0]
        return self.memory[head].is_in([show_memory(sorted(c)) for c in head.contents if only_trap(c)])

    def may_have_first(self, site: SiteText, trap: bool) -> Expr:
        """Whether a data read of the first byte can find a trap byte (or something else); in flux both may be."""
        head = site.granules[0]
        found = [c for c in head.contents if any((string[:1] == TRAP_BYTE) is trap for string in c)]
        return self.memory[head].is_in([show_memory(sorted(c)) for c in found])


class View(ABC):
    """How fetches relate to memory, for every CPU. `verb`: how `seen` reads in a sentence."""

    verb = "may fetch"

    def __init__(self, builder: Builder, cpu: Component, text: Text, machine: Machine) -> None:
        self.builder, self.cpu, self.text, self.machine = builder, cpu, text, machine
        self.mixtures: dict[SiteText, list[Mixture]] = {}

    @abstractmethod
    def possible(self, site: SiteText, outcome: Outcome) -> Expr:
        """Whether executing `site` now can have `outcome`."""

    @abstractmethod
    def serialised(self) -> Assignments:
        """What serialising does to this CPU's view."""

    @abstractmethod
    def seen(self, site: SiteText, value: Value) -> str:
        """What this CPU may fetch of `site`, byte by byte, alternatives as `e8/cc`; "" where that is plain memory."""

    @abstractmethod
    def available(self, site: SiteText, needs: Sequence[frozenset[int]], value: Value) -> bool:
        """Whether a fetch can take these items of the granules of `site`."""

    def outcomes(self, site: SiteText) -> list[Outcome]:
        """Every outcome that some fetch of `site` has."""
        return list(dict.fromkeys(mixture.outcome for mixture in self.mixtures[site]))

    def fetched(self, site: SiteText, outcome: Outcome, value: Value) -> bytes:
        """Bytes that this CPU can fetch with that outcome, the first in order. Raises LookupError if there are none."""
        for mixture in self.mixtures[site]:
            if mixture.outcome == outcome and self.available(site, mixture.needs, value):
                return mixture.bytes
        raise LookupError(f"no fetch of site {site.index} is {outcome}")

    def executed(self) -> Assignments:
        """What executing the site does to the view."""
        return []

    def stored(self, changed: dict[Granule, int]) -> Assignments:
        """What a store does to every CPU's view (a broadcast)."""
        return []

    @abstractmethod
    def only_trap(self, site: SiteText) -> Expr:
        """Whether this CPU, fetching now or having fetched before, can only get the trap byte first."""

    @abstractmethod
    def add_actions(self, at: Sequence[Expr], runs: Expr, prefetches: Expr) -> None:
        """Add the view's own actions.

        `at[i]`: the CPU is about to execute site i. `prefetches`: what it fetches ahead may come to be executed.
        """


def _needed(indices: Sequence[frozenset[int]], views: Sequence[Expr]) -> Expr:
    """Whether each view, a mask, has all the bits that are needed of it."""
    parts = []
    for needs, view in zip(indices, views, strict=True):
        mask = sum(1 << i for i in needs)
        if mask:
            parts.append((view & constant(mask, view.type)) == constant(mask, view.type))
    return both(*parts)


class StaleView(View):
    """A fetch returns any value that memory held since this CPU last serialised: a mask for each granule.

    Byte by byte, the mask ranges over plain values and every byte is taken from any of them; a store in flux adds old
    and new. For wider granules the mask ranges over what the whole granule held.
    """

    def __init__(self, builder: Builder, cpu: Component, text: Text, machine: Machine) -> None:
        super().__init__(builder, cpu, text, machine)
        self.bytewise = machine.granularity is Granularity.BYTE
        self.items: dict[Granule, list[Memory]] = {}
        self.views: dict[Granule, Read] = {}
        for site in text.sites:
            for granule in site.granules:
                plain = [c for c in granule.contents if len(c) == 1]
                items = self.items[granule] = plain if self.bytewise else list(granule.contents)
                self.views[granule] = builder.variable(
                    f"view_{site.index}_{granule.start}",
                    Bits(len(items)),
                    self.mask(granule, 0),
                    cpu,
                    says=f"which values of {granule.name} of site {site.index} a fetch may return",
                    bits=[show_memory(sorted(item)) for item in items],
                )
            self.mixtures[site] = site.mixtures([self.picks(granule) for granule in site.granules])

    def mask(self, granule: Granule, content: int) -> int:
        """The items that memory with this content shows."""
        held = granule.contents[content]
        if not self.bytewise:
            return 1 << content
        return sum(1 << i for i, item in enumerate(self.items[granule]) if item <= held)

    def picks(self, granule: Granule) -> list[Pick]:
        """Every way to read the granule."""
        items = self.items[granule]
        found = []
        if self.bytewise:
            values = [next(iter(item)) for item in items]
            for sources in product(range(len(values)), repeat=granule.stop - granule.start):
                code = bytes(values[source][offset] for offset, source in enumerate(sources))
                found.append(Pick(frozenset(sources), code))
        else:
            found = [Pick(frozenset({i}), string) for i, item in enumerate(items) for string in sorted(item)]
        return list(dict.fromkeys(found))

    def possible(self, site: SiteText, outcome: Outcome) -> Expr:
        views = [self.views[granule] for granule in site.granules]
        return either(*(_needed(needs, views) for needs in least(self.mixtures[site], outcome)))

    def current(self, granule: Granule) -> Expr:
        """The mask of what memory holds now."""
        memory, view = self.text.memory[granule], self.views[granule]
        value: Expr = constant(self.mask(granule, 0), view.type)
        for content in range(1, len(granule.contents)):
            value = if_else(
                memory == memory.type.show(content), constant(self.mask(granule, content), view.type), value
            )
        return value

    def serialised(self) -> Assignments:
        return [(view, self.current(granule)) for granule, view in self.views.items()]

    def stored(self, changed: dict[Granule, int]) -> Assignments:
        return [
            (self.views[granule], each(self.views[granule]) | self.mask(granule, content))
            for granule, content in changed.items()
        ]

    def seen(self, site: SiteText, value: Value) -> str:
        parts = []
        for granule in site.granules:
            mask, items = value(self.views[granule]), self.items[granule]
            held = [string for i, item in enumerate(items) if mask >> i & 1 for string in sorted(item)]
            parts.append(show_memory(held))
        return " ".join(parts)

    def available(self, site: SiteText, needs: Sequence[frozenset[int]], value: Value) -> bool:
        views = [value(self.views[granule]) for granule in site.granules]
        return all(view >> i & 1 for view, indices in zip(views, needs, strict=True) for i in indices)

    def only_trap(self, site: SiteText) -> Expr:
        head = site.granules[0]
        view = self.views[head]
        others = sum(1 << i for i, item in enumerate(self.items[head]) if not only_trap(item))
        return (view & constant(others, view.type)) == 0

    def add_actions(self, at: Sequence[Expr], runs: Expr, prefetches: Expr) -> None:
        self.builder.action(
            "serialise",
            actor=self.cpu,
            effects=self.serialised(),
            says="{cpu} happens to serialise",
            fairness=Fairness.NEVER_ON_CYCLE,
        )


class BufferedView(View):
    """A fetch reads memory granule by granule now, may run later, and may come before the CPU is at the site.

    A CPU holds one instruction, whole or in part: which site's, and for each granule which content it read (0: none).
    What was read behind a trap byte is forgotten, as it is never run.
    """

    verb = "has fetched"

    def __init__(self, builder: Builder, cpu: Component, text: Text, machine: Machine) -> None:
        super().__init__(builder, cpu, text, machine)
        labels = ("nothing", *(f"site {site.index}" for site in text.sites))
        self.fetching = builder.variable(
            "fetching", Enum("fetching", labels), "nothing", cpu, says="whose instruction the fetch buffer holds"
        )
        count = len(text.sites[0].granules)
        most = [max(len(site.granules[k].contents) for site in text.sites) for k in range(count)]
        self.read = [
            builder.variable(
                f"fetched_{text.sites[0].granules[k].start}",
                Bits(most[k].bit_length()),
                0,
                cpu,
                says="which content of this granule the fetch buffer holds; 0 is none",
            )
            for k in range(count)
        ]
        for site in text.sites:
            picks = [
                [Pick(frozenset({i}), s) for i, content in enumerate(granule.contents) for s in sorted(content)]
                for granule in site.granules
            ]
            self.mixtures[site] = site.mixtures(picks)

    def has(self, k: int, content: int) -> Expr:
        return self.read[k] == content + 1

    def possible(self, site: SiteText, outcome: Outcome) -> Expr:
        mine = self.fetching == f"site {site.index}"
        ways = []
        for needs in least(self.mixtures[site], outcome):
            ways.append(both(*(self.has(k, i) for k, indices in enumerate(needs) for i in indices)))
        return mine & either(*ways)

    def serialised(self) -> Assignments:
        return [(self.fetching, "nothing"), *((read, 0) for read in self.read)]

    def executed(self) -> Assignments:
        return self.serialised()

    def seen(self, site: SiteText, value: Value) -> str:
        if self.fetching.type.show(value(self.fetching)) != f"site {site.index}":
            return ""
        parts = []
        for read, granule in zip(self.read, site.granules, strict=True):
            content = value(read)
            unknown = " ".join(["··"] * (granule.stop - granule.start))
            parts.append(show_memory(sorted(granule.contents[content - 1])) if content else unknown)
        return " ".join(parts)

    def available(self, site: SiteText, needs: Sequence[frozenset[int]], value: Value) -> bool:
        mine = self.fetching.type.show(value(self.fetching)) == f"site {site.index}"
        read = [value(r) for r in self.read]
        return mine and all(r == i + 1 for r, indices in zip(read, needs, strict=True) for i in indices)

    def only_trap(self, site: SiteText) -> Expr:
        head = site.granules[0]
        bad = [k + 1 for k, content in enumerate(head.contents) if not only_trap(content)]
        return self.text.holds_trap(site) & ~((self.fetching == f"site {site.index}") & self.read[0].is_in(bad))

    def ends_with_trap(self, site: SiteText) -> Expr:
        """Whether the buffer holds a trap byte: nothing more is read."""
        head = site.granules[0]
        return self.read[0].is_in([k + 1 for k, content in enumerate(head.contents) if only_trap(content)])

    def add_actions(self, at: Sequence[Expr], runs: Expr, prefetches: Expr) -> None:
        self.builder.action(
            "serialise",
            actor=self.cpu,
            effects=self.serialised(),
            says="{cpu} happens to serialise: what it had fetched is dropped",
            fairness=Fairness.NEVER_ON_CYCLE,
        )
        for site in self.text.sites:
            for k, granule in enumerate(site.granules):
                self.add_fetch(site, k, granule, at[site.index], runs, prefetches)

    def add_fetch(self, site: SiteText, k: int, granule: Granule, at: Expr, runs: Expr, prefetches: Expr) -> None:
        """Reading one granule, ahead of time and on arrival (when the buffer of another site is thrown away)."""
        name = f"site {site.index}"
        mine, empty = self.fetching == name, self.fetching == "nothing"
        ordered: Expr = TRUE
        if self.machine.order is GranuleOrder.ASCENDING:
            ordered = both(*(self.read[j] > 0 for j in range(k)))
        go_on = mine & (self.read[k] == 0) & ordered & ~self.ends_with_trap(site)
        memory = self.text.memory[granule]
        kind = self.read[k].type
        value: Expr = constant(1, kind)
        for content in range(1, len(granule.contents)):
            value = if_else(memory == memory.type.show(content), constant(content + 1, kind), value)
        traps = (
            memory.is_in([memory.type.show(i) for i, c in enumerate(granule.contents) if only_trap(c)])
            if k == 0
            else ~TRUE
        )
        start = TRUE if self.machine.order is GranuleOrder.ANY or k == 0 else ~TRUE  # where an empty buffer may begin
        others: Assignments = [
            (self.read[j], if_else(mine & ~traps, self.read[j], 0)) for j in range(len(self.read)) if j != k
        ]
        effects: Assignments = [(self.fetching, name), (self.read[k], value), *others]
        where = granule.name
        self.builder.action(
            f"prefetch {granule.start} of site {site.index}",
            actor=self.cpu,
            guard=runs & prefetches & ~at & (go_on | (empty & start)),
            effects=effects,
            says=f"{{cpu}} fetches {where} of site {site.index} ahead of time",
        )
        self.builder.action(
            f"fetch {granule.start} of site {site.index}",
            actor=self.cpu,
            guard=runs & at & (go_on | (~mine & start)),
            effects=effects,
            says=f"{{cpu}} fetches {where} of site {site.index}",
            fairness=Fairness.TASK,
        )


class CoherentView(View):
    """A whole instruction is fetched from memory and run at once."""

    def __init__(self, builder: Builder, cpu: Component, text: Text, machine: Machine) -> None:
        super().__init__(builder, cpu, text, machine)
        self.mixtures = {
            site: site.mixtures(
                [[Pick(frozenset({i}), s) for i, c in enumerate(g.contents) for s in sorted(c)] for g in site.granules]
            )
            for site in text.sites
        }

    def possible(self, site: SiteText, outcome: Outcome) -> Expr:
        (granule,) = site.granules
        memory = self.text.memory[granule]
        indices = {i for needs in least(self.mixtures[site], outcome) for part in needs for i in part}
        return memory.is_in([memory.type.show(i) for i in sorted(indices)])

    def serialised(self) -> Assignments:
        return []

    def seen(self, site: SiteText, value: Value) -> str:
        return ""

    def available(self, site: SiteText, needs: Sequence[frozenset[int]], value: Value) -> bool:
        held = value(self.text.memory[site.granules[0]])
        return all(i == held for indices in needs for i in indices)

    def only_trap(self, site: SiteText) -> Expr:
        return self.text.holds_trap(site)

    def add_actions(self, at: Sequence[Expr], runs: Expr, prefetches: Expr) -> None:
        """Nothing: there is no view that could change."""


def make_view(builder: Builder, cpu: Component, text: Text, machine: Machine) -> View:
    """The view that `machine` asks for."""
    kinds: dict[Staleness, type[View]] = {
        Staleness.STALE: StaleView,
        Staleness.BUFFERED: BufferedView,
        Staleness.COHERENT: CoherentView,
    }
    return kinds[machine.staleness](builder, cpu, text, machine)
