"""One question to this machine: a strategy in a scenario, where its site lies, how it is stored to and synchronised.

`ask` composes, runs and compares. `presets_that_allow` says which presets would have allowed what the chosen one does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from checker.search.generate import Unsupported
from checker.silicon.allowed import Allowed
from checker.silicon.compare import Comparison, compare
from checker.silicon.operations import ALIGNMENTS, Setting, Table
from checker.silicon.run import PATIENCE, observe
from models.compose import compose
from models.machines.fetch import X86_PRESETS, Machine
from models.protocol import Strategy
from models.scenario import Scenario
from models.system.errors import ScenarioError


@dataclass(frozen=True, eq=False)
class Question:
    """What is run, and under which machine model its outcomes are judged."""

    strategy: Strategy
    scenario: Scenario
    setting: Setting

    @cache  # noqa: B019
    def allowed(self, machine: Machine | None = None) -> Allowed:
        """What the scenario's machine allows, or another one. Raises ScenarioError for what cannot be asked."""
        strategy = self.strategy
        if self.setting.align is not None:
            strategy = replace(strategy, offset=ALIGNMENTS[self.setting.align])
        scenario = replace(self.scenario, machine=machine or self.scenario.machine, cpus=1, nmi=False)
        try:
            return Allowed(Table(compose(strategy, scenario), self.setting))
        except Unsupported as error:
            raise ScenarioError(f"{strategy.name} cannot be compared with silicon: {error}") from error

    def without(self, label: str) -> Question:
        """The same with a step left out."""
        return replace(self, scenario=replace(self.scenario, without=self.scenario.without | {label}))

    def ask(self, cpus: Sequence[int], executions: int, seconds: float, patience: float = PATIENCE) -> Comparison:
        """Run it here. Raises CannotAsk, Failed; ScenarioError for what cannot be performed."""
        allowed = self.allowed()
        return compare(allowed, observe(allowed.table, cpus, executions, seconds, patience))

    def on(self, machine: Machine, found: Comparison) -> Comparison | None:
        """The same run, compared with another machine; None where that assumes wider stores than were made."""
        try:
            return compare(self.allowed(machine), found.observation)
        except ScenarioError:
            return None


def presets_that_allow(question: Question, found: Comparison) -> dict[str, list[str]]:
    """For each outcome that was seen and is not allowed, the presets that allow it."""
    wanted = [says for says, outcome in found.outcomes.items() if outcome.not_allowed]
    if not wanted:
        return {}
    answers = {name: question.on(machine, found) for name, machine in X86_PRESETS.items()}
    return {
        says: [name for name, other in answers.items() if other and not other.outcomes[says].not_allowed]
        for says in wanted
    }
