"""What a lemma excludes, as a short list: the state before, the step, what breaks. For pages, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from checker.report.markdown import listed
from models.system.evaluate import Evaluator, State
from models.system.expressions import Bits, Bool, Expr, Variable
from models.system.system import Invariant, Mark
from proofs.induction import Escape, variables
from proofs.lemma import Lemma
from proofs.shape import conjuncts
from proofs.words import words


def tell(lemma: Lemma, escape: Escape) -> list[str]:
    """What becomes possible without `lemma`, by an escape from the other lemmas."""
    return _Teller(lemma, escape).lines()


def shown(variable: Variable, value: int) -> str:
    """A value in words: labels and names."""
    if variable.bits:
        held = [f"“{label}”" for i, label in enumerate(variable.bits) if value >> i & 1]
        return f"has {listed(held)}" if held else "has nothing"
    label = variable.type.show(value)
    return f"= {label}" if isinstance(variable.type, (Bits, Bool)) else f"= “{label}”"


class _Teller:
    def __init__(self, lemma: Lemma, escape: Escape) -> None:
        self.lemma, self.escape = lemma, escape
        self.system, self.step = escape.system, escape.step
        self.evaluator = Evaluator(escape.system)
        self.after = escape.before if escape.step is None else escape.step.state

    def lines(self) -> list[str]:
        before = [f"  - {line}" for line in self.state(self.escape.before, self.mentioned())]
        found = ["- Before:", *before]
        if self.step is not None:
            found.append(f"- Step: {self.said()}.")
            changes = list(self.state(self.after, self.changed(), changed=True))
            found += ["- After:", *(f"  - {line}" for line in changes)] if changes else []
        found.append(f"- Breaks: {self.breaks()}")
        violated = self.failing(self.lemma, self.escape.before)
        if violated:
            found.append(f"- No run comes to the state before, because: {'; '.join(map(words, violated))}.")
        return found

    def said(self) -> str:
        """Who takes which step."""
        assert self.step is not None
        action = self.step.action
        who = "the patcher" if self.step.instance is None else self.name(self.step.instance)
        label = action.choice.labels[self.step.choice] if action.choice else ""
        sentence = action.says.replace("{cpu}", who).replace("{choice}", label)
        return f"{sentence[0].upper()}{sentence[1:]} (`{action.name}`)"

    def name(self, instance: int) -> str:
        component, number = self.system.instances[instance]
        return f"{component.name.upper()} {number}"

    def breaks(self) -> str:
        match self.escape.question:
            case Lemma() as other:
                return f"the lemma {other.name}: {'; '.join(map(words, self.failing(other, self.after)))}."
            case Mark() | Invariant() as claim:
                return f"the property **{claim.property}** ({claim.kind}): {claim.says}."
            case str() as question:
                return f"the argument that the patcher finishes: that {question}."

    def mentioned(self) -> set[Variable]:
        """What the step asks for, what the lemma and the question speak of, and what changes."""
        found = self.changed()
        for lemma, state in ((self.lemma, self.escape.before), (self.escape.question, self.after)):
            if isinstance(lemma, Lemma):
                for part in self.failing(lemma, state):
                    found |= variables(part)
        if isinstance(self.escape.question, Mark):
            found |= variables(self.escape.question.when)
        if self.step is not None:
            found |= variables(self.step.action.guard)
        return found

    def changed(self) -> set[Variable]:
        """The variables that the step gives another value."""
        return {v for v, before, after in self.pairs() if before != after}

    def pairs(self) -> Iterator[tuple[Variable, int, int]]:
        before, after = self.escape.before, self.after
        yield from zip(self.system.globals, before.shared, after.shared, strict=True)
        for i, (component, _) in enumerate(self.system.instances):
            yield from zip(self.system.locals(component), before.instances[i], after.instances[i], strict=True)

    def failing(self, lemma: Lemma, state: State) -> list[Expr]:
        """The parts of a lemma that are false in a state, of the first instances for which some are."""
        owners = [component for component, _ in self.system.instances]
        for places in permutations(range(len(owners)), len(lemma.about)):
            if tuple(owners[i] for i in places) != lemma.about:
                continue
            who, other = (*places, None, None)[:2]
            found = [p for p in conjuncts(lemma.holds) if not self.evaluator.value(p, state, who, 0, other)]
            if found:
                return found
        return []

    def state(self, state: State, wanted: set[Variable], changed: bool = False) -> Iterator[str]:
        """The wanted variables of a state: those that all share, then each instance's; after a step, those that changed."""
        old = self.escape.before
        groups = [("", self.system.globals, state.shared, old.shared)]
        for i, (component, _) in enumerate(self.system.instances):
            groups.append((f"{self.name(i)}: ", self.system.locals(component), state.instances[i], old.instances[i]))
        for title, group, values, before in groups:
            said = [
                f"`{v.name}` {shown(v, value)}"
                for v, value, was in zip(group, values, before, strict=True)
                if v in wanted and (not changed or value != was)
            ]
            if said:
                yield title + ", ".join(said)
