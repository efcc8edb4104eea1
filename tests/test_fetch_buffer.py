"""Claims: a CPU that fetches ahead may hold several instructions, in the order of its fetches, and each byte for itself.

The queue is compared with one written for these tests, longer than the model's, by a plain search.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checker.verdict import CheckResult, check
from models.assembly import Asm, arm64, riscv, x86
from models.machines.fetch import machine
from models.program import (
    Check,
    Code,
    Execute,
    Free,
    Inside,
    Note,
    Program,
    Region,
    Section,
    Store,
    Sync,
    Thread,
    WaitForReaders,
    Write,
    word,
)
from models.properties import BACK, FREED, OLD_OR_NEW, STALE, TORN

LONGEST = 6  # of the queue that the model is compared with


def broken(program: Program, on: str) -> set[str]:
    return violated(check(program, machine=machine(on), cpus=1, use_case="livepatch", proof=False))


def violated(result: CheckResult) -> set[str]:
    assert result.exploration.complete
    return {verdict.property for verdict in result.results[0].violated}


# ---- a call is unlinked, its readers leave, the callee is freed ------------------------------------------------------

CALLS = {
    "arm64-dic1": (arm64.nop(), arm64.branch_link("B"), arm64.nop()),
    "riscv-ziccid": (riscv.nop(), riscv.jal("B"), riscv.nop()),
    "x86-amd": (x86.push_rbp(), x86.call("B"), x86.nop(5)),
    "x86-buffered": (x86.push_rbp(), x86.call("B"), x86.nop(5)),
}


@pytest.mark.parametrize("on", CALLS)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_an_instruction_in_front_of_the_changed_one_hides_nothing(on: str, before: int) -> None:
    """What was fetched before the section began is run inside it, behind instructions that were fetched before that."""
    first, call, nop = CALLS[on]
    cpu, patcher, callee = Thread("cpu", many=True), Thread("patcher"), Code("callee")
    ran = cpu.register("ran")
    site = Region("site", {"call": [first] * before + [call], "nop": [first] * before + [nop]})
    body = [Section([Execute(site, {"call": [Inside(callee, [Store(ran, 0)])]})])]
    unlink = [Write(site.whole, "nop"), WaitForReaders(), Free(callee)]
    assert FREED in broken(Program("unlink", "u", "u", {cpu: body, patcher: unlink}), on)
    unlink.insert(1, Sync())
    assert FREED not in broken(Program("unlink", "u", "u", {cpu: body, patcher: unlink}), on)


@pytest.mark.parametrize("two", [False, True], ids=["one region", "two regions"])
def test_a_run_after_the_return_may_be_of_what_was_fetched_before_it(two: bool) -> None:
    cpu, patcher, returned = Thread("cpu", many=True), Thread("patcher"), word("returned")
    late = cpu.register("late")
    prologue, site = (
        Region("prologue", {"x": [riscv.nop()]}),
        Region("site", {"old": [riscv.jal("A")], "new": [riscv.jal("B")]}),
    )
    long = Region("site", {"old": [riscv.nop(), riscv.jal("A")], "new": [riscv.nop(), riscv.jal("B")]})
    claims = {"old": [Check(~late, STALE, "stale")]}
    runs = [Execute(prologue), Execute(site, claims)] if two else [Execute(long, claims)]
    place = site.whole if two else long.bytes(4, 8)
    update = [Write(place, "new"), Note(returned, 1)]
    program = Program("late", "l", "l", {cpu: [Note(late, returned), *runs], patcher: update})
    assert STALE in broken(program, "riscv-ziccid")


def test_the_order_of_fetches_is_kept() -> None:
    """Who runs the new first instruction, which was stored last, fetched the second after it."""
    cpu, patcher = Thread("cpu", many=True), Thread("patcher")
    first = Region("first", {"old": [riscv.jal("A")], "new": [riscv.jal("B")]})
    second = Region("second", {"old": [riscv.jal("C")], "new": [riscv.jal("D")]})
    new = cpu.register("new")
    run = [
        Execute(first, {"old": [Note(new, 0)], "new": [Note(new, 1)]}),
        Execute(second, {"old": [Check(~new, OLD_OR_NEW, "wrong-target")]}),
    ]
    right = [Write(second.whole, "new"), Write(first.whole, "new")]
    assert not broken(Program("order", "o", "o", {cpu: run, patcher: right}), "riscv-ziccid")
    assert OLD_OR_NEW in broken(Program("order", "o", "o", {cpu: run, patcher: right[::-1]}), "riscv-ziccid")
    assert OLD_OR_NEW in broken(Program("order", "o", "o", {cpu: run, patcher: right}), "riscv-ziccif"), (
        "here there is no order"
    )


# ---- against a queue of our own --------------------------------------------------------------------------------------

Op = tuple[int, int] | str  # the word that becomes new, in which version; "sync"; "return"
NAMES = "ABCDEF"


def reference(versions: Sequence[Sequence[int]], patcher: Sequence[Op], longest: int) -> set[str]:
    """What one CPU can break that runs the words in order: torn, or the first version in a run begun after the return."""
    State = tuple[tuple[int, ...], int, bool, tuple[tuple[int, int], ...], tuple[int, frozenset[int], bool] | None]
    start: State = (tuple(versions[0]), 0, False, (), None)
    every = frozenset(range(len(versions)))

    def steps(state: State) -> Iterator[State | str]:
        memory, done, returned, queue, run = state
        if done < len(patcher):
            match patcher[done]:
                case "sync":
                    yield memory, done + 1, returned, (), run
                case "return":
                    yield memory, done + 1, True, queue, run
                case (place, value):
                    yield (*memory[:place], value, *memory[place + 1 :]), done + 1, returned, queue, run
        yield memory, done, returned, (), run
        if len(queue) < longest:
            yield from ((memory, done, returned, (*queue, (k, w)), run) for k, w in enumerate(memory))
        if run is None:
            yield memory, done, returned, queue, (0, every, returned)
            return
        at, live, late = run
        held, rest = (queue[0][1], queue[1:]) if queue and queue[0][0] == at else (memory[at], ())
        left = frozenset(v for v in live if versions[v][at] == held)
        if not left:
            yield TORN
        elif at + 1 < len(memory):
            yield memory, done, returned, rest, (at + 1, left, late)
        elif late and left == {0}:
            yield STALE
        else:
            yield memory, done, returned, rest, None

    seen, waiting, found = {start}, deque([start]), set()
    while waiting:
        for after in steps(waiting.popleft()):
            if isinstance(after, str):
                found.add(after)
            elif after not in seen:
                seen.add(after)
                waiting.append(after)
    return found


def modelled(versions: Sequence[Sequence[int]], patcher: Sequence[Op]) -> set[str]:
    """The same of the model."""
    cpu, thread, returned = Thread("cpu", many=True), Thread("patcher"), word("returned")
    late = cpu.register("late")
    names = [f"v{k}" for k in range(len(versions))]
    words: dict[str, list[Asm]] = {
        name: [riscv.jal(f"{NAMES[k]}{value}") for k, value in enumerate(version)]
        for name, version in zip(names, versions, strict=True)
    }
    site = Region("site", words)
    steps: list[Write | Sync | Note] = []
    for op in patcher:
        if op == "sync":
            steps.append(Sync())
        elif op == "return":
            steps.append(Note(returned, 1))
        else:
            place, value = op
            whose = next(name for name, v in zip(names, versions, strict=True) if v[int(place)] == value)
            steps.append(Write(site.bytes(4 * int(place), 4 * int(place) + 4), whose))
    body = [Note(late, returned), Execute(site, {"v0": [Check(~late, STALE, "stale")]})]
    return broken(Program("queue", "q", "q", {cpu: body, thread: steps}), "riscv-ziccid") - {"completes", BACK}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], list[Op]]:
    """Two or three versions of up to three words; the last is stored word by word, with a sync here and there."""
    length = draw(st.integers(1, 3))
    last = tuple(draw(st.lists(st.integers(0, 1), min_size=length, max_size=length).filter(any)))
    changed = [k for k in range(length) if last[k]]
    order = draw(st.permutations(changed))
    between = [tuple(int(k in order[:n]) for k in range(length)) for n in range(1, len(order))]
    kept = [v for v in between if draw(st.booleans())]
    ops: list[Op] = []
    for place in order:
        ops += [(place, 1), *(["sync"] if draw(st.booleans()) else [])]
    return [tuple([0] * length), *kept, last], [*ops, "return"]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(cases())
def test_it_is_the_queue_that_was_written_for_this_test(case: tuple[list[tuple[int, ...]], list[Op]]) -> None:
    versions, patcher = case
    assert modelled(versions, patcher) == reference(versions, patcher, LONGEST)


def test_a_shorter_queue_would_be_noticed() -> None:
    """The comparison above is with something: a queue of one instruction misses what two show."""
    versions, patcher = [(0, 0), (1, 1)], [(0, 1), (1, 1), "return"]
    assert reference([(0, 0), (0, 1)], [(1, 1), "return"], 1) < reference([(0, 0), (0, 1)], [(1, 1), "return"], 2)
    assert modelled(versions, patcher) == reference(versions, patcher, LONGEST)


# ---- bytes -----------------------------------------------------------------------------------------------------------

OLD = b"\xe8\x11\x22\x33\x44"


@pytest.mark.parametrize("on", ["x86-amd", "x86-buffered", "x86-buffered-ascending"])
@pytest.mark.parametrize("changed", [{1, 2}, {3, 4}, {2, 3}, {1, 4}, {1, 2, 3, 4}], ids=str)
def test_targets_that_share_bytes_tear_as_well(on: str, changed: set[int]) -> None:
    """One store of a displacement of which only some bytes change; a fetch reads byte by byte, and the store lands between."""
    new = bytes(byte ^ 0x40 if k in changed else byte for k, byte in enumerate(OLD))
    site = Region("site", {"A": [x86.raw(OLD)], "B": [x86.raw(new)]})
    cpu, patcher = Thread("cpu", many=True), Thread("patcher")
    program = Program("shared", "s", "s", {cpu: [Execute(site)], patcher: [Write(site.bytes(1, 5), "B"), Sync()]})
    assert TORN in broken(program, on)


def test_one_byte_does_not_tear() -> None:
    for k, on in product(range(1, 5), ("x86-amd", "x86-buffered")):
        new = OLD[:k] + b"\x77" + OLD[k + 1 :]
        site = Region("site", {"A": [x86.raw(OLD)], "B": [x86.raw(new)]})
        cpu, patcher = Thread("cpu", many=True), Thread("patcher")
        program = Program("one", "o", "o", {cpu: [Execute(site)], patcher: [Write(site.bytes(1, 5), "B"), Sync()]})
        assert TORN not in broken(program, on)
