"""What a CPU may see of the text when it fetches: the variables and rules behind the staleness values of `fetch`.

`Text` owns what memory holds; a `View` says what a fetch makes of it. All three views answer the same questions:
when is an outcome possible, what does serialising do, what does a store do to every CPU, and which CPUs could only
fetch the trap byte.

What is left out: granules of sites that share a cache line go stale independently (may raise a false alarm where a
line is fetched as one; misses nothing, since every combination is allowed).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Protocol

from models.machines.fetch import Granularity, GranuleOrder, Machine, Maintenance, Staleness
from models.machines.x86 import TRAP_BYTE
from models.system.expressions import TRUE, Bits, Component, Enum, Expr, Operand, Read, both, constant, either, if_else
from models.system.system import Builder, Fairness
from models.system.visitor import each
from models.text import Granule, Memory, Mixture, Outcome, OutcomeKind, Pick, SiteText, least, only_trap

Assignments = list[tuple[Expr, Operand]]
Value = Callable[[Read], int]  # the value that one CPU has for a variable, in some state
Contents = Mapping[int, int]  # what each content of a granule becomes


class Fetchable(Protocol):
    """A place that CPUs fetch from. `index` is its number among all; places may share granules."""

    index: int

    @property
    def name(self) -> str: ...
    @property
    def granules(self) -> tuple[Granule, ...]: ...
    def mixtures(self, picks: Sequence[Sequence[Pick]]) -> list[Mixture]: ...


def show_memory(strings: Sequence[bytes]) -> str:
    """Bytes in hex; for each byte that may be one of several the alternatives, as `11/51`."""
    return " ".join("/".join(dict.fromkeys(f"{s[i]:02x}" for s in strings)) for i in range(len(strings[0])))


class Text:
    """What memory holds: one variable per granule."""

    def __init__(self, builder: Builder, sites: Sequence[Fetchable]) -> None:
        self.sites = sites
        self.memory: dict[Granule, Read] = {}
        for granule in dict.fromkeys(granule for site in sites for granule in site.granules):
            labels = tuple(show_memory(sorted(content)) for content in granule.contents)
            self.memory[granule] = builder.variable(
                f"memory_{granule.site}_{granule.start}",
                Enum(f"bytes{granule.site}_{granule.start}", labels),
                labels[0],
                says=f"{granule.name} of site {granule.site}",
            )

    def changed(self, site: SiteText, memory: Memory) -> dict[Granule, int]:
        """The content of each granule of `site` when its memory is `memory`."""
        return {granule: granule.content(memory) for granule in site.granules}

    def holds_trap(self, site: Fetchable) -> Expr:
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
        self.mixtures: dict[Fetchable, list[Mixture]] = {}

    @abstractmethod
    def possible(self, site: Fetchable, outcome: Outcome) -> Expr:
        """Whether executing `site` now can have `outcome`."""

    @abstractmethod
    def serialised(self) -> Assignments:
        """What serialising does to this CPU's view."""

    @abstractmethod
    def seen(self, site: Fetchable, value: Value) -> str:
        """What this CPU may fetch of `site`, byte by byte, alternatives as `e8/cc`; "" where that is plain memory."""

    @abstractmethod
    def available(self, site: Fetchable, needs: Sequence[frozenset[int]], value: Value) -> bool:
        """Whether a fetch can take these items of the granules of `site`."""

    def outcomes(self, site: Fetchable) -> list[Outcome]:
        """Every outcome that some fetch of `site` has."""
        return list(dict.fromkeys(mixture.outcome for mixture in self.mixtures[site]))

    def fetched(self, site: Fetchable, outcome: Outcome, value: Value) -> bytes:
        """Bytes that this CPU can fetch with that outcome, the first in order. Raises LookupError if there are none."""
        for mixture in self.mixtures[site]:
            if mixture.outcome == outcome and self.available(site, mixture.needs, value):
                return mixture.bytes
        raise LookupError(f"no fetch of {site.name} is {outcome}")

    def executed(self, site: Fetchable) -> Assignments:
        """What executing `site` does to the view."""
        return []

    def dropped(self) -> Assignments:
        """What a change to another path does to it: a trap, a preemption."""
        return []

    def stored(self, changed: dict[Granule, int]) -> Assignments:
        """What a store does to every CPU's view (a broadcast)."""
        return []

    def stored_over(self, changed: Mapping[Granule, Contents]) -> Assignments:
        """The same, where what comes to be stored depends on what memory holds."""
        return []

    def cached(self, changed: Mapping[Granule, Contents]) -> Assignments:
        """What such a store does to the caches that fetches go through."""
        return []

    def maintained(self, granules: Sequence[Granule]) -> Assignments:
        """What cleaning and invalidating the caches does."""
        return []

    @abstractmethod
    def only_trap(self, site: Fetchable) -> Expr:
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
        self.caches: dict[Granule, Read] = {}
        for granule in text.memory:
            plain = [c for c in granule.contents if len(c) == 1]
            items = self.items[granule] = plain if self.bytewise else list(granule.contents)
            shown = [show_memory(sorted(item)) for item in items]
            what = f"which values of {granule.name} of site {granule.site}"
            name = f"{granule.site}_{granule.start}"
            self.views[granule] = builder.variable(
                f"view_{name}",
                Bits(len(items)),
                self.mask(granule, 0),
                cpu,
                says=f"{what} a fetch may return",
                bits=shown,
            )
            if machine.maintenance is Maintenance.EXPLICIT:
                self.caches[granule] = builder.variable(
                    f"cache_{name}",
                    Bits(len(items)),
                    self.mask(granule, 0),
                    says=f"{what} are in some cache",
                    bits=shown,
                )
        for site in text.sites:
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

    def possible(self, site: Fetchable, outcome: Outcome) -> Expr:
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
        return [(view, self.caches.get(granule, self.current(granule))) for granule, view in self.views.items()]

    def stored(self, changed: dict[Granule, int]) -> Assignments:
        return [
            (self.views[granule], each(self.views[granule]) | self.mask(granule, content))
            for granule, content in changed.items()
        ]

    def becomes(self, granule: Granule, contents: Contents) -> Expr:
        """The mask of what memory holds once its content has changed so."""
        memory, view = self.text.memory[granule], self.views[granule]
        masks = {k: self.mask(granule, after) for k, after in contents.items()}
        value: Expr = constant(masks[0], view.type)
        for k in range(1, len(granule.contents)):
            if masks[k] != masks[0]:
                value = if_else(memory == memory.type.show(k), constant(masks[k], view.type), value)
        return value

    def stored_over(self, changed: Mapping[Granule, Contents]) -> Assignments:
        return [(self.views[g], each(self.views[g]) | each(self.becomes(g, c))) for g, c in changed.items()]

    def cached(self, changed: Mapping[Granule, Contents]) -> Assignments:
        return [(self.caches[g], self.caches[g] | self.becomes(g, c)) for g, c in changed.items() if g in self.caches]

    def maintained(self, granules: Sequence[Granule]) -> Assignments:
        return [(self.caches[g], self.current(g)) for g in granules if g in self.caches]

    def seen(self, site: Fetchable, value: Value) -> str:
        parts = []
        for granule in site.granules:
            mask, items = value(self.views[granule]), self.items[granule]
            held = [string for i, item in enumerate(items) if mask >> i & 1 for string in sorted(item)]
            parts.append(show_memory(held))
        return " ".join(parts)

    def available(self, site: Fetchable, needs: Sequence[frozenset[int]], value: Value) -> bool:
        views = [value(self.views[granule]) for granule in site.granules]
        return all(view >> i & 1 for view, indices in zip(views, needs, strict=True) for i in indices)

    def only_trap(self, site: Fetchable) -> Expr:
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


@dataclass(frozen=True, eq=False)
class _Slot:
    """One place of the fetch buffer: whose instruction it holds, and for each granule which content was read (0: none)."""

    fetching: Read
    read: Sequence[Read]

    @property
    def variables(self) -> list[Read]:
        return [self.fetching, *self.read]

    def has(self, k: int, content: int) -> Expr:
        return self.read[k] == content + 1


class BufferedView(View):
    """A fetch reads memory granule by granule now, may run later, and may come before the CPU is at the site.

    A CPU holds up to `most` instructions in the order in which it fetched them, the last of them whole or in part; it runs
    the first, if that is what it comes to, and else throws all of them away. It may fetch ahead on any path, as a prediction
    may be of any. What was read behind a trap byte is forgotten, as it is never run. With `most` above 1, instructions that
    nobody changes take no place, as it does not matter when they are fetched, and there are no more places than others.

    A longer queue is left out: that may miss a bug where more than `most` instructions that change are run from the moment
    that counts to the one that is stale. One place is enough where a run is of one instruction, as a strategy's is: runs
    before the stale one could as well not have taken place.
    """

    verb = "has fetched"

    def __init__(self, builder: Builder, cpu: Component, text: Text, machine: Machine, most: int = 1) -> None:
        super().__init__(builder, cpu, text, machine)
        for site in text.sites:
            picks = [
                [Pick(frozenset({i}), s) for i, content in enumerate(granule.contents) for s in sorted(content)]
                for granule in site.granules
            ]
            self.mixtures[site] = site.mixtures(picks)
        self.constant = [site for site in text.sites if most > 1 and self._is_constant(site)]
        changing = len(text.sites) - len(self.constant)
        self.slots = [self._slot(number) for number in range(max(1, min(most, changing)))]
        self.fetching, self.read = self.slots[0].fetching, self.slots[0].read

    def _is_constant(self, site: Fetchable) -> bool:
        """Whether nothing that a fetch there reads ever changes."""
        contents = [granule.contents for granule in site.granules]
        needs = [zip(mixture.needs, contents, strict=True) for mixture in self.mixtures[site]]
        return all(len(held) == 1 and len(held[0]) == 1 for pairs in needs for indices, held in pairs if indices)

    def _slot(self, number: int) -> _Slot:
        sites = self.text.sites
        labels = ("nothing", *(site.name for site in sites))
        behind = f"_{number}" if number else ""
        where = f"place {number} of the fetch buffer" if number else "the fetch buffer"
        kind = Enum("fetching", labels)
        fetching = self.builder.variable(
            f"fetching{behind}", kind, "nothing", self.cpu, says=f"whose instruction {where} holds"
        )
        longest = max(sites, key=lambda site: len(site.granules))
        read = []
        for k, granule in enumerate(longest.granules):
            most = max(len(s.granules[k].contents) for s in sites if k < len(s.granules))
            says = f"which content of this granule {where} holds; 0 is none"
            name = f"fetched_{granule.start}{behind}"
            read.append(self.builder.variable(name, Bits(most.bit_length()), 0, self.cpu, says=says))
        return _Slot(fetching, read)

    def possible(self, site: Fetchable, outcome: Outcome) -> Expr:
        return TRUE if site in self.constant else self._holds(self.slots[0], site, outcome)

    def _holds(self, slot: _Slot, site: Fetchable, outcome: Outcome) -> Expr:
        """Whether a place of the buffer holds all that is needed of `site` to run with `outcome`."""
        ways = []
        for needs in least(self.mixtures[site], outcome):
            ways.append(both(*(slot.has(k, i) for k, indices in enumerate(needs) for i in indices)))
        return (slot.fetching == site.name) & either(*ways)

    def serialised(self) -> Assignments:
        return [assignment for slot in self.slots for assignment in _emptied(slot)]

    def dropped(self) -> Assignments:
        return self.serialised()

    def executed(self, site: Fetchable) -> Assignments:
        moved: Assignments = []
        if site in self.constant:
            return []
        for slot, behind in pairwise(self.slots):
            moved += zip(slot.variables, behind.variables, strict=True)
        return [*moved, *_emptied(self.slots[-1])]

    def seen(self, site: Fetchable, value: Value) -> str:
        mine = [slot for slot in self.slots if slot.fetching.type.show(value(slot.fetching)) == site.name]
        each_byte = zip(*(self._shown(slot, site, value) for slot in mine), strict=True)
        return " ".join("/".join(dict.fromkeys(found)) for found in each_byte)

    def _shown(self, slot: _Slot, site: Fetchable, value: Value) -> list[str]:
        """Byte by byte what a place that is `site`'s holds."""
        parts = []
        for read, granule in zip(slot.read, site.granules, strict=False):
            content = value(read)
            unknown = " ".join(["··"] * (granule.stop - granule.start))
            parts.append(show_memory(sorted(granule.contents[content - 1])) if content else unknown)
        return " ".join(parts).split()

    def available(self, site: Fetchable, needs: Sequence[frozenset[int]], value: Value) -> bool:
        if site in self.constant:
            return True
        mine = self.fetching.type.show(value(self.fetching)) == site.name
        read = [value(r) for r in self.read]
        return mine and all(r == i + 1 for r, indices in zip(read, needs, strict=False) for i in indices)

    def only_trap(self, site: Fetchable) -> Expr:
        head = site.granules[0]
        bad = [k + 1 for k, content in enumerate(head.contents) if not only_trap(content)]
        fetched = either(*((slot.fetching == site.name) & slot.read[0].is_in(bad) for slot in self.slots))
        return self.text.holds_trap(site) & ~fetched

    def _ends_with_trap(self, slot: _Slot, site: Fetchable) -> Expr:
        """Whether a place that is `site`'s holds a trap byte: nothing more is read."""
        head = site.granules[0]
        return slot.read[0].is_in([k + 1 for k, content in enumerate(head.contents) if only_trap(content)])

    def add_actions(self, at: Sequence[Expr], runs: Expr, prefetches: Expr) -> None:
        self.builder.action(
            "serialise",
            actor=self.cpu,
            effects=self.serialised(),
            says="{cpu} happens to serialise: what it had fetched is dropped",
            fairness=Fairness.NEVER_ON_CYCLE,
        )
        for site in self.text.sites:
            for k, granule in enumerate(() if site in self.constant else site.granules):
                self._add_fetch(site, k, granule, at[site.index], runs, prefetches)
                for number in range(1, len(self.slots)):
                    self._add_fetch_behind(number, site, k, granule, runs & prefetches)

    def _go_on(self, slot: _Slot, site: Fetchable, k: int) -> Expr:
        """Whether a place holds part of `site`, of which this granule may be read next."""
        ordered: Expr = TRUE
        if self.machine.order is GranuleOrder.ASCENDING:
            ordered = both(*(slot.read[j] > 0 for j in range(k)))
        return (slot.fetching == site.name) & (slot.read[k] == 0) & ordered & ~self._ends_with_trap(slot, site)

    def _may_begin(self, k: int) -> Expr:
        """Whether the first granule that is read of an instruction may be this."""
        return TRUE if self.machine.order is GranuleOrder.ANY or k == 0 else ~TRUE

    def _read(self, slot: _Slot, site: Fetchable, k: int, granule: Granule) -> Assignments:
        """Reading a granule into a place; behind a trap byte nothing is kept."""
        memory, kind = self.text.memory[granule], slot.read[k].type
        value: Expr = constant(1, kind)
        for content in range(1, len(granule.contents)):
            value = if_else(memory == memory.type.show(content), constant(content + 1, kind), value)
        traps = (
            memory.is_in([memory.type.show(i) for i, c in enumerate(granule.contents) if only_trap(c)])
            if k == 0
            else ~TRUE
        )
        mine = slot.fetching == site.name
        others: Assignments = [(read, if_else(mine & ~traps, read, 0)) for j, read in enumerate(slot.read) if j != k]
        return [(slot.fetching, site.name), (slot.read[k], value), *others]

    def _add_fetch(self, site: Fetchable, k: int, granule: Granule, at: Expr, runs: Expr, prefetches: Expr) -> None:
        """Reading one granule of what is run next, ahead of time and on arrival (when what else was fetched is thrown away)."""
        slot, start = self.slots[0], self._may_begin(k)
        mine, empty = slot.fetching == site.name, slot.fetching == "nothing"
        go_on = self._go_on(slot, site, k)
        effects = [*self._read(slot, site, k, granule), *(a for behind in self.slots[1:] for a in _emptied(behind))]
        where = granule.name
        self.builder.action(
            f"prefetch {granule.start} of {site.name}",
            actor=self.cpu,
            guard=runs & prefetches & ~at & (go_on | (empty & start)),
            effects=effects,
            says=f"{{cpu}} fetches {where} of {site.name} ahead of time",
        )
        self.builder.action(
            f"fetch {granule.start} of {site.name}",
            actor=self.cpu,
            guard=runs & at & (go_on | (~mine & start)),
            effects=effects,
            says=f"{{cpu}} fetches {where} of {site.name}",
            fairness=Fairness.TASK,
        )

    def _add_fetch_behind(self, number: int, site: Fetchable, k: int, granule: Granule, may: Expr) -> None:
        """Reading one granule of what may be run after what is in the place before, which is whole and no trap."""
        before, slot = self.slots[number - 1], self.slots[number]
        whole = either(
            *(
                self._holds(before, other, outcome)
                for other in self.text.sites
                if other not in self.constant
                for outcome in self.outcomes(other)
                if outcome.kind is not OutcomeKind.TRAP
            )
        )
        begin = whole & (slot.fetching == "nothing") & self._may_begin(k)
        self.builder.action(
            f"prefetch {granule.start} of {site.name} as number {number + 1}",
            actor=self.cpu,
            guard=may & (self._go_on(slot, site, k) | begin),
            effects=self._read(slot, site, k, granule),
            says=f"{{cpu}} fetches {granule.name} of {site.name} ahead of time, behind what it has fetched before",
        )


def _emptied(slot: _Slot) -> Assignments:
    return [(slot.fetching, "nothing"), *((read, 0) for read in slot.read)]


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

    def possible(self, site: Fetchable, outcome: Outcome) -> Expr:
        ways: dict[
            tuple[frozenset[int], ...], set[int]
        ] = {}  # by what the other granules hold, the first one's contents
        for first, *others in least(self.mixtures[site], outcome):
            ways.setdefault(tuple(others), set()).update(first)
        return either(*(both(*self._hold(site, (frozenset(first), *others))) for others, first in ways.items()))

    def _hold(self, site: Fetchable, contents: Sequence[frozenset[int]]) -> list[Expr]:
        """That each granule holds one of its contents; none named is any."""
        found = []
        for granule, indices in zip(site.granules, contents, strict=True):
            memory = self.text.memory[granule]
            if indices:
                found.append(memory.is_in([memory.type.show(i) for i in sorted(indices)]))
        return found

    def serialised(self) -> Assignments:
        return []

    def seen(self, site: Fetchable, value: Value) -> str:
        return ""

    def available(self, site: Fetchable, needs: Sequence[frozenset[int]], value: Value) -> bool:
        held = [value(self.text.memory[granule]) for granule in site.granules]
        return all(i == here for indices, here in zip(needs, held, strict=True) for i in indices)

    def only_trap(self, site: Fetchable) -> Expr:
        return self.text.holds_trap(site)

    def add_actions(self, at: Sequence[Expr], runs: Expr, prefetches: Expr) -> None:
        """Nothing: there is no view that could change."""


def make_view(builder: Builder, cpu: Component, text: Text, machine: Machine, most: int = 1) -> View:
    """The view that `machine` asks for. `most`: how many instructions a buffer holds."""
    match machine.staleness:
        case Staleness.STALE:
            return StaleView(builder, cpu, text, machine)
        case Staleness.BUFFERED:
            return BufferedView(builder, cpu, text, machine, most)
        case Staleness.COHERENT:
            return CoherentView(builder, cpu, text, machine)
