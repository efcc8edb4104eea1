"""The trap handler, step by step: look-up of the claim, action, IRET; with counts, taking one and searching are two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.machines.places import DEAD_CLAIM, ELSEWHERE, LOST, NO_RETURN, RETURNING, UNCLAIMED
from models.machines.views import Assignments
from models.protocol import NOBODY, Call, Instruction, Policy, PolicyKind, Probe
from models.system.expressions import Expr
from models.system.system import Fairness, Mark
from models.text import SiteText

if TYPE_CHECKING:
    from models.machines.cpu import Cpu


class Handler:
    """Adds the handler's actions to a CPU."""

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self.plan, self.shared, self.machine, self.place = cpu.plan, cpu.shared, cpu.machine, cpu.place
        self.builder = cpu.builder
        self.returns: dict[str, str] = {}  # the places of a handler about to return that actions lead to: where to

    def add_actions(self) -> None:
        """Add everything that the handler does, at every site."""
        for site in self.plan.sites:
            self._handle(site)
        self._iret()

    def _handle(self, site: SiteText) -> None:
        """Look-up of the claim, action, IRET; with counts, taking the count and searching are two steps."""
        s, claim = site.index, self.shared.claim
        found = [f"claim {i + 1}" for i, table in enumerate(self.plan.claims) if s in table.finds]
        trapped = self.cpu.at(f"trapped at site {s}") & self.cpu.runs
        handling = f"handling site {s}"
        drop: Assignments = []
        if self.cpu.count is None:
            self._look_up(f"trapped at site {s}", s, claim.is_in(found), ~claim.is_in(found), drop)
        else:
            drop = [(self.cpu.count, self.cpu.count - 1)]
            self.cpu.add(
                f"take the count for site {s}",
                trapped & (self.cpu.count > 0),
                [(self.place, f"searching site {s}"), (self.cpu.count, self.cpu.count + 1)],
                f"{{cpu}}'s handler takes a count and searches for site {s}",
                Fairness.HANDLER,
            )
            self._unclaimed(f"no count for site {s}", trapped & (self.cpu.count == 0), s, [])
            missing = ~claim.is_in([*found, "none"])
            self._look_up(f"searching site {s}", s, claim.is_in(found), missing, drop)
            self._dead_claim(
                f"search a released claim for site {s}", self.cpu.at(f"searching site {s}") & (claim == "none"), s
            )
        for policy in dict.fromkeys(table.step.policy for table in self.plan.claims):
            self._act(policy, site, self.cpu.at(handling) & self.cpu.runs, drop)
        policies = {table.step.policy for table in self.plan.claims}
        if len(policies) > 1 or any(policy.reads_claim for policy in policies):
            self._dead_claim(f"act on a released claim for site {s}", self.cpu.at(handling) & ~claim.is_in(found), s)
        if self.plan.strategy.rereads:
            self._reread(site)

    def _look_up(self, place: str, s: int, found: Expr, missing: Expr, drop: Assignments) -> None:
        here = self.cpu.at(place) & self.cpu.runs
        self.cpu.add(
            f"find site {s}",
            here & found,
            [(self.place, f"handling site {s}")],
            f"{{cpu}}'s handler looks up site {s}: it is claimed",
            Fairness.HANDLER,
        )
        self._unclaimed(f"do not find site {s}", here & missing, s, drop)

    def _unclaimed(self, name: str, guard: Expr, s: int, drop: Assignments) -> None:
        rereads = self.plan.strategy.rereads
        if self.plan.probes:
            return self._pass_on(name, guard, s, drop)
        self.cpu.add(
            name,
            guard,
            [(self.place, f"rereading site {s}" if rereads else UNCLAIMED), *drop],
            f"{{cpu}}'s handler looks up site {s}: nobody claims it" + ("" if rereads else ", which is fatal"),
            Fairness.HANDLER,
        )

    def _pass_on(self, name: str, guard: Expr, s: int, drop: Assignments) -> None:
        """A trap that the patcher's claim does not consume goes to the probe's owner."""
        (probe,) = self.plan.probes
        marks, effects = self.cpu.judged((probe.function.name,), s)
        self.cpu.add(
            name,
            guard,
            [(self.place, self._return_to(ELSEWHERE)), *effects, *drop],
            f"{{cpu}}'s handler leaves the trap at site {s} to the probe, which calls {probe.function.name}",
            Fairness.HANDLER,
            marks,
        )

    def _dead_claim(self, name: str, guard: Expr, s: int) -> None:
        self.cpu.add(
            name,
            guard & self.cpu.runs,
            [(self.place, DEAD_CLAIM)],
            f"{{cpu}}'s handler reads a claim for site {s} that has been released",
            Fairness.HANDLER,
        )

    def _act(self, policy: Policy, site: SiteText, here: Expr, drop: Assignments) -> None:
        """What the handler does at a claimed site: all claims of this policy whose table has the site.

        A policy that needs what the claim holds reads it now, and not when it was looked up.
        """
        s, claim = site.index, self.shared.claim
        tables = [
            (f"claim {i + 1}", t) for i, t in enumerate(self.plan.claims) if t.step.policy == policy and s in t.finds
        ]
        if not policy.reads_claim:
            alone = len({t.step.policy for t in self.plan.claims}) == 1
            guard = here if alone else here & claim.is_in([label for label, _ in tables])
            target = Call(policy.target) if policy.target else None
            self._act_once(policy, target, s, guard, drop)
            return
        groups: dict[Instruction, list[str]] = {}
        for label, table in tables:
            old = policy.kind is PolicyKind.EMULATE_OLD
            groups.setdefault(self.plan.versions[table.round - old], []).append(label)
        for meant, labels in groups.items():
            self._act_once(policy, meant, s, here & claim.is_in(labels), drop)

    def _return_to(self, target: str) -> str:
        """Where a handler is that has yet to return to `target`."""
        place = RETURNING if target == ELSEWHERE else f"{RETURNING} to {target}"
        self.returns[place] = target
        return place

    def _act_once(self, policy: Policy, meant: Instruction | None, s: int, guard: Expr, drop: Assignments) -> None:
        """One action of the handler; `meant` is the instruction that it stands for, if it stands for one."""
        marks: list[Mark] = []
        effects: Assignments = []
        if isinstance(meant, Probe) and policy.kind in (PolicyKind.EMULATE_OLD, PolicyKind.EMULATE_NEW):
            return self._pass_on(f"handler leaves site {s} to “{meant}”", guard, s, drop)
        if policy.kind is PolicyKind.RETRY:
            place, says = self._return_to(f"at site {s}"), f"lets it go back to site {s}"
        elif policy.kind is PolicyKind.REDIRECT:
            assert meant is not None
            marks, effects = self.cpu.judged((meant.calls.name,) if meant.calls else NOBODY, s)
            stub = next((stub for stub in self.plan.stubs if stub.site == s), None)
            place = LOST if stub is None else self._return_to(next(self.cpu.places.stub(stub)))
            marks += self.cpu.entering(place)
            says = f"redirects it to the stub of site {s}, which stands for “{meant}”"
        elif policy.kind is PolicyKind.SKIP or meant is None or meant.calls is None:
            marks, effects = self.cpu.judged(NOBODY, s)
            place, says = self._return_to(ELSEWHERE), f"skips the instruction at site {s}"
        else:
            inside, marks, effects = self.cpu.run(meant, s)
            inside = inside if policy.pushes else NO_RETURN
            place = self._return_to(inside)
            says = f"emulates “{meant}” at site {s}" + ("" if policy.pushes else " without pushing a return address")
        name = f"handler {says}"
        if any(action.name == name for action in self.builder.actions):
            name = f"{name} (“{policy.kind.value}”)"
        self.cpu.add(
            name,
            guard,
            [(self.place, place), *effects, *drop],
            f"{{cpu}}'s handler {says}",
            Fairness.HANDLER,
            marks,
        )

    def _reread(self, site: SiteText) -> None:
        s = site.index
        here = self.cpu.at(f"rereading site {s}") & self.cpu.runs
        self.cpu.add(
            f"reread site {s}: no trap byte",
            here & self.shared.text.may_have_first(site, trap=False),
            [(self.place, self._return_to(f"at site {s}"))],
            f"{{cpu}}'s handler reads site {s} again: the trap byte is gone, so it goes back there",
            Fairness.HANDLER,
        )
        self.cpu.add(
            f"reread site {s}: trap byte",
            here & self.shared.text.may_have_first(site, trap=True),
            [(self.place, UNCLAIMED)],
            f"{{cpu}}'s handler reads site {s} again: the trap byte is there and nobody claims it, which is fatal",
            Fairness.HANDLER,
        )

    def _iret(self) -> None:
        """The handler's return, to wherever it said."""
        serialised = self.cpu.view.serialised() if self.machine.iret_serialises else []
        words = ", which serialises" if self.machine.iret_serialises else ""
        for place, target in self.returns.items():
            where = "goes on" if target == ELSEWHERE else f"goes on {target}"
            self.cpu.add(
                f"iret to {target}",
                self.cpu.at(place) & self.cpu.runs,
                [(self.place, target), *serialised],
                f"{{cpu}}'s handler returns{words}; it {where}",
                Fairness.HANDLER,
            )
