"""Machine × strategy × scenario → transition system: the patcher's half, and how both halves are put together.

Left out, all on the side that may miss a bug: stores to data words and claims reach every CPU at once (no store
buffer for data); fresh code of a stub is fetched as written; the patcher runs on none of the modelled CPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import overload

from models.machines.cpu import ALLOCATED, NOT_ALLOCATED, Cpu, Shared, stub_content
from models.machines.places import NOWHERE
from models.machines.views import Text, View
from models.machines.x86 import TRAP_BYTE
from models.model import Model, Reader, Subject, plural
from models.plan import Plan, Planned, plan
from models.properties import BACK, BALANCED, CLAIMED, COMPLETES, FREED, who
from models.protocol import (
    Allocate,
    Claim,
    Discard,
    Free,
    Function,
    Meaning,
    ReadLock,
    ReadUnlock,
    Release,
    ResumeMachine,
    StopMachine,
    Store,
    Strategy,
    Stub,
    Sync,
    WaitForHandlers,
    WaitForReaders,
    WaitForTasks,
    Write,
)
from models.scenario import Scenario
from models.system.errors import Location, ScenarioError
from models.system.expressions import BOOL, TRUE, Bits, Enum, Expr, Operand, Read, both, every, if_else
from models.system.system import Builder, Fairness, Progress, TransitionSystem
from models.system.visitor import each
from models.text import Memory, Outcome, SiteText

Assignments = list[tuple[Expr, Operand]]


@dataclass(frozen=True)
class StrategyModel(Model):
    """A strategy's model: the plan it came from, the system that engines read, and the CPU's half for display."""

    plan: Plan
    system: TransitionSystem
    cpu: Cpu

    @property
    def subject(self) -> Strategy:
        return self.plan.strategy

    @property
    def scenario(self) -> Scenario:  # type: ignore[override]
        return self.plan.scenario

    @property
    def shown(self) -> tuple[SiteText, ...]:
        return self.plan.sites

    @property
    def view(self) -> View:
        return self.cpu.view

    @property
    def fetches(self) -> Mapping[str, tuple[SiteText, Outcome]]:
        return self.cpu.fetches

    @property
    def size(self) -> str:
        cpus, sites = self.scenario.cpus, self.scenario.sites
        return f"{plural(cpus, 'CPU')}, {plural(sites, 'site')}"

    @property
    def circumstances(self) -> list[str]:
        return [
            self.plan.transition,
            plural(self.plan.rounds, "round"),
            self.size,
            "preemption" if self.plan.preempts else "no preemption",
            "NMIs" if self.scenario.nmi else "no NMI",
        ]

    @property
    def labels(self) -> Mapping[str, Location]:
        first = {p.label: p.step.where for p in reversed(self.plan.steps)}
        return {label: first[label] for label in self.plan.labels}

    def facts(self) -> dict[str, object]:
        scenario = self.scenario
        return {
            "transition": self.plan.transition,
            "rounds": self.plan.rounds,
            "cpus": scenario.cpus,
            "sites": scenario.sites,
            "without": sorted(scenario.without),
            "preempt": scenario.preempt,
            "preempts": self.plan.preempts,
            "nmi": scenario.nmi,
        }

    def trivial(self, name: str) -> str:
        plan = self.plan
        if name == CLAIMED and not plan.traps:
            return "no trap byte is written"
        if name == FREED and not plan.freed and not plan.stubs:
            return "nothing is freed"
        if name == BALANCED and not plan.calls:
            return "nothing is called"
        return ""

    def allowed(self, name: str, read: Reader) -> str:
        if name == BACK:
            return "false: what is called is not older than what this CPU has run here before"
        begun, returned = read("begun"), read("returned")
        meanings = self.plan.meanings[returned : begun + 1]
        rounds = f"S[{returned}..{begun}]" if begun > returned else f"S[{begun}]"
        return f"false: what is called is one of {rounds} = {', '.join(map(who, meanings))}"


@dataclass
class _Move:
    """One action of the patcher."""

    name: str
    says: str
    where: Location
    guard: Expr
    effects: Assignments
    broadcast: Assignments


def word_label(value: Meaning) -> str:
    """The label of a word's value."""
    return "{" + ", ".join(value) + "}"


class _Patcher:
    """Turns planned steps into moves; the position in the list of moves is the patcher's program counter."""

    def __init__(self, plan: Plan, cpu: Cpu, shared: Shared) -> None:
        self.plan, self.cpu, self.shared = plan, cpu, shared
        self.moves: list[_Move] = []

    def all_moves(self) -> list[_Move]:
        done = 0
        for number, end in enumerate(self.plan.returns, 1):
            for p in self.plan.steps[done:end]:
                self.step(p)
            done = end
            self.returns(number)
        return self.moves

    def returns(self, number: int) -> None:
        latest = [(v, if_else(each(v) < number, number, each(v))) for v in self.cpu.latest]
        steps = [p for p in self.plan.steps if p.round == number]
        where = steps[-1].step.where if steps else self.plan.strategy.where
        means = who(self.plan.meanings[number])
        says = (
            f"the update returns: from now on {means} is to be called"
            if means != "nobody"
            else ("the update returns: from now on nobody is to be called")
        )
        begun = [] if any(p.begins for p in steps) else [(self.shared.begun, number)]
        self.moves.append(
            _Move(f"return {number}", says, where, TRUE, [(self.shared.returned, number), *begun], list(latest))
        )

    def add(
        self, p: Planned, says: str, effects: Assignments, broadcast: Assignments, guard: Expr = TRUE, part: str = ""
    ) -> None:
        site = ""
        match p.step:
            case Write(place=place):
                site = f" site {place.site.index}"
            case Allocate(stub=stub) | Free(code=Stub() as stub):
                site = f" site {stub.site}"
        begun: Assignments = [(self.shared.begun, p.round)] if p.begins and part != "done" else []
        name = f"{p.label}{site}{' ' + part if part else ''}"
        name = f"{name} (round {p.round})" if self.plan.rounds > 1 else name
        taken = sum(m.name == name or m.name.startswith(f"{name} #") for m in self.moves)
        if taken:
            name = f"{name} #{taken + 1}"
        self.moves.append(_Move(name, says, p.step.where, guard, begun + effects, broadcast))

    def step(self, p: Planned) -> None:
        step, cpu, shared = p.step, self.cpu, self.shared
        match step:
            case Write():
                self.write(p, step)
            case Store(word=word):
                label = word_label(step.value)
                self.add(p, f"the patcher sets “{word.name}” to {label}", [(shared.words[word], label)], [])
            case Sync():
                self.ask(p, cpu.ipi, "asks every CPU to serialise", "every CPU has serialised")
            case WaitForReaders():
                free = ~shared.reading if shared.reading is not None else TRUE
                self.ask(p, cpu.grace, "starts an RCU grace period", "the RCU grace period is over", free)
            case WaitForTasks():
                self.ask_tasks(p)
            case WaitForHandlers():
                self.add(p, "no CPU is inside the handler's read side", [], [], cpu.no_handlers())
            case Claim():
                self.claim(p, step)
            case Release():
                if self.plan.counted:
                    assert cpu.count is not None
                    drop = if_else(each(cpu.count) > 0, each(cpu.count) - 1, each(cpu.count))
                    self.add(p, "the patcher drops its count on every CPU", [], [(cpu.count, drop)])
                else:
                    self.add(p, "the patcher withdraws its claim", [(shared.claim, "none")], [])
            case Discard():
                self.add(p, "the patcher empties the handler's table", [(shared.claim, "none")], [])
            case StopMachine():
                assert cpu.halt is not None
                self.add(p, "the patcher asks every CPU to stop", [], [(cpu.halt, "asked")], part="request")
                stopped = every(cpu.component, each(cpu.halt) == "parked")
                self.add(p, "every CPU is parked with interrupts off", [], [], stopped, part="wait")
            case ResumeMachine():
                assert cpu.halt is not None
                self.add(p, "the patcher lets the CPUs go", [], [(cpu.halt, "released")], part="request")
                going = every(cpu.component, each(cpu.halt) == "running")
                self.add(p, "every CPU has left and serialised", [], [], going, part="wait")
            case ReadLock() | ReadUnlock():
                enters = isinstance(step, ReadLock)
                assert shared.reading is not None
                says = f"the patcher {'enters' if enters else 'leaves'} a read-side critical section"
                self.add(p, says, [(shared.reading, int(enters))], [])
            case Allocate(stub=stub):
                code = self.plan.stub_code(stub, p.round).hex(" ")
                says = f"the patcher writes the stub of site {stub.site}: {code}"
                self.add(p, says, [(shared.live[stub], stub_content(p.round))], [])
            case Free(code=code):
                name = code.name if isinstance(code, Function) else f"the stub of site {code.site}"
                self.add(p, f"the patcher frees {name}", [(shared.live[code], NOT_ALLOCATED)], [])
            case _:
                raise TypeError(f"no rule for the step {type(step).__name__}")

    def ask(self, p: Planned, flag: Read | None, request: str, done: str, guard: Expr = TRUE) -> None:
        """A request to every CPU, and the wait until all have answered."""
        assert flag is not None
        self.add(p, f"the patcher {request}", [], [(flag, 1)], part="request")
        self.add(p, done, [], [], every(self.cpu.component, ~each(flag)) & guard, part="wait")

    def ask_tasks(self, p: Planned) -> None:
        """The request covers the running tasks and those that wait, preempted, to be resumed."""
        cpu = self.cpu
        assert cpu.owes is not None
        broadcast: Assignments = [(cpu.owes, 1)]
        passed = ~cpu.owes
        if cpu.saved is not None and cpu.saved_owes is not None:
            broadcast.append((cpu.saved_owes, each(~(cpu.saved == NOWHERE) & ~cpu.sleeping)))
            passed = passed & ~cpu.saved_owes
        self.add(p, "the patcher starts an RCU-tasks grace period", [], broadcast, part="request")
        says = "every task has made a voluntary switch"
        self.add(p, says, [], [], every(cpu.component, each(passed)), part="wait")

    def claim(self, p: Planned, step: Claim) -> None:
        sites = ", ".join(str(site.index) for site in step.sites)
        says = (
            f"the patcher claims traps at site{'s' if len(step.sites) > 1 else ''} {sites}: “{step.policy.kind.value}”"
        )
        broadcast: Assignments = []
        if step.counted:
            assert self.cpu.count is not None
            broadcast = [(self.cpu.count, 1)]
        self.add(p, says, [(self.shared.claim, f"claim {p.claim}")], broadcast)

    def write(self, p: Planned, step: Write) -> None:
        site = self.plan.sites[step.place.site.index]
        machine = self.plan.scenario.machine
        content = step.content
        what = content.hex(" ") if isinstance(content, bytes) else f"“{content}”"
        what = "the trap byte" if content == TRAP_BYTE else what
        over = step.place.name if step.place.name.startswith("bytes") else f"the {step.place.name}"
        flux = len(p.writes) > 1
        before = next(q.writes[-1] for q in reversed(self.before(p, site)))
        for k, memory in enumerate(p.writes):
            last = k == len(p.writes) - 1
            part = "" if not flux else "done" if last else "begins"
            verb = "writes" if not flux else "has written" if last else "begins to write"
            says = f"the patcher {verb} {what} over {over} of site {site.index}"
            changed = self.shared.text.changed(site, memory)
            contents = {self.shared.text.memory[granule]: held for granule, held in changed.items()}
            effects: Assignments = [(variable, variable.type.show(c)) for variable, c in contents.items()]
            broadcast = list(self.cpu.view.stored(changed))
            if machine.havoc and k == 0 and memory != before:
                broadcast.append(self.cpu.undefined_unless(self.is_exempt(p, step, site, before)))
            self.add(p, says, effects, broadcast, part=part)

    def before(self, p: Planned, site: SiteText) -> list[Planned]:
        """What was stored to `site` before `p`, headed by what it held at first."""
        first: Memory = frozenset({b"".join(next(iter(g.contents[0])) for g in site.granules)})
        start = Planned(p.step, "", 0, writes=(first,))
        found = [start]
        for q in self.plan.steps:
            if q is p:
                break
            if isinstance(q.step, Write) and q.step.place.site.index == site.index and q.writes:
                found.append(q)
        return found

    def is_exempt(self, p: Planned, step: Write, site: SiteText, before: Memory) -> Expr:
        """Whether this store is defined for a CPU that may have the instruction in flight."""
        if not self.plan.scenario.machine.trap_rule:
            return ~TRUE
        place = step.place
        (old,), (new,) = before, p.writes[-1]
        if (place.start, place.stop) == (0, 1):
            return TRUE if TRAP_BYTE in (old[:1], new[:1]) else ~TRUE
        return each(self.cpu.view.only_trap(site)) if place.start >= 1 else ~TRUE


def _shared(builder: Builder, made: Plan, text: Text) -> Shared:
    """Declare the global variables other than the text."""
    rounds = Bits(max(1, made.rounds.bit_length()))
    claims = Enum("claim", ("none", *(f"claim {i + 1}" for i in range(len(made.claims)))))
    words = {}
    for word, values in made.words.items():
        labels = Enum(f"word {word.name}", tuple(word_label(v) for v in values))
        says = f"whom the readers of “{word.name}” call"
        words[word] = builder.variable(f"word_{word.name}", labels, word_label(word.initial), says=says)
    live: dict[Stub | Function, Read] = {}
    for function in made.freed:
        code = Enum("code", (NOT_ALLOCATED, ALLOCATED))
        live[function] = builder.variable(f"live_{function.name}", code, ALLOCATED, says="whether it is allocated")
    for stub in made.stubs:
        code = Enum("code", (NOT_ALLOCATED, *(stub_content(k + 1) for k in range(made.rounds))))
        name = f"live_stub_{stub.site}{'_off' if stub.interrupts_off else ''}"
        live[stub] = builder.variable(name, code, NOT_ALLOCATED, says="what the stub holds")
    reads = made.uses(ReadLock) or made.uses(ReadUnlock)
    return Shared(
        text=text,
        begun=builder.variable("begun", rounds, 0, says="rounds begun"),
        returned=builder.variable("returned", rounds, 0, says="rounds returned"),
        claim=builder.variable("claim", claims, "none", says="whose table the handler reads"),
        words=words,
        live=live,
        reading=builder.variable("patcher_reads", BOOL, 0, says="the patcher's read-side section") if reads else None,
    )


def of_strategy(model: Model) -> StrategyModel:
    """`model`, which has to be a strategy's. Raises ScenarioError for a program's."""
    if not isinstance(model, StrategyModel):
        raise ScenarioError(f"{model.subject.name} is a program: this is for strategies")
    return model


@overload
def compose(subject: Strategy, scenario: Scenario) -> StrategyModel: ...
@overload
def compose(subject: Subject, scenario: Scenario) -> Model: ...


def compose(subject: Subject, scenario: Scenario) -> Model:
    """The transition system of a strategy or program in `scenario`. Raises ModelError for whatever is wrong with it."""
    if isinstance(subject, Strategy):
        return _compose(subject, scenario)
    from models.program import Program
    from models.threads import ProgramModel

    if not isinstance(subject, Program):
        raise TypeError(f"{subject!r} is neither a strategy nor a program")
    return ProgramModel.of(subject, scenario)


def _compose(strategy: Strategy, scenario: Scenario) -> StrategyModel:
    """The transition system of `strategy` in `scenario`. Raises ModelError for whatever is wrong with the strategy."""
    made = plan(strategy, scenario)
    builder = Builder(strategy.name, strategy.where)
    component = builder.component("cpu", scenario.cpus)
    text = Text(builder, made.sites)
    shared = _shared(builder, made, text)
    cpu = Cpu(builder, component, made, shared)
    moves = _Patcher(made, cpu, shared).all_moves()
    labels = (*tuple(f"{i} {move.name}" for i, move in enumerate(moves)), "done")
    at = builder.variable("patcher", Enum("patcher", labels), labels[0], says="what the patcher does next")
    for i, move in enumerate(moves):
        builder.action(
            move.name,
            guard=both(at == labels[i], move.guard),
            effects=[(at, labels[i + 1]), *move.effects],
            broadcast=move.broadcast,
            says=move.says,
            where=move.where,
            fairness=Fairness.PATCHER,
        )
    cpu.add_actions()
    builder.progress = Progress(COMPLETES, at == "done", "the patcher never takes its last step")
    return StrategyModel(made, builder.build(), cpu)
