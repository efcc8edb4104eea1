"""A strategy in a scenario, written in words: short to read when it fails, and short to keep as a regression.

A step is one line of words, as in `write 0:1 trap`, `claim new counted` or `free old`; `WORDS` says which there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from models.library import shipped
from models.machines.fetch import machine
from models.protocol import (
    TRAP,
    Allocate,
    Call,
    Claim,
    Discard,
    Free,
    Function,
    Instruction,
    Nop,
    Policy,
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
    Sync,
    WaitForHandlers,
    WaitForReaders,
    WaitForTasks,
    Word,
    Write,
    emulate,
    emulate_new,
    emulate_old,
    old_callees,
    redirect,
    retry,
    skip,
)
from models.scenario import Scenario

HOOKS, OTHER = Word("hooks"), Word("other", ("A",))
FUNCTIONS = {
    f.name: f
    for f in (
        *map(Function, ("A", "B", "C", "third", "probed")),
        Function("caller", reads=HOOKS),
        Function("second-caller", reads=OTHER),
        Function("section", preemptible=False),
        Function("sleeper", sleeps=True),
        Function("closed-caller", reads=HOOKS, preemptible=False),
    )
}
WORD_OF = {word.name: word for word in (HOOKS, OTHER)}
THIRD = FUNCTIONS["third"]
POLICIES: dict[str, Policy] = {
    "new": emulate_new,
    "old": emulate_old,
    "skip": skip,
    "third": emulate(THIRD),
    "retry": retry,
    "redirect": redirect,
    "caller": emulate(FUNCTIONS["caller"]),
    "new-unpushed": replace(emulate_new, pushes=False),
    "third-unpushed": replace(emulate(THIRD), pushes=False),
}
PLAIN: dict[str, type[Step]] = {
    "sync": Sync,
    "release": Release,
    "discard": Discard,
    "wait-handlers": WaitForHandlers,
    "wait-readers": WaitForReaders,
    "wait-tasks": WaitForTasks,
    "lock": ReadLock,
    "unlock": ReadUnlock,
    "stop": StopMachine,
    "resume": ResumeMachine,
}


@dataclass(frozen=True)
class Own:
    """One round of a sequence of its own: the text after it, whom it then calls, its steps."""

    text: str
    means: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Edit:
    """A change to a list of steps; places count modulo its length. `what`: for `insert` the step, for `policy` its name."""

    kind: str  # drop, double, swap, move, insert, policy
    at: int
    to: int = 0
    what: str = ""


@dataclass(frozen=True, repr=False)
class Drawn:
    """A strategy and a scenario.

    `words` are the steps of every round, `own` a sequence of rounds instead, `shipped` the name of a strategy whose steps
    are taken; `edits` change the steps of every round. The other fields are the strategy's and the scenario's.
    """

    words: tuple[str, ...] = ()
    own: tuple[Own, ...] = ()
    shipped: str = ""
    edits: tuple[Edit, ...] = ()
    before: str = "nop"
    means: tuple[str, ...] = ()
    starts_with_new: bool = False
    safe: tuple[str, ...] = ()
    rereads: bool = False
    offset: int = 0
    machine: str = "x86-linux"
    transition: str | None = None
    rounds: int | None = None
    cpus: int = 1
    sites: int = 1
    without: tuple[str, ...] = ()
    preempt: bool = False
    nmi: bool = False

    def __repr__(self) -> str:
        """What differs from the default, as it would be written."""
        said = [f"{f.name}={value!r}" for f in fields(self) if (value := getattr(self, f.name)) != f.default]
        return f"Drawn({', '.join(said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis prints it."""
        printer.text(repr(self))

    def strategy(self) -> Strategy:
        """The strategy. Raises ModelError."""
        if self.shipped:
            return self.edited(_shipped()[self.shipped])
        common = {
            "starts_with_new": self.starts_with_new,
            "safe": [FUNCTIONS[name] for name in self.safe],
            "rereads": self.rereads,
            "offset": self.offset,
        }
        head = ("drawn", "drawn at random", "tests/fuzz")
        if not self.own:
            return Strategy(*head, steps=self.changed(steps_of(self.words)), **common)  # type: ignore[arg-type]
        rounds = [
            Round(instruction(r.text), [FUNCTIONS[m] for m in r.means], self.changed(steps_of(r.words)))
            for r in self.own
        ]
        start = [FUNCTIONS[name] for name in self.means]
        return Strategy(*head, rounds=rounds, before=instruction(self.before), before_means=start, **common)  # type: ignore[arg-type]

    def edited(self, base: Strategy) -> Strategy:
        """A shipped strategy with its steps changed."""
        steps = self.changed(base.steps) if base.steps else None
        rounds = [replace(r, steps=self.changed(r.steps)) for r in base.rounds]
        return replace(base, steps=steps, rounds=rounds, expects=(), rereads=self.rereads, offset=self.offset)

    def changed(self, steps: Steps) -> Steps:
        """`steps` with the edits."""

        def changed(sites: Sequence[Site]) -> Iterator[Step]:
            made = list(steps(sites))
            for edit in self.edits:
                apply(edit, made, sites)
            yield from made

        return changed

    def scenario(self) -> Scenario:
        """The scenario. Raises ScenarioError."""
        return Scenario(
            machine(self.machine),
            self.transition,
            self.rounds,
            self.cpus,
            self.sites,
            frozenset(self.without),
            self.preempt,
            self.nmi,
        )


@cache
def _shipped() -> dict[str, Strategy]:
    return shipped()


def apply(edit: Edit, steps: list[Step], sites: Sequence[Site]) -> None:
    """Change a list of steps in place."""
    if edit.kind == "insert":
        place = edit.at % (len(steps) + 1)
        steps[place:place] = made(edit.what, sites)
    if not steps:
        return
    at, to = edit.at % len(steps), edit.to % len(steps)
    match edit.kind:
        case "drop":
            del steps[at]
        case "double":
            steps.insert(to, steps[at])
        case "swap":
            steps[at], steps[to] = steps[to], steps[at]
        case "move":
            steps.insert(to, steps.pop(at))
        case "policy":
            claims = [(i, s) for i, s in enumerate(steps) if isinstance(s, Claim)]
            if claims:
                i, claim = claims[edit.at % len(claims)]
                steps[i] = replace(claim, policy=POLICIES[edit.what])
        case "counted":
            claims = [(i, s) for i, s in enumerate(steps) if isinstance(s, Claim)]
            if claims:
                i, claim = claims[edit.at % len(claims)]
                steps[i] = replace(claim, counted=not claim.counted)


# ---- words ----------------------------------------------------------------------------------------------------------


def instruction(text: str) -> Instruction:
    """`nop`, the name of a function that is called, or `probe over …`."""
    if text.startswith("probe over "):
        over = instruction(text.removeprefix("probe over "))
        assert not isinstance(over, Probe)
        return Probe(FUNCTIONS["probed"], over)
    return Nop() if text == "nop" else Call(FUNCTIONS[text])


def steps_of(words: Sequence[str]) -> Steps:
    """The steps that the words say."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        for word in words:
            yield from made(word, sites)

    return steps


def chosen(which: str, sites: Sequence[Site]) -> list[Site]:
    """Sites by number, or all of them in order or backwards. A number that is too large is the last."""
    if which == "backwards":
        return list(sites[::-1])
    return [sites[min(int(which), len(sites) - 1)]] if which.isdecimal() else list(sites)


def made(word: str, sites: Sequence[Site]) -> Iterator[Step]:
    """The steps that one line of words says."""
    kind, *rest = word.split(" ", 1)
    args = (rest[0] if rest else "").split()
    if kind in PLAIN:
        yield PLAIN[kind]()
        return
    match kind:
        case "write":
            yield from writes(args, sites)
        case "store":
            names = args[1].split(",") if len(args) > 1 else []
            yield Store(WORD_OF[args[0]], [FUNCTIONS[name] for name in names])
        case "claim":
            which = [arg for arg in args[1:] if arg != "counted"]
            yield Claim(POLICIES[args[0]], chosen(which[0] if which else "all", sites), "counted" in args)
        case "allocate" | "free-stub":
            off = "off" in args
            for site in chosen(args[-1] if args and args[-1] != "off" else "all", sites):
                yield Allocate(site.stub(off)) if kind == "allocate" else Free(site.stub(off))
        case "free":
            yield from map(Free, freed(rest[0], sites))
        case _:
            raise ValueError(f"no step is called “{word}”")


def writes(args: Sequence[str], sites: Sequence[Site]) -> Iterator[Step]:
    """`write START:STOP WHAT [SITES]`; WHAT is old, new, trap, a function, or bytes in hex."""
    start, stop = map(int, args[0].split(":"))
    for site in chosen(args[2] if len(args) > 2 else "all", sites):
        content: Instruction | bytes
        match args[1]:
            case "old":
                content = site.old
            case "new":
                content = site.new
            case "trap":
                content = TRAP
            case "nop":
                content = Nop()
            case name if name in FUNCTIONS:
                content = Call(FUNCTIONS[name])
            case digits:
                content = bytes.fromhex(digits)
        yield Write(site.bytes(start, stop), content)


def freed(which: str, sites: Sequence[Site]) -> list[Function]:
    """What `free old`, `free new` or `free NAME` frees."""
    if which == "old":
        return old_callees(sites)
    if which == "new":
        return list(dict.fromkeys(f for site in sites if (f := site.new.calls)))
    return [FUNCTIONS[which]]
