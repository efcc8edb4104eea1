"""Traces: a path through the state space, replayed step by step on the reference evaluator and put into words.

No trace is shown that the evaluator did not follow; `ReplayError` says where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from checker.search.result import Path, Taken
from models.machines.isa import TRAPS
from models.machines.views import Value
from models.model import Model, Place, Shown
from models.system.errors import Location
from models.system.evaluate import Evaluator, State
from models.system.evaluate import Step as Evaluated
from models.system.expressions import Read, Variable
from models.system.system import Action, Invariant, Mark
from models.text import OutcomeKind


class ReplayError(Exception):
    """A trace cannot be followed: `step` (from 1) is the first that differs."""

    def __init__(self, step: int, message: str) -> None:
        super().__init__(f"step {step}: {message}")
        self.step, self.message = step, message


@dataclass(frozen=True)
class SiteBytes:
    """The bytes of a site or region in one state: memory, what it is, what each CPU may fetch ("" where that is memory)."""

    site: int
    name: str
    memory: str
    decoded: str
    seen: tuple[str, ...]


@dataclass(frozen=True)
class TraceStep:
    """One step in words. `instance` is the acting CPU; None for a thread of which there is one, which `who` names.

    `changes` maps variables to before, after.
    """

    action: str
    instance: int | None
    choice: int
    says: str
    changes: dict[str, tuple[str, str]]
    bytes: tuple[SiteBytes, ...]
    where: Location
    who: str = "patcher"

    @property
    def actor(self) -> str:
        return self.who if self.instance is None else f"cpu {self.instance}"


@dataclass(frozen=True)
class Trace:
    """A whole trace. `why` says what is wrong at its end; the last `cycle` steps repeat for ever; `conjunct` is false.

    Of a trace that breaks nothing, `why` says what it shows, and `conjunct` is "".

    `singles`: the actors of which there is one; `cpus`: how many others there are. `initial`: every variable at the
    start, by the names that changes have.
    """

    property: str
    kind: str
    steps: tuple[TraceStep, ...]
    why: str
    conjunct: str
    start: tuple[SiteBytes, ...]
    cycle: int = 0
    rests: bool = False
    verb: str = "may fetch"  # how what a CPU sees reads in a sentence
    singles: tuple[str, ...] = ("patcher",)
    cpus: int = 0
    initial: Mapping[str, str] = field(default_factory=dict)


class Narrator:
    """Replays paths of one model and tells them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.system = model.system
        self.evaluator = Evaluator(model.system)

    def tell(self, path: Path, reason: Mark | Invariant | str, property_: str = "", kind: str = "") -> Trace:
        """The trace of `path`, at whose end `reason` shows; for a reason in words, which property it breaks and how.

        Raises ReplayError when the evaluator disagrees.
        """
        states = self.follow(path.steps)
        steps = tuple(
            self.step(before, taken, after)
            for before, taken, after in zip(states, path.steps, states[1:], strict=False)
        )
        conjunct = ""
        if isinstance(reason, Mark):
            last = path.steps[-1]
            taken = Evaluated(self.system.actions[last[0]], last[1], last[2], states[-1])
            if reason not in self.evaluator.marks(taken, states[-2]):
                raise ReplayError(len(steps), f"the evaluator does not find that {reason.property} is broken here")
            property_, kind, why = reason.property, reason.kind, f"{actor_name(last[1])}: {reason.says}"
            if reason.premise:
                why = f"here {actor_name(last[1])} puts {reason.property} to the test"
            else:
                conjunct = self.model.allowed(reason.property, lambda name: self.evaluator.read(states[-2], name))
        elif isinstance(reason, Invariant):
            if reason not in self.evaluator.broken(states[-1]):
                raise ReplayError(len(steps), f"the evaluator does not find that {reason.property} is broken here")
            property_, kind, why = reason.property, reason.kind, reason.says
            culprit = self.culprit(reason, states[-1])
            why = f"{actor_name(culprit)}: {why}" if culprit is not None else why
            detail = self.torn_detail(states, path.steps)
            why = f"{why} ({detail})" if detail else why
            conjunct = self.place_of(culprit, states[-1]) if culprit is not None else ""
        else:
            why = reason
            if path.cycle and states[-1] != states[-1 - path.cycle]:
                raise ReplayError(len(steps), "the evaluator does not come back to where the cycle began")
            if path.rests and any(s.action.fairness.is_fair for s in self.evaluator.transitions(states[-1])):
                raise ReplayError(len(steps), "the evaluator finds that something has to happen there")
            if self.evaluator.halted(states[-1]):
                raise ReplayError(len(steps), "the evaluator finds an error state where the patcher is said to wait")
            conjunct = self.waiting(states[-1])
        verb = self.model.view.verb if self.model.view else ""
        start = self.bytes(states[0])
        singles = tuple(dict.fromkeys(action.who for action in self.system.actions if action.actor is None))
        cpus = len(self.system.instances)
        initial = {name: variable.type.show(value) for name, variable, value in self.values(states[0])}
        return Trace(property_, kind, steps, why, conjunct, start, path.cycle, path.rests, verb, singles, cpus, initial)

    def follow(self, taken: Sequence[Taken]) -> list[State]:
        """The states along a path, by the reference evaluator; raises ReplayError where a step is not enabled."""
        state = self.evaluator.initial()
        states = [state]
        for number, (k, instance, choice) in enumerate(taken, 1):
            action = self.system.actions[k]
            if self.evaluator.halted(state):
                raise ReplayError(number, "the state before it is an error state: nothing happens any more")
            if not self.evaluator.value(action.guard, state, instance, choice):
                raise ReplayError(number, f"“{action.name}” by {actor_name(instance)} cannot happen there")
            state = self.evaluator.apply(action, state, instance, choice)
            states.append(state)
        return states

    # ---- words ------------------------------------------------------------------------------------------------------

    def step(self, before: State, taken: Taken, after: State) -> TraceStep:
        k, instance, choice = taken
        action = self.system.actions[k]
        label = action.choice.labels[choice] if action.choice else ""
        says = action.says.replace("{cpu}", actor_name(instance, action.who)).replace("{choice}", label)
        detail = self.fetched(action, before, instance)
        return TraceStep(
            action.name,
            instance,
            choice,
            says[0].upper() + says[1:] + (f": {detail}" if detail else ""),
            self.changes(before, after),
            self.bytes(after),
            action.where,
            action.who,
        )

    def fetched(self, action: Action, before: State, instance: int | None) -> str:
        """For an execution: the bytes that the CPU fetched, and what they decode to."""
        known = self.model.fetches.get(action.name)
        if instance is None or known is None or self.model.view is None:
            return ""
        place, outcome = known
        code = self.model.view.fetched(place, outcome, self.reader(before, instance))
        shown = code[: len(TRAPS[self.model.scenario.machine.isa])] if outcome.kind is OutcomeKind.TRAP else code
        return f"{shown.hex(' ')} = {place.explain(code)}"

    def reader(self, state: State, instance: int) -> Value:
        def value(variable: Read) -> int:
            return self.evaluator.value(variable, state, actor=instance)

        return value

    def changes(self, before: State, after: State) -> dict[str, tuple[str, str]]:
        return {
            name: (variable.type.show(old), variable.type.show(new))
            for (name, variable, old), (_, _, new) in zip(self.values(before), self.values(after), strict=True)
            if old != new
        }

    def values(self, state: State) -> Iterator[tuple[str, Variable, int]]:
        """Every variable, those of CPUs once for each: its name in changes, itself, and its value."""
        for variable in self.system.variables:
            if variable.component is None:
                yield variable.name, variable, self.evaluator.read(state, variable.name)
                continue
            for i in range(len(self.system.instances)):
                yield f"cpu {i}.{variable.name}", variable, self.evaluator.read(state, variable.name, i)

    def bytes(self, state: State) -> tuple[SiteBytes, ...]:
        """The bytes of every site, as memory has them and as each CPU may fetch them."""
        found = []
        for site in self.model.shown:
            parts = []
            plain: bytes | None = b""
            for granule in site.granules:
                content = self.evaluator.read(state, f"memory_{site.index}_{granule.start}")
                parts.append(self.memory_label(site, granule.start, content))
                held = granule.contents[content]
                plain = plain + next(iter(held)) if plain is not None and len(held) == 1 else None
            memory = " ".join(parts)
            seen = []
            for i in range(len(self.system.instances)):
                view = self.model.seen(site, self.reader(state, i))
                seen.append("" if view == memory else view)
            decoded = "being written" if plain is None else site.explain(plain)
            found.append(SiteBytes(site.index, site.name, memory, decoded, tuple(seen)))
        return tuple(found)

    def may_run(self, state: State, instance: int) -> Iterator[tuple[Place, list[str]]]:
        """What a CPU that fetches now may run, in words, at each place where that is not simply what memory holds."""
        view = self.model.view
        if view is None:
            return
        value = self.reader(state, instance)
        for place in dict.fromkeys(place for place, _ in self.model.fetches.values()):
            if view.seen(place, value):
                mixtures = (m for m in view.mixtures[place] if view.available(place, m.needs, value))
                yield place, list(dict.fromkeys(place.explain(m.bytes) for m in mixtures))

    def memory_label(self, site: Shown, start: int, content: int) -> str:
        name = f"memory_{site.index}_{start}"
        variable = next(v for v in self.system.variables if v.name == name)
        return variable.type.show(content)

    def show(self, name: str, state: State) -> str:
        variable = next(v for v in self.system.variables if v.name == name)
        return variable.type.show(self.evaluator.read(state, name))

    def waiting(self, state: State) -> str:
        """What each thread of which there is one would do next."""
        whose = dict.fromkeys(action.who for action in self.system.actions if action.actor is None)
        names = [name for name in whose if any(v.name == name for v in self.system.variables)]
        return "; ".join(f"the {name}'s next step is “{self.show(name, state)}”" for name in names)

    def culprit(self, invariant: Invariant, state: State) -> int | None:
        """The instance whose share of the invariant is false."""
        body = invariant.holds
        if not body.args:
            return None
        for i in range(len(self.system.instances)):
            if not self.evaluator.value(body.args[0], state, actor=i, bound=i):
                return i
        return None

    def place_of(self, instance: int, state: State) -> str:
        places = []
        for variable in self.system.variables:
            if variable.name in ("place", "saved", "under"):
                value = variable.type.show(self.evaluator.read(state, variable.name, instance))
                if value != "nowhere":
                    places.append(f"{variable.name} = {value}")
        return f"cpu {instance}: {', '.join(places)}"

    def torn_detail(self, states: Sequence[State], taken: Sequence[Taken]) -> str:
        if not taken:
            return ""
        k, instance, _ = taken[-1]
        action = self.system.actions[k]
        return self.fetched(action, states[-2], instance) if action.name.startswith("torn") else ""


def actor_name(instance: int | None, who: str = "patcher") -> str:
    return f"the {who}" if instance is None else f"CPU {instance}"


def path_of(model: Model, trace: Trace) -> list[Taken]:
    """A trace as the search has it: numbers of actions, instances, choices."""
    numbers = {action.name: k for k, action in enumerate(model.system.actions)}
    return [(numbers[step.action], step.instance, step.choice) for step in trace.steps]
