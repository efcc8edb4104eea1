"""Small strategies and tables for the tests of silicon, and the mark for tests that run on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from checker.silicon.asking import Question
from checker.silicon.machine import CannotAsk, cpus
from checker.silicon.operations import Setting, Table
from models.compose import compose
from models.library import load
from models.machines.fetch import machine
from models.protocol import TRAP, Claim, Expect, Policy, Release, Site, Step, Strategy, Sync, Write
from models.scenario import Scenario


def reason() -> str:
    """Why silicon cannot be asked here, or ""."""
    try:
        cpus()
    except CannotAsk as error:
        return str(error)
    return ""


on_silicon = pytest.mark.skipif(bool(reason()), reason=reason())


def writing(*parts: tuple[int, int] | tuple[int, bytes]) -> Strategy:
    """A strategy that only stores: ranges of the new instruction, or bytes at an offset."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        for site in sites:
            for start, stop in parts:
                if isinstance(stop, bytes):
                    yield Write(site.bytes(start, start + len(stop)), stop)
                else:
                    yield Write(site.bytes(start, stop), site.new)

    return Strategy("writing", "only stores", "a test", steps)


def trapping(policy: Policy, *more: Step) -> Strategy:
    """A trap byte that stays, claimed."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        yield Claim(policy, sites)
        for site in sites:
            yield Write(site.first_byte, TRAP)
        yield from more

    return Strategy("trapping", "a trap byte that stays", "a test", steps, expects=[Expect()])


def guarded(policy: Policy) -> Strategy:
    """The whole protocol, with this handler."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        yield Claim(policy, sites)
        for site in sites:
            yield Write(site.first_byte, TRAP)
        yield Sync()
        for site in sites:
            yield Write(site.tail, site.new)
        yield Sync()
        for site in sites:
            yield Write(site.first_byte, site.new, label="first-byte")
        yield Sync()
        yield Release(label="release")

    return Strategy("guarded", "trap, tail and first byte", "a test", steps)


def question(
    strategy: Strategy | str,
    *,
    on: str = "x86-linux",
    sites: int = 1,
    without: Iterable[str] = (),
    align: str | None = "within-8",
    stores: str = "whole",
    sync: str = "membarrier",
    **more: object,
) -> Question:
    strategy = load(strategy) if isinstance(strategy, str) else strategy
    scenario = Scenario(machine=machine(on), cpus=1, sites=sites, without=frozenset(without), **more)  # type: ignore[arg-type]
    return Question(strategy, scenario, Setting(align, stores, sync))


def table(strategy: Strategy | str, change: Callable[[Setting], Setting] = lambda s: s, **scenario: object) -> Table:
    """The table of a strategy at its own offset."""
    strategy = load(strategy) if isinstance(strategy, str) else strategy
    return Table(compose(strategy, Scenario(cpus=1, **scenario)), change(Setting()))  # type: ignore[arg-type]
