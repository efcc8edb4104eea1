"""Claims: a system is checked as it is built, means what the reference evaluator says, and the fast search agrees."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checker.search.generate import Unsupported, generate
from checker.search.python import Space, explore
from models.compose import compose
from models.system.errors import ModelError
from models.system.evaluate import Evaluator, State
from models.system.expressions import (
    BOOL,
    FALSE,
    TRUE,
    Bits,
    Choice,
    Enum,
    Expr,
    both,
    either,
    every,
    if_else,
    parameter,
    some,
)
from models.system.system import Builder, Invariant, Mark, TransitionSystem
from models.system.visitor import each
from tests.support import STRATEGIES, scenario

COLOUR = Enum("colour", ("red", "green", "blue"))


@dataclass
class Parts:
    """A builder with one of everything."""

    builder: Builder = field(default_factory=lambda: Builder("an example"))

    def __post_init__(self) -> None:
        self.cpu = self.builder.component("cpu", 2)
        self.dog = self.builder.component("dog", 1)
        self.number = self.builder.variable("number", Bits(2), 1)
        self.paint = self.builder.variable("paint", COLOUR, "red")
        self.mine = self.builder.variable("mine", Bits(2), 2, self.cpu)
        self.bone = self.builder.variable("bone", BOOL, 0, self.dog)
        self.elsewhere = Builder("another").variable("number", Bits(2), 0)

    def act(self, **changes: object) -> None:
        self.builder.action("act", says="", **changes)  # type: ignore[arg-type]


# ---- what is refused, and where -------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[Parts], object], str]] = {
    "wrong type": (lambda p: p.act(effects=[(p.number, p.paint)]), "type mismatch"),
    "unknown label": (lambda p: p.act(effects=[(p.paint, "violet")]), "“violet” is no label"),
    "out of range": (lambda p: p.act(effects=[(p.number, 4)]), "4 is not a value"),
    "guard that is a number": (lambda p: p.act(guard=p.number), "type mismatch"),
    "assigned twice": (lambda p: p.act(effects=[(p.number, 1), (p.number, 2)]), "number is assigned twice"),
    "assigned twice, once to all": (
        lambda p: p.act(actor=p.cpu, effects=[(p.mine, 1)], broadcast=[(p.mine, 2)]),
        "mine is assigned twice",
    ),
    "unknown variable in a guard": (lambda p: p.act(guard=p.elsewhere == 1), "unknown variable number"),
    "unknown variable in a value": (lambda p: p.act(effects=[(p.number, p.elsewhere)]), "unknown variable number"),
    "not a variable": (lambda p: p.act(effects=[(p.number + 1, 1)]), "only a variable can be assigned"),
    "a CPU's variable by the patcher": (lambda p: p.act(effects=[(p.mine, 1)]), "cannot assign alone"),
    "a dog's variable by a CPU": (lambda p: p.act(actor=p.cpu, effects=[(p.bone, 1)]), "cannot assign alone"),
    "a global, everywhere": (lambda p: p.act(broadcast=[(p.number, 1)]), "cannot assign everywhere"),
    "whose value": (lambda p: p.act(guard=p.mine == 1), "whose mine is meant"),
    "whose value, by another actor": (lambda p: p.act(actor=p.dog, guard=p.mine == 1), "whose mine is meant"),
    "bound by nothing": (lambda p: p.act(actor=p.cpu, guard=each(p.mine) == 1), "whose mine is meant"),
    "bound by another": (lambda p: p.act(guard=every(p.dog, each(p.mine) == 1)), "whose mine is meant"),
    "whose value in a mark": (
        lambda p: p.act(marks=[Mark("property", "", p.mine == 1, False, "")]),
        "whose mine is meant",
    ),
    "another's choice": (lambda p: p.act(guard=parameter(Choice("c", ("a", "b"))) == 1), "“c” is not its choice"),
    "two variables of one name": (lambda p: p.builder.variable("mine", BOOL, 0), "two variables are called “mine”"),
    "two actions of one name": (lambda p: [p.act() for _ in range(2)], "two actions are called “act”"),
    "an action's name of two lines": (lambda p: p.builder.action("a\nb", says=""), "cannot be a name"),
    "a variable's name of two lines": (lambda p: p.builder.variable("a\nb", BOOL, 0), "cannot be a name"),
    "a component's name that hides": (lambda p: p.builder.component("a\0b", 1), "cannot be a name"),
    "a system's name of two lines": (lambda p: Builder("a\nb"), "cannot be a name"),
    "no instances": (lambda p: p.builder.component("cat", 0), "at least one instance"),
    "bad initial value": (lambda p: p.builder.variable("x", COLOUR, "violet"), "“violet” is no label"),
    "invariant of nobody": (lambda p: p.builder.invariant("i", "", p.mine == 1, ""), "mine needs a quantifier"),
}


@pytest.mark.parametrize(("build", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_names_file_and_line(build: Callable[[Parts], object], says: str) -> None:
    parts = Parts()
    with pytest.raises(ModelError, match=says) as refused:
        build(parts)
    where = refused.value.where
    assert where is not None
    assert where.file == __file__
    assert str(where) in str(refused.value)


def test_the_line_is_that_of_the_action() -> None:
    parts = Parts()
    with pytest.raises(ModelError) as refused:
        line = sys._getframe().f_lineno + 1
        parts.builder.action("twice", effects=[(parts.number, 1), (parts.number, 2)], says="")
    assert refused.value.where is not None
    assert refused.value.where.line == line


# ---- what a step does -----------------------------------------------------------------------------------------------


def after(system: TransitionSystem, state: State | None = None) -> list[tuple[str, int | None, int, State]]:
    evaluator = Evaluator(system)
    return [(s.action.name, s.instance, s.choice, s.state) for s in evaluator.successors(state or evaluator.initial())]


def test_all_values_are_read_before_any_is_written() -> None:
    builder = Builder("swap")
    x, y = builder.variable("x", Bits(2), 1), builder.variable("y", Bits(2), 2)
    builder.action("swap", effects=[(x, y), (y, x)], says="")
    assert after(builder.build()) == [("swap", None, 0, State((2, 1), ()))]


def test_a_broadcast_changes_each_as_it_was_before() -> None:
    """`each(x)` is the receiver's, a global's value is the one before the step, whatever the step assigns."""
    builder = Builder("broadcast")
    cpu = builder.component("cpu", 3)
    total = builder.variable("total", Bits(3), 1)
    mine = builder.variable("mine", Bits(3), 2, cpu)
    builder.action("add", effects=[(total, 5)], broadcast=[(mine, each(mine) + total)], says="")
    system = builder.build()
    state = State((1,), ((0,), (3,), (7,)))
    assert after(system, state) == [("add", None, 0, State((5,), ((1,), (4,), (0,))))]


def test_in_a_broadcast_by_an_instance_its_own_value_is_the_actors() -> None:
    builder = Builder("follow me")
    cpu = builder.component("cpu", 2)
    mine = builder.variable("mine", Bits(3), 0, cpu)
    seen = builder.variable("seen", Bits(3), 0, cpu)
    builder.action("follow", actor=cpu, broadcast=[(seen, mine + each(mine))], says="")
    system = builder.build()
    state = State((), ((1, 0), (4, 0)))
    assert after(system, state) == [
        ("follow", 0, 0, State((), ((1, 2), (4, 5)))),
        ("follow", 1, 0, State((), ((1, 5), (4, 0)))),
    ]
    with pytest.raises(Unsupported, match="broadcasts"):
        generate(system)


def test_an_instance_changes_itself_alone() -> None:
    builder = Builder("alone")
    cpu = builder.component("cpu", 2)
    mine = builder.variable("mine", BOOL, 0, cpu)
    builder.action("set", actor=cpu, guard=~mine, effects=[(mine, 1)], says="")
    assert after(builder.build()) == [
        ("set", 0, 0, State((), ((1,), (0,)))),
        ("set", 1, 0, State((), ((0,), (1,)))),
    ]


def test_every_choice_is_a_step_of_its_own() -> None:
    builder = Builder("choice")
    x = builder.variable("x", Bits(2), 0)
    which = Choice("which", ("a", "b", "c"))
    builder.action("pick", guard=parameter(which) > 0, effects=[(x, parameter(which))], choice=which, says="")
    system = builder.build()
    assert after(system) == [("pick", None, 1, State((1,), ())), ("pick", None, 2, State((2,), ()))]
    (action,) = system.actions
    assert [action.at(action.guard, value) for value in action.values] == [FALSE, TRUE, TRUE]
    with pytest.raises(Unsupported, match="a choice of the patcher"):
        generate(system)


def test_every_and_some_guard_a_step() -> None:
    builder = Builder("quantifiers")
    cpu = builder.component("cpu", 2)
    mine = builder.variable("mine", BOOL, 0, cpu)
    builder.action("all", guard=every(cpu, each(mine)), says="")
    builder.action("any", guard=some(cpu, each(mine)), says="")
    system = builder.build()

    def enabled(*mine: int) -> list[str]:
        return [name for name, *_ in after(system, State((), tuple((m,) for m in mine)))]

    assert enabled(0, 0) == []
    assert enabled(0, 1) == ["any"]
    assert enabled(1, 1) == ["all", "any"]


def test_a_step_that_changes_nothing_is_no_transition_but_is_met() -> None:
    builder = Builder("idle")
    cpu = builder.component("cpu", 1)
    mine = builder.variable("mine", BOOL, 0, cpu)
    builder.action("rest", actor=cpu, effects=[(mine, mine)], says="", marks=[Mark("p", "k", ~mine, False, "")])
    system = builder.build()
    evaluator = Evaluator(system)
    assert list(evaluator.transitions(evaluator.initial())) == []
    (step,) = evaluator.successors(evaluator.initial())
    assert evaluator.marks(step, evaluator.initial()) == list(system.actions[0].marks)
    agree(system)


def test_marks_are_read_before_the_effects() -> None:
    builder = Builder("marks")
    cpu = builder.component("cpu", 1)
    mine = builder.variable("mine", BOOL, 0, cpu)
    before, later = Mark("before", "", ~mine, False, ""), Mark("later", "", mine, False, "")
    builder.action("set", actor=cpu, guard=~mine, effects=[(mine, 1)], marks=[before, later], says="")
    exploration = explore(builder.build()).outcome
    assert list(exploration.marks) == [before]


def test_nothing_happens_in_a_halted_state() -> None:
    builder = Builder("halt")
    cpu = builder.component("cpu", 2)
    mine = builder.variable("mine", Bits(2), 0, cpu)
    builder.action("count", actor=cpu, effects=[(mine, mine + 1)], says="")
    builder.halted = ~every(cpu, each(mine) < 2)
    system = builder.build()
    assert after(system, State((), ((0,), (2,)))) == []
    agree(system)
    assert explore(system).outcome.states == 8  # {0, 1}² and one of the two at 2


# ---- the fast search and the reference ------------------------------------------------------------------------------


@dataclass
class Reference:
    """Breadth-first search on the reference evaluator: everything that an engine answers, in the plainest way."""

    depths: dict[State, int] = field(default_factory=dict)
    transitions: int = 0
    fired: set[int] = field(default_factory=set)
    marks: dict[Mark, int] = field(default_factory=dict)  # to the length of a shortest path that meets it
    broken: dict[Invariant, int] = field(default_factory=dict)


def search(system: TransitionSystem) -> Reference:
    evaluator, found = Evaluator(system), Reference()
    number = {action: k for k, action in enumerate(system.actions)}
    frontier = [evaluator.initial()]
    found.depths[frontier[0]] = 0
    for state in frontier:  # grows as it goes
        depth = found.depths[state]
        for invariant in evaluator.broken(state):
            found.broken.setdefault(invariant, depth)
        for step in evaluator.successors(state):
            found.fired.add(number[step.action])
            for mark in evaluator.marks(step, state):
                found.marks.setdefault(mark, depth + 1)
            if step.state != state:
                found.transitions += 1
            if step.state not in found.depths:
                found.depths[step.state] = depth + 1
                frontier.append(step.state)
    return found


def unpacked(space: Space, state: int) -> State:
    """A state of the fast search as the evaluator has it."""
    g, locals_ = space.unpack(state)
    instances = [space.pairs.local[c][l] for c, l in zip(space.instances, locals_, strict=True)]
    plain = [tuple(int(value) for value in values) for values in instances]
    return State(tuple(int(value) for value in space.pairs.shared[g]), tuple(plain))


def agree(system: TransitionSystem) -> Reference:
    """Both searches find the same."""
    expected = search(system)
    run = explore(system)
    exploration, space, parent = run.outcome, run.space, run.parent
    assert exploration.complete
    assert {unpacked(space, state) for state in parent} == set(expected.depths)
    assert exploration.states == len(expected.depths)
    assert exploration.transitions == expected.transitions
    assert exploration.depth == max(expected.depths.values())
    assert exploration.fired == expected.fired
    assert {mark: len(path.steps) for mark, path in exploration.marks.items()} == expected.marks
    assert {broken: len(path.steps) for broken, path in exploration.broken.items()} == expected.broken
    return expected


SHIPPED: dict[str, tuple[str, dict[str, object]]] = {
    "careful 1x1": ("careful-call-to-call", {"cpus": 1, "sites": 1}),
    "careful 2x1": ("careful-call-to-call", {"cpus": 2, "sites": 1}),
    "careful 1x2": ("careful-call-to-call", {"cpus": 1, "sites": 2}),
    "careful without the claim 2x1": ("careful-call-to-call", {"cpus": 2, "sites": 1, "without": ["claim"]}),
    "careful without the first sync 2x1": ("careful-call-to-call", {"cpus": 2, "sites": 1, "without": ["sync-1"]}),
    "careful, buffered 1x1": ("careful-call-to-call", {"cpus": 1, "sites": 1, "machine": "x86-buffered"}),
    "careful, AMD 1x1": ("careful-call-to-call", {"cpus": 1, "sites": 1, "machine": "x86-amd"}),
    "careful, coherent 2x1": ("careful-call-to-call", {"cpus": 2, "sites": 1, "machine": "x86-coherent"}),
    "careful, strict 2x1": ("careful-call-to-call", {"cpus": 2, "sites": 1, "machine": "x86-strict"}),
    "careful, havoc without trap rule 2x1": (
        "careful-call-to-call",
        {"cpus": 2, "sites": 1, "machine": "x86-intel-manual"},
    ),
    "skip 1x1": ("nop-then-back", {"cpus": 1, "sites": 1}),
    "skip 2x1": ("nop-then-back", {"cpus": 2, "sites": 1}),
    "batch 1x1": ("text-poke-batch", {"cpus": 1, "sites": 1}),
    "batch 2x1": ("text-poke-batch", {"cpus": 2, "sites": 1}),
    "batch, two rounds 1x1": ("text-poke-batch", {"cpus": 1, "sites": 1, "rounds": 2}),
    "batch, trap gate 1x1": ("text-poke-batch", {"cpus": 1, "sites": 1, "machine": "x86-trap-gate"}),
    "batch, unsorted 1x2": ("text-poke-batch-unsorted", {"cpus": 1, "sites": 2}),
    "stop 1x1": ("stop-machine", {"cpus": 1, "sites": 1}),
    "stop 2x1": ("stop-machine", {"cpus": 2, "sites": 1}),
    "stop, NMIs 2x1": ("stop-machine", {"cpus": 2, "sites": 1, "nmi": True}),
    "stop, frees 2x1": ("stop-machine-frees", {"cpus": 2, "sites": 1}),
    "stop, frees early 2x1": ("stop-machine-frees-early", {"cpus": 2, "sites": 1}),
    "stubs 1x1": ("batched-stubs", {"cpus": 1, "sites": 1, "nmi": True}),
    "stubs, early 1x1": ("batched-stubs-early", {"cpus": 1, "sites": 1}),
    "iterator 1x1": ("always-iterator", {"cpus": 1, "sites": 1}),
    "permanent 1x1": ("permanent", {"cpus": 1, "sites": 1}),
    "permanent 2x1": ("permanent", {"cpus": 2, "sites": 1}),
    "a sleeper 1x1": ("sleeper-freed-after-tasks", {"cpus": 1, "sites": 1}),
    "preemption everywhere 1x1": ("careful-call-to-call", {"cpus": 1, "sites": 1, "preempt": True}),
    "its own reader 1x1": ("waits-for-itself", {"cpus": 1, "sites": 1}),
    "rereading, without the third sync 1x1": (
        "counted-rereading",
        {"cpus": 1, "sites": 1, "rounds": 2, "without": ["sync-3"]},
    ),
}


@pytest.mark.parametrize(("strategy", "bounds"), SHIPPED.values(), ids=SHIPPED)
def test_generated_python_agrees_with_the_evaluator(strategy: str, bounds: dict[str, object]) -> None:
    found = agree(compose(STRATEGIES[strategy], scenario(**bounds)).system)
    assert len(found.depths) > 1


# ---- and on systems that nobody wrote -------------------------------------------------------------------------------


@st.composite
def systems(draw: st.DrawFn) -> TransitionSystem:
    """One component of one to three, two or three variables, up to six actions of every shape that engines support."""
    builder = Builder("random")
    cpu = builder.component("cpu", draw(st.integers(1, 3)))
    turn = builder.variable("turn", COLOUR, draw(st.sampled_from(COLOUR.labels)))
    mine = builder.variable("mine", Bits(2), draw(st.integers(0, 3)), cpu)
    lamp = builder.variable("lamp", BOOL, draw(st.integers(0, 1)), cpu)
    lit = draw(st.booleans())
    choice = Choice("number", ("none", "one", "two"))

    def number(bound: bool, chosen: bool, depth: int = 1) -> Expr:
        """Two bits, of the actor or (`bound`) of each instance."""
        own = each(mine) if bound else mine
        plain = [own, own + 1, own - 1, own & 1, own | 2]
        if chosen:
            plain += [parameter(choice), own + parameter(choice)]
        if depth:
            yes = condition(bound, chosen, 0)
            plain.append(if_else(yes, number(bound, chosen, 0), draw(st.integers(0, 3))))
        return draw(st.sampled_from(plain))

    def condition(bound: bool, chosen: bool, depth: int = 2) -> Expr:
        own, light = (each(mine), each(lamp)) if bound else (mine, lamp)
        plain = [own == draw(st.integers(0, 3)), own < 2, turn == draw(st.sampled_from(COLOUR.labels)), TRUE]
        plain += [turn.is_in(("red", "blue")), own.is_in((0, 3))]
        if lit:
            plain += [light, ~light]
        if chosen:
            plain += [parameter(choice) == own, parameter(choice) > 0]
        if depth:
            a, b = condition(bound, chosen, depth - 1), condition(bound, chosen, depth - 1)
            plain += [both(a, b), either(a, b), ~a, a == b]
        return draw(st.sampled_from(plain))

    def colour(own: Expr | None) -> Expr | str:
        label = draw(st.sampled_from(COLOUR.labels))
        return if_else(own == 1, label, turn) if own is not None else label

    for k in range(draw(st.integers(1, 3))):
        chosen = draw(st.booleans())
        effects: list[tuple[Expr, Expr | str]] = [(mine, number(False, chosen))]
        if lit and draw(st.booleans()):
            effects.append((lamp, condition(False, chosen)))
        if draw(st.booleans()):
            effects.append((turn, colour(mine)))
        marks = [Mark(f"mark {k}.{j}", "", condition(False, chosen), j == 0, "") for j in range(2)]
        builder.action(
            f"own {k}",
            actor=cpu,
            guard=condition(False, chosen),
            effects=draw(st.permutations(effects))[: draw(st.integers(0, len(effects)))],
            choice=choice if chosen else None,
            marks=marks,
            says="",
        )
    for k in range(draw(st.integers(0, 3))):
        guards = [turn == draw(st.sampled_from(COLOUR.labels))] if draw(st.booleans()) else []
        guards += [every(cpu, condition(True, False)) for _ in range(draw(st.integers(0, 2)))]
        broadcast: list[tuple[Expr, Expr]] = [(mine, number(True, False))] if draw(st.booleans()) else []
        if lit and draw(st.booleans()):
            broadcast.append((lamp, condition(True, False)))
        effects = [(turn, colour(None))] if draw(st.booleans()) else []
        builder.action(f"all {k}", guard=both(*guards), effects=effects, broadcast=broadcast, says="")
    for k in range(draw(st.integers(0, 2))):
        body = condition(True, False)
        if body is not TRUE and body is not FALSE:
            builder.invariant(f"invariant {k}", "", every(cpu, body), "")
    if draw(st.booleans()):
        builder.halted = ~both(every(cpu, ~condition(True, False)), every(cpu, ~(each(mine) == 3)))
    return builder.build()


@given(systems())
@settings(max_examples=250, deadline=None, derandomize=True, database=None)
def test_generated_python_agrees_on_random_systems(system: TransitionSystem) -> None:
    try:
        generate(system)
    except Unsupported as reason:
        assert str(reason).startswith(("a system that halts by its shared values", "an invariant on the shared values"))
        return
    agree(system)
