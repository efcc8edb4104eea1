"""Was anything seen that the model does not allow, and what does the model allow that was not seen?

Each execution that was counted is put into the words of the model (`atoms`), and looked for among what the model can do
at the steps during which it took place. It is judged as the model judges, too: by who was called, and when.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from checker.silicon.allowed import Allowed, Atom, Seen
from checker.silicon.operations import Act, Handling, Special, Table, Who
from checker.silicon.run import Cell, Observation, Torn
from models.properties import BACK, BALANCED, CLAIMED, FREED, TORN, judge, who

_SPECIAL: dict[Special, tuple[str, str, Atom]] = {
    Special.UNCLAIMED: (CLAIMED, "unclaimed", ("unclaimed",)),
    Special.DEAD_CLAIM: (CLAIMED, "released", ("released",)),
    Special.LOST: (BALANCED, "no-return", ("lost",)),
    Special.FREED: (FREED, "freed", ("freed",)),
}
_SAYS = {
    Special.UNCLAIMED: "trap, nobody claims it",
    Special.DEAD_CLAIM: "trap, the claim was released",
    Special.LOST: "left without a return address",
    Special.TORN: "torn",
    Special.FREED: "ran code that was free",
}


@dataclass(frozen=True)
class Event:
    """What came of an execution: by which claim it was handled (0: none was needed), who was called; or something else.

    The owner of a probe comes after the last claim.
    """

    via: int
    who: Who
    special: Special | None = None

    @staticmethod
    def of(table: Table, number: int) -> Event:
        first = (table.claims + 2) * len(table.whos)
        if number >= first:
            return Event(0, Who(), Special(number - first))
        via, number = divmod(number, len(table.whos))
        return Event(via, table.whos[number])


@dataclass
class Outcome:
    """Executions that came to the same. `not_allowed`: how many of them the model does not allow.

    `where`: from which operation to which they were, and `means`: what was run; of those that are torn or not allowed.
    """

    says: str
    count: int = 0
    not_allowed: int = 0
    breaks: Counter[tuple[str, str]] = field(default_factory=Counter)
    where: Counter[tuple[str, str]] = field(default_factory=Counter)
    means: str = ""


@dataclass(frozen=True)
class Unseen:
    """Something that the model allows and that was not seen in `tries` executions while it was."""

    says: str
    tries: int


@dataclass
class Comparison:
    """What a run saw beside what a model allows."""

    allowed: Allowed
    observation: Observation
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    unseen: list[Unseen] = field(default_factory=list)

    @property
    def not_allowed(self) -> int:
        """How many executions the model does not allow."""
        return sum(outcome.not_allowed for outcome in self.outcomes.values())

    @property
    def breaks(self) -> Counter[tuple[str, str]]:
        """The properties that executions broke, how, and how many did."""
        found: Counter[tuple[str, str]] = Counter()
        for outcome in self.outcomes.values():
            found += outcome.breaks
        return found

    @property
    def not_compared(self) -> int:
        """How many torn executions the harness had no row left for."""
        return self.observation.forgotten

    @property
    def waits(self) -> str:
        """The step at which the patcher waited in vain, `the end` where nobody ran a site after it, or ""."""
        number, operations = self.observation.waits, self.allowed.table.operations
        if number == len(operations):
            return "the end"
        return operations[number].label if number >= 0 else ""


def compare(allowed: Allowed, observation: Observation) -> Comparison:
    """Every execution of `observation` against what `allowed` allows."""
    return _Comparing(allowed, observation).run()


class _Comparing:
    def __init__(self, allowed: Allowed, observation: Observation) -> None:
        self.allowed, self.table, self.observation = allowed, allowed.table, observation
        self.model, self.plan = allowed.model, allowed.model.plan
        self.found = Comparison(allowed, observation)
        self.met: set[tuple[Atom, bool]] = set()
        self.tries: Counter[tuple[int, int, int]] = Counter()  # by before, after and site
        self.begun, self.returned = self._rounds()

    def run(self) -> Comparison:
        for cell, count in sorted(self.observation.cells.items(), key=lambda item: -item[1]):
            self.tries[cell.before, cell.after, cell.site] += count
            event = Event.of(self.table, cell.event)
            if event.special is not Special.TORN:
                self.take(cell, event, count)
        for torn in self.observation.torn:
            self.take_torn(torn)
        self.found.unseen = list(self.not_seen())
        return self.found

    def _rounds(self) -> tuple[list[int], list[int]]:
        """For each operation, the rounds begun once it is performed, and those returned before it."""
        begun, returned, b, r = [], [], 0, 0
        for operation in self.table.operations:
            returned.append(r)
            b = operation.round if operation.begins else b
            r += operation.code == "return"
            begun.append(b)
        return [*begun, b], [*returned, r]

    def seen(self, mask: int) -> Seen | None:
        if not self.table.masks:
            return None
        return tuple(mask >> s & 1 for s in range(len(self.plan.sites)))

    # ---- what was seen ----------------------------------------------------------------------------------------------

    def take(self, cell: Cell, event: Event, count: int) -> None:
        steps = self.allowed.window(cell.before, cell.after)
        seen = None if event.special is not None else self.seen(cell.seen)
        alternatives = list(self.alternatives(event, cell.site))
        back = self.goes_back(event, cell)
        self.met.update((atom, back) for atoms in alternatives for atom in atoms)
        says = self.says(event, cell.site) + (" after the new" if back else "")
        self.add(says, count, self.allowed.allows(alternatives, steps, seen), self.broken(event, cell, back), cell)

    def take_torn(self, torn: Torn) -> None:
        site = self.plan.sites[torn.site]
        steps = self.allowed.window(torn.before, torn.after)
        if torn.fetched is None:
            says = f"torn, with {torn.memory.hex(' ')} in memory"
            fits = self.allowed.allows([[("torn", str(torn.site))]], steps, None)
        else:
            says = f"torn: {torn.fetched.hex(' ')}"
            fits = self.allowed.fetches(site, torn.fetched, steps, None)
        self.met.add((("torn", str(torn.site)), False))
        self.add(says, torn.count, fits, (TORN, "torn"), torn)
        self.found.outcomes[says].means = site.explain(torn.fetched or torn.memory)

    def add(self, says: str, count: int, fits: bool, broken: tuple[str, str] | None, at: Cell | Torn) -> None:
        """Count it. What breaks a property in a way that the model knows of at no step does not fit, whatever it was."""
        fits = fits and (broken is None or self.allowed.undefined or broken in self.allowed.breaks)
        outcome = self.found.outcomes.setdefault(says, Outcome(says))
        outcome.count += count
        if broken:
            outcome.breaks[broken] += count
        if not fits:
            outcome.not_allowed += count
        if not fits or isinstance(at, Torn):
            outcome.where[self.table.label(at.before), self.table.label(at.after)] += count

    def alternatives(self, event: Event, s: int) -> Iterator[list[Atom]]:
        """What the model may have done, for an execution to come to this."""
        site = str(s)
        if event.special is not None:
            _, _, atom = _SPECIAL[event.special]
            yield [atom]
            return
        function, read = event.who.function, event.who.read
        reads: list[Atom] = []
        if function is not None and read is not None:
            reads = [("read", site, function.name, ", ".join(read))]
        if not event.via:
            yield [("run", site, f"call {function.name}" if function else "nop"), *reads]
            if function is None:  # some mixtures of a no-op are no-ops, too
                yield [("torn", site)]
            return
        handling = self.table.handling.get((event.via % (self.table.claims + 1), s))
        if handling is not None:
            yield [("trap", site), self.handled(handling, event, site), *reads]

    def handled(self, handling: Handling, event: Event, site: str) -> Atom:
        if handling.kind is None:
            return ("probe", site)
        if handling.act is Act.SKIP:
            return ("skip", site)
        function = event.who.function
        meant = f"call {function.name}" if function else "nop"
        return ("redirect" if handling.act in (Act.STUB, Act.STUB_OFF) else "emulate", site, meant)

    def says(self, event: Event, s: int) -> str:
        if event.special is not None:
            return _SAYS[event.special]
        called = who(event.who.meaning)
        if not event.via:
            return f"ran, called {called}" if event.who.function else "ran, called nobody"
        handling = self.table.handling.get((event.via % (self.table.claims + 1), s))
        if handling is None:
            return f"trap, handled by nobody, called {called}"
        if handling.act is Act.SKIP:
            return "trap, skipped"
        how = "the probe" if handling.kind is None else "the stub" if "STUB" in handling.act.name else "the handler"
        return f"trap, {how} called {called}"

    # ---- judging ----------------------------------------------------------------------------------------------------

    def goes_back(self, event: Event, cell: Cell) -> bool:
        """Whether this thread ran the new at this site before, and the old now."""
        meanings = self.plan.meanings
        return bool(
            self.table.masks
            and event.special is None
            and cell.seen >> cell.site & 1
            and event.who.meaning == meanings[0] != meanings[-1]
        )

    def broken(self, event: Event, cell: Cell, back: bool) -> tuple[str, str] | None:
        """The property that was broken for sure, whenever between the two operations it took effect."""
        if event.special is not None:
            property_, kind, _ = _SPECIAL[event.special]
            return property_, kind
        safe = [f.name for f in self.plan.strategy.safe]
        begun, returned = self.begun[cell.after], self.returned[cell.before]
        verdict = judge(event.who.meaning, self.plan.meanings, begun, returned, safe)
        if verdict.property:
            return verdict.property, verdict.kind
        return (BACK, "back") if back else None

    # ---- what was not seen ------------------------------------------------------------------------------------------

    def not_seen(self) -> Iterator[Unseen]:
        """What the model allows and was not met: sites are told apart only where one of them was met."""
        where: dict[tuple[Atom, bool], set[int]] = defaultdict(set)
        for k, phase in self.allowed.phases.items():
            for atom, seens in phase.atoms.items():
                for seen in seens:
                    where[atom, self._is_back(atom, seen)].add(k)
        found: Counter[str] = Counter()
        for (atom, back), steps in where.items():
            if (atom, back) in self.met or atom[0] in ("back", "trap"):
                continue
            site = int(atom[1]) if len(atom) > 1 else None
            tries = sum(
                count
                for (before, after, s), count in self.tries.items()
                if site in (s, None) and steps & set(self.allowed.window(before, after))
            )
            found[self._atom_says(atom) + (" after the new" if back else "")] += tries
        return (Unseen(says, tries) for says, tries in found.items())

    def _is_back(self, atom: Atom, seen: Seen) -> bool:
        if not self.table.masks or not seen or len(atom) < 3 or len(set(self.plan.meanings)) == 1:
            return False
        return bool(seen[int(atom[1])]) and atom[2] == str(self.plan.versions[0])

    def _atom_says(self, atom: Atom) -> str:
        match atom:
            case ("run", site, what):
                return f"ran “{what}” at site {site}"
            case ("torn", site):
                return f"torn at site {site}"
            case ("emulate" | "redirect" as how, site, what):
                return f"trap at site {site}, {how}d “{what}”".replace("redirectd", "redirected to")
            case ("skip", site):
                return f"trap at site {site}, skipped"
            case ("probe", site):
                return f"trap at site {site}, left to the probe"
            case ("read", site, function, what):
                return f"{function} at site {site} called {what or 'nobody'}"
        names: dict[str, Special] = {a[0]: special for special, (_, _, a) in _SPECIAL.items()}
        return _SAYS[names[atom[0]]]
