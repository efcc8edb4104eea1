"""A strategy unrolled in a scenario: its steps in order, and everything that follows from them before any CPU moves.

The patcher is one thread that runs a fixed list of steps, so what text, words and claims hold after each step is known.
What is wrong with a strategy file is found here, and named with its line.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

from models.machines import x86
from models.machines.isa import Isa
from models.protocol import (
    NOBODY,
    TRAP,
    Allocate,
    Call,
    Claim,
    Discard,
    Free,
    Function,
    Instruction,
    Meaning,
    PolicyKind,
    Probe,
    ReadLock,
    ReadUnlock,
    Release,
    ResumeMachine,
    Round,
    Site,
    Step,
    Steps,
    StopMachine,
    Store,
    Strategy,
    Stub,
    Sync,
    Word,
    Write,
)
from models.scenario import Scenario, versions
from models.system.errors import Location, ModelError, ScenarioError, blamed_on, described, is_internal
from models.text import AddressBook, Memory, SiteText, cuts, encode, site_address, store, stub_address

MOST_STEPS = 10_000


@dataclass(frozen=True)
class Planned:
    """One step of the patcher, in its place: `round` counts from 1; `begins` it with the round's first store.

    `writes`: for a text store, the snapshots that memory goes through. `claim`: the number, from 1, of a Claim.
    """

    step: Step
    label: str
    round: int
    begins: bool = False
    writes: tuple[Memory, ...] = ()
    claim: int = 0


@dataclass(frozen=True)
class ClaimTable:
    """What the handler finds of one Claim: the step, its round, and at which sites the binary search succeeds."""

    step: Claim
    round: int
    finds: frozenset[int]


@dataclass
class Plan:
    """Everything about a strategy in a scenario that does not depend on what CPUs do."""

    strategy: Strategy
    scenario: Scenario
    transition: str
    rounds: int
    meanings: tuple[Meaning, ...]  # S[0], S[1], …: what an execution means before, and after each round
    versions: tuple[Instruction, ...]  # what the text holds before, and after each round
    steps: list[Planned] = field(default_factory=list)
    returns: list[int] = field(default_factory=list)  # for each round, how many steps came before its return
    claims: list[ClaimTable] = field(default_factory=list)
    words: dict[Word, list[Meaning]] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    sites: tuple[SiteText, ...] = ()

    @property
    def freed(self) -> tuple[Function, ...]:
        """The functions that some step frees."""
        codes = [p.step.code for p in self.steps if isinstance(p.step, Free)]
        return tuple(dict.fromkeys(code for code in codes if isinstance(code, Function)))

    @property
    def stubs(self) -> tuple[Stub, ...]:
        """The stubs that steps allocate or free."""
        found: dict[Stub, None] = {}
        for p in self.steps:
            match p.step:
                case Allocate(stub=stub) | Free(code=Stub() as stub):
                    found[stub] = None
        return tuple(found)

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The trap bytes that stay: their owners get the traps that nobody claims."""
        return tuple(dict.fromkeys(v for v in self.versions if isinstance(v, Probe)))

    @property
    def calls(self) -> bool:
        """Whether anything ever calls a function: the text, or the handler on its behalf."""
        emulated = any(table.step.policy.target for table in self.claims)
        return emulated or any(isinstance(version, Call) for version in self.versions)

    @property
    def counted(self) -> bool:
        """Whether claims are guarded by counts on each CPU."""
        return any(table.step.counted for table in self.claims)

    @property
    def preempts(self) -> bool:
        """Whether tasks can be preempted: asked for, or needed because something is freed."""
        return self.scenario.preempt or bool(self.uses(Free))

    def stub_code(self, stub: Stub, number: int) -> bytes:
        """The bytes of a stub that is written in round `number`: push the site's return address, [sti,] jump."""
        site, function = self.sites[stub.site], self.versions[number].calls
        returns_to = site.address + site.length
        target = site.book.address(function) if function else returns_to
        return b"".join(x86.stub(stub_address(stub.site), returns_to, target, stub.interrupts_off))

    def uses(self, kind: type[Step]) -> list[Planned]:
        """The steps of one kind."""
        return [p for p in self.steps if isinstance(p.step, kind)]

    @property
    def traps(self) -> bool:
        """Whether a trap byte is ever written."""
        written = (string for p in self.steps for memory in p.writes for string in memory)
        return bool(self.probes) or any(string[:1] == TRAP for string in written)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the steps, in order of first use."""
        return tuple(dict.fromkeys(p.label for p in self.steps))


def plan(strategy: Strategy, scenario: Scenario) -> Plan:
    """Unroll `strategy`. Raises ModelError, with file and line, for whatever is wrong with it."""
    if (isa := scenario.machine.isa) is not Isa.X86:
        name = scenario.machine.name
        raise ScenarioError(f"strategies of models.protocol are x86, and {name} is {isa.value}: write a program")
    if strategy.rounds:
        if scenario.transition is not None or scenario.rounds is not None:
            raise ScenarioError(f"{strategy.name} states its own sequence: --transition and --rounds do not apply")
        transition, rounds = "own sequence", list(strategy.rounds)
        texts: list[Instruction] = [strategy.before, *(r.text for r in rounds)]
        meanings = [tuple(sorted(f.name for f in strategy.before_means)), *(r.meaning for r in rounds)]
    else:
        transition = scenario.transition or "call:call"
        texts = versions(transition, scenario.rounds or 1)
        assert strategy.steps is not None
        rounds = [Round(text, [f for f in [text.calls] if f], strategy.steps) for text in texts[1:]]
        meanings = [(text.calls.name,) if text.calls else NOBODY for text in texts]
    made = Plan(strategy, scenario, transition, len(rounds), tuple(meanings), tuple(texts))
    _Unroller(made, rounds).run()
    return made


class _Unroller:
    """Runs the generators of all rounds and follows what their steps do to text, claims, words and code."""

    def __init__(self, made: Plan, rounds: Sequence[Round]) -> None:
        self.plan, self.rounds = made, rounds
        self.scenario = made.scenario
        self.book = AddressBook(made.strategy.offset, self.scenario.sites)
        self.claimed = self.counted = self.locked = self.stopped = False
        self.live: set[Stub] = set()
        self.dropped: set[type[Step]] = set()
        self.dropped_code: set[Stub] = set()
        self.freed: set[Function] = set()
        self.known_labels: set[str] = set()

    def run(self) -> None:
        made, strategy = self.plan, self.plan.strategy
        pending: list[list[Planned]] = []
        for number, item in enumerate(self.rounds, 1):
            sites = tuple(Site(i, made.versions[number - 1], item.text) for i in range(self.scenario.sites))
            pending.append(self.one_round(number, item.steps, sites))
        unknown = self.scenario.without - self.known_labels
        if unknown:
            labels = ", ".join(sorted(self.known_labels))
            raise ScenarioError(f"{strategy.name} has no step “{sorted(unknown)[0]}”; it has {labels}")
        self.collect_functions(pending)
        self.lay_out([p for steps in pending for p in steps])
        ends = 0
        for steps in pending:
            ends += len(steps)
            made.returns.append(ends)

    def one_round(self, number: int, steps: Steps, sites: Sequence[Site]) -> list[Planned]:
        """The steps of one round, labelled, checked, without those left out."""
        found: list[Planned] = []
        syncs, begun = 0, False
        for step in self.generate(steps, sites):
            label = step.label or step.default_label()
            if isinstance(step, Sync) and not step.label:
                syncs += 1
                label = f"sync-{syncs}"
            self.known_labels.add(label)
            if label in self.scenario.without:
                self.leave_out(step)
                continue
            with blamed_on(step.where):
                if not self.admit(step):
                    continue
                finds = self.search(step) if isinstance(step, Claim) else frozenset()
            begins = isinstance(step, (Write, Store)) and not begun
            begun = begun or begins
            claim = 0
            if isinstance(step, Claim):
                self.plan.claims.append(ClaimTable(step, number, finds))
                claim = len(self.plan.claims)
            found.append(Planned(step, label, number, begins, claim=claim))
        return found

    def generate(self, steps: Steps, sites: Sequence[Site]) -> Iterable[Step]:
        """What `steps` yields, with every way of failing turned into one message."""
        strategy = self.plan.strategy
        try:
            with redirect_stdout(sys.stderr):
                made = steps(sites)
        except (Exception, SystemExit) as error:
            raise self.failed(error, steps) from error
        if not isinstance(made, Iterable):
            message = f"{strategy.name}: the steps are {made!r}, not a generator (is there a `yield`?)"
            raise ModelError(message, self.written_at(steps))
        source = iter(made)
        for count in range(MOST_STEPS + 1):
            try:
                with redirect_stdout(sys.stderr):
                    step = next(source)
            except StopIteration:
                return
            except ModelError as error:
                raise error if error.where else ModelError(error.message, self.failed(error, steps).where) from error
            except (Exception, SystemExit) as error:
                raise self.failed(error, steps) from error
            inner: Any = source
            while getattr(getattr(inner, "gi_yieldfrom", None), "gi_frame", None) is not None:
                inner = inner.gi_yieldfrom
            frame = getattr(inner, "gi_frame", None)
            place = Location(frame.f_code.co_filename, frame.f_lineno) if frame else self.written_at(steps)
            if not isinstance(step, Step):
                raise ModelError(f"{strategy.name} yields {step!r}, which is not a step", place)
            if count == MOST_STEPS:
                raise ModelError(
                    f"{strategy.name} has yielded {MOST_STEPS} steps in one round and goes on: it never ends", place
                )
            yield step

    def failed(self, error: BaseException, steps: Steps) -> ModelError:
        """`error` of the strategy's own code, with the innermost line of the strategy's file that it came through."""
        mine = [f for f in traceback.extract_tb(error.__traceback__) if not is_internal(f.filename)]
        where = Location(mine[-1].filename, mine[-1].lineno or 1) if mine else self.written_at(steps)
        return ModelError(f"{self.plan.strategy.name} raised {described(error)}", where)

    def written_at(self, steps: Steps) -> Location:
        """Where a generator of steps is written."""
        code = getattr(steps, "__code__", None)
        return Location(code.co_filename, code.co_firstlineno) if code else self.plan.strategy.where

    def leave_out(self, step: Step) -> None:
        """Remember what a left-out step would have done, so that its partner does nothing either."""
        self.dropped.add(type(step))
        if isinstance(step, Allocate):
            self.dropped_code.add(step.stub)

    def admit(self, step: Step) -> bool:
        """Whether `step` has something to do. Raises ModelError where it makes no sense after what came before."""

        def need(condition: bool, partner: type[Step], message: str) -> bool:
            if condition:
                return True
            if partner in self.dropped:
                return False
            raise ModelError(message, step.where)

        match step:
            case Write():
                self.check_write(step)
            case Claim():
                self.check_claim(step)
                self.claimed, self.counted = True, step.counted
            case Release():
                if not need(self.claimed, Claim, "this releases what was never claimed"):
                    return False
                self.claimed = False
            case Discard():
                return need(self.counted, Claim, "this discards the table of a claim that was never counted")
            case StopMachine():
                self.stopped = True
            case ResumeMachine():
                if not need(self.stopped, StopMachine, "this resumes CPUs that were never stopped"):
                    return False
                self.stopped = False
            case ReadLock():
                self.locked = True
            case ReadUnlock():
                if not need(self.locked, ReadLock, "this leaves a read-side section that was never entered"):
                    return False
                self.locked = False
            case Allocate():
                self.check_stub(step.stub, step)
                self.live.add(step.stub)
            case Free(code=Stub() as stub):
                if stub in self.dropped_code:
                    return False
                if stub not in self.live:
                    raise ModelError("this frees a stub that was never allocated", step.where)
                self.live.discard(stub)
            case Free(code=Function() as function):
                known = {v.calls for v in self.plan.versions}
                if function not in known or function in self.freed:
                    raise ModelError(
                        f"this frees “{function.name}”, which was never allocated or is free already", step.where
                    )
                self.freed.add(function)
        return True

    def check_write(self, step: Write) -> None:
        place = step.place
        if not 0 <= place.start < place.stop <= place.site.length or not 0 <= place.site.index < self.scenario.sites:
            raise ModelError(
                f"this writes bytes {place.start} to {place.stop - 1} of a site of {place.site.length} bytes: "
                "outside the site",
                step.where,
            )
        if isinstance(step.content, bytes) and len(step.content) != place.stop - place.start:
            raise ModelError(
                f"this writes {len(step.content)} of the {place.stop - place.start} bytes that it names: not the whole range",
                step.where,
            )

    def check_claim(self, step: Claim) -> None:
        """A handler that redirects needs the stubs; one that was left out is a bug to be found, not a mistake."""
        if step.policy.kind is not PolicyKind.REDIRECT:
            return
        there = {stub.site for stub in self.live | self.dropped_code}
        missing = [site.index for site in step.sites if site.index not in there]
        if missing:
            raise ModelError(f"this redirects to stubs, but none is allocated for site {missing[0]}", step.where)

    def check_stub(self, stub: Stub, step: Step) -> None:
        if not 0 <= stub.site < self.scenario.sites:
            raise ModelError(f"this allocates a stub for site {stub.site}, which does not exist", step.where)

    def search(self, claim: Claim) -> frozenset[int]:
        """The sites that a binary search for their address finds in the claim's table, as it is ordered."""
        if claim.room is not None and len(claim.sites) > claim.room:
            return frozenset()
        offset = self.plan.strategy.offset
        table = [site_address(site.index, offset) for site in claim.sites]
        found = set()
        for index in range(self.scenario.sites):
            key, low, high = site_address(index, offset), 0, len(table)
            while low < high:
                middle = (low + high) // 2
                if table[middle] == key:
                    found.add(index)
                    break
                low, high = (middle + 1, high) if table[middle] < key else (low, middle)
        return frozenset(found)

    def collect_functions(self, pending: Sequence[Sequence[Planned]]) -> None:
        """All functions and the values of all words, in order of first use."""
        made, strategy = self.plan, self.plan.strategy
        functions = [f for v in made.versions if (f := v.calls)]
        for p in (p for steps in pending for p in steps):
            match p.step:
                case Claim(policy=policy) if policy.target:
                    functions.append(policy.target)
                case Store():
                    functions.extend(p.step.functions)
                    values = made.words.setdefault(p.step.word, [p.step.word.initial])
                    if p.step.value not in values:
                        values.append(p.step.value)
                case Write(content=Call(function=function) | Probe(function=function)):
                    functions.append(function)
        if len(made.probes) > 1:
            raise ModelError(f"{strategy.name} has more than one probe: whose trap is it?", strategy.where)
        functions += [v.over.calls for v in made.probes if v.over.calls]
        for function in functions:
            if made.functions.setdefault(function.name, function) != function:
                raise ModelError(
                    f"{strategy.name} has two different functions called “{function.name}”", strategy.where
                )
            if function.reads is not None:
                made.words.setdefault(function.reads, [function.reads.initial])
        try:
            for function in made.functions.values():
                self.book.address(function)
        except ModelError as error:
            raise ModelError(f"{strategy.name}: {error.message}", strategy.where) from error

    def lay_out(self, steps: Sequence[Planned]) -> None:
        """Follow the text through all stores, then cut it into granules."""
        made, scenario, offset = self.plan, self.scenario, self.plan.strategy.offset
        made.steps = list(steps)
        length, texts = 5, []
        for index in range(scenario.sites):
            address = site_address(index, offset)
            start = made.versions[1] if made.strategy.starts_with_new else made.versions[0]
            snapshots = [frozenset({encode(start, address, length, self.book)})]
            ranges = []
            for number, p in enumerate(made.steps):
                if isinstance(p.step, Write) and p.step.place.site.index == index:
                    place, content = p.step.place, p.step.content
                    data = content
                    if not isinstance(content, bytes):
                        data = encode(content, address, length, self.book)[place.start : place.stop]
                    assert isinstance(data, bytes)
                    ranges.append((place.start, place.stop))
                    landed = store(snapshots[-1], place.start, data, address, scenario.machine)
                    made.steps[number] = replace(p, writes=tuple(landed))
                    snapshots.extend(landed)
            ends = cuts(length, address, ranges, scenario.machine)
            legal = list(dict.fromkeys(made.versions))
            texts.append(SiteText(index, length, offset, self.book, legal, snapshots, ends))
        made.sites = tuple(texts)
