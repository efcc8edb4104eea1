"""What a program is made of, found in its steps: labels, words, regions with their bytes, and the flags that waits need."""

from __future__ import annotations

from models.code import Entry, RegionText
from models.flow import words_in
from models.machines.isa import Isa
from models.machines.views import Text, View, make_view
from models.program import (
    Acquire,
    Code,
    Execute,
    Free,
    Holds,
    If,
    Interrupt,
    Maintain,
    Program,
    Region,
    Release,
    Store,
    Sync,
    WaitForReaders,
    WaitForTasks,
    While,
    Write,
    all_steps,
)
from models.program import Await as _Await
from models.protocol import Step
from models.scenario import Scenario
from models.system.errors import ModelError, ScenarioError
from models.system.expressions import BOOL, FALSE, Expr, Read, both
from models.system.system import Builder
from models.words import describe

MOST_FETCHED = 4  # instructions that a fetch buffer holds, of those that change


class Parts:
    """Declares the variables of a program, except those that say where threads are."""

    def __init__(self, builder: Builder, program: Program, scenario: Scenario) -> None:
        self.builder, self.program, self.scenario, self.machine = builder, program, scenario, scenario.machine
        self.steps = [step for body in program.threads.values() for step in all_steps(body)]
        self.labels = self._labels()
        self._check_scenario()
        self.many = program.many
        self.cpu = self.many.component if self.many else None
        if self.cpu:
            builder.adopt(self.cpu, scenario.cpus)
        self.texts = self._regions()
        self.entries: list[Entry] = []
        for text in self.texts.values():
            for entry in text.entries.values():
                entry.index = len(self.entries)
                self.entries.append(entry)
        self._words()
        self.text = Text(builder, self.entries)
        self.view: View | None = (
            make_view(builder, self.cpu, self.text, self.machine, MOST_FETCHED) if self.cpu and self.entries else None
        )
        self._flags()

    def _labels(self) -> dict[int, str]:
        """The label of each step, by its identity; steps that share one are left out together."""
        found, syncs = {}, 0
        for step in self.steps:
            label = step.label
            if not label and isinstance(step, Sync):
                syncs += 1
                label = f"sync-{syncs}"
            match step:
                case _ if label:
                    pass
                case Store(target=target):
                    label = f"store-{target.variable.name}"
                case Write(place=place, content=content):
                    part = (
                        ""
                        if place.stop is None
                        else f"-{place.start}-{content if isinstance(content, str) else content.hex()}"
                    )
                    label = f"write-{place.region.name}{part}"
                case Execute(region=region) | Maintain(region=region):
                    label = f"{step.default_label()}-{region.name}"
                case Acquire(lock=word) | Release(lock=word):
                    label = f"{step.default_label()}-{word.variable.name}"
            found[id(step)] = (label or step.default_label()).replace(" ", "-")
        return found

    def label(self, step: Step) -> str:
        return self.labels[id(step)]

    def _check_scenario(self) -> None:
        scenario, name = self.scenario, self.program.name
        if scenario.transition is not None or scenario.rounds is not None or scenario.nmi:
            raise ScenarioError(f"{name} is a program: --transition, --rounds and --nmi do not apply")
        if self.machine.isa is Isa.X86 and self.machine.havoc:
            raise ScenarioError(f"{name} is a program, and {self.machine.name} has havoc: choose a machine without it")
        unknown = scenario.without - set(self.labels.values())
        if unknown:
            known = ", ".join(sorted(set(self.labels.values())))
            raise ScenarioError(f"{name} has no step “{sorted(unknown)[0]}”; it has {known}")

    def used(self, kind: type[Step]) -> list[Step]:
        """The steps of one kind that are not left out."""
        return [s for s in self.steps if isinstance(s, kind) and self.label(s) not in self.scenario.without]

    def _regions(self) -> dict[Region, RegionText]:
        places: dict[Region, list[Write]] = {}
        for step in self.steps:
            match step:
                case Write(place=place):
                    places.setdefault(place.region, []).append(step)
                case Execute(region=region) | Maintain(region=region):
                    places.setdefault(region, [])
                case If(condition=Holds(region=region)) | While(condition=Holds(region=region)):
                    places.setdefault(region, [])
                case _Await(condition=Holds(region=region)):
                    places.setdefault(region, [])
        names = [region.name for region in places]
        for region in places:
            if names.count(region.name) > 1:
                raise ModelError(f"two regions are called “{region.name}”", region.where)
        found = {}
        for index, (region, writes) in enumerate(places.items()):
            bare = RegionText(index, region, [], self.machine)
            stores = []
            for write in writes:
                try:
                    stores.append((write.place, bare.data(write.place, write.content)))
                except ModelError as error:
                    raise ModelError(error.message, write.where) from error
            found[region] = RegionText(index, region, stores, self.machine)
        return found

    def _words(self) -> None:
        known: set[object] = set()
        for step in self.steps:
            for word in words_in(step):
                variable = word.variable
                if variable in known:
                    continue
                known.add(variable)
                if variable.component not in (None, self.cpu):
                    raise ModelError(f"“{variable.name}” is a register of no thread of this program", step.where)
                self.builder.declare(variable)

    def _flags(self) -> None:
        def flag(name: str, needed: object, says: str) -> Read | None:
            return self.builder.variable(name, BOOL, 0, self.cpu, says=says) if needed and self.cpu else None

        interrupts = self.interrupts = [s for s in self.used(Interrupt) if isinstance(s, Interrupt)]
        self.ipi = flag("ipi", self.used(Sync), "whether a sync request waits for this CPU")
        self.grace = flag("grace", self.used(WaitForReaders), "whether an RCU grace period waits for this CPU")
        self.owes = flag("owes", self.used(WaitForTasks), "whether RCU-tasks waits for the task")
        self.pending = flag("pending", interrupts, "whether an interrupt's sender waits for this CPU")
        switched = self.used(WaitForReaders) or any(step.stopper for step in interrupts)
        self.preempted = flag("preempted", switched and self.scenario.preempt, "whether the task is preempted")
        self.live: dict[Code, Read] = {}
        for step in self.used(Free):
            assert isinstance(step, Free)
            if step.code not in self.live:
                name = step.code.name
                says = f"whether “{name}” is allocated"
                self.live[step.code] = self.builder.variable(f"live_{name}", BOOL, 1, says=says)

    def condition(self, condition: Expr | Holds) -> Expr:
        """A condition as an expression."""
        if not isinstance(condition, Holds):
            return condition
        text, found = self.texts[condition.region], []
        for granule in text.granules:
            content = text.version_at(condition.version, granule)
            memory = self.text.memory[granule]
            found.append(memory == memory.type.show(content) if content is not None else FALSE)
        return both(*found)

    def said(self, condition: Expr | Holds) -> str:
        """A condition in words."""
        if isinstance(condition, Holds):
            return f"“{condition.region.name}” holds “{condition.version}”"
        return describe(condition)
