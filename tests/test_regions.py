"""Claims: what an instruction that was given by its bytes does is decoded, and what may have run is never guessed."""

from __future__ import annotations

import re

import pytest

from checker.report.text import render
from checker.verdict import CheckResult, check
from models.assembly import Asm, arm64, power, riscv, x86
from models.machines.fetch import first_of, machine
from models.program import Await, Execute, Fail, Goto, Note, Program, Region, Sync, Thread, Write, word
from models.properties import CLAIMED, STALE
from models.protocol import Step
from models.scenario import Scenario
from models.system.errors import ModelError
from models.threads import ProgramModel


def checked(program: Program, on: str = "") -> CheckResult:
    result = check(program, machine=machine(on) if on else first_of(program.isa), cpus=1, proof=False)
    assert result.exploration.complete
    return result


def broken(program: Program, on: str = "") -> set[str]:
    return {v.property for found in checked(program, on).results for v in found.violated}


LEAVING = [
    x86.raw(b"\xc3", "ret"),
    x86.raw(b"\xff\xe0", "jmp rax"),
    x86.raw(b"\xe9\x00\x00\x10\x00"),
    arm64.raw(0xD65F03C0, "ret"),
    arm64.raw(0x14000400, "b"),
    riscv.raw(0x00008067, "ret"),
    riscv.raw(0x8082, "c.ret"),
    riscv.raw(0x0800006F, "j"),
    power.raw(0x4E800020, "blr"),
    power.raw(0x48000400, "b"),
]
STAYING = [
    x86.raw(b"\xe8\x00\x00\x10\x00", "call"),
    x86.raw(b"\x74\x10", "je"),
    arm64.raw(0x94000400, "bl"),
    arm64.raw(0x54000400, "b.eq"),
    riscv.raw(0x080000EF, "jal ra"),
    power.raw(0x48000401, "bl"),
]


def runs(first: Asm) -> set[str]:
    """The instructions that a CPU can run of a region of two, whose second is a trap."""
    trap = {
        "x86": x86.raw(b"\xcc"),
        "arm64": arm64.raw(0xD4200000),
        "riscv": riscv.raw(0x00100073),
        "power": power.raw(0x7FE00008),
    }
    cpu = Thread("cpu", many=True)
    return broken(Program("two", "t", "t", {cpu: [Execute(Region("code", {"a": [first, trap[first.isa.value]]}))]}))


@pytest.mark.parametrize("asm", LEAVING, ids=lambda asm: f"{asm.isa.value} {asm.says}")
def test_what_never_goes_on_behind_itself_leaves_the_region(asm: Asm) -> None:
    assert runs(asm) == set()


@pytest.mark.parametrize("asm", STAYING, ids=lambda asm: f"{asm.isa.value} {asm.says}")
def test_what_may_go_on_behind_itself_does(asm: Asm) -> None:
    assert runs(asm) == {CLAIMED}


def spinning(then: list[Step]) -> Program:
    """A CPU runs a jump to itself until it is nops again."""
    cpu, patcher = Thread("cpu", many=True), Thread("patcher")
    site = Region("site", {"spin": [x86.raw(b"\xeb\xfe")], "on": [x86.nop(2)]})
    return Program("spin", "s", "s", {cpu: [Execute(site, {"spin": then})], patcher: [Write(site.whole, "on"), Sync()]})


def test_a_jump_into_its_own_region_says_where_it_goes_on() -> None:
    with pytest.raises(ModelError, match=r"jumps to byte 0 of “site” itself: say Goto\(0\)"):
        checked(spinning([]))
    assert broken(spinning([Goto(0)]), "x86-linux,granularity=aligned-8,store-atomicity=aligned-8") == set()


def test_where_two_versions_may_have_run_it_is_not_the_first_that_counts() -> None:
    """Else a claim under the other one would never be put to the test, and nobody would be told."""
    cpu = Thread("cpu", many=True)
    miss = x86.jump("miss")
    site = Region("site", {"a": [miss, x86.nop(2)], "b": [miss, x86.push_rbp(), x86.nop(1)]})
    fail: list[Step] = [Fail(STALE, "stale")]
    for then in ({"a": fail}, {"b": fail}):
        with pytest.raises(ModelError, match="may be “a” or “b”"):
            checked(Program("both", "b", "b", {cpu: [Execute(site, then)]}))
    assert broken(Program("both", "b", "b", {cpu: [Execute(site, {"a": fail, "b": fail})]})) == {STALE}


def test_a_program_is_checked_on_the_first_machine_of_its_architecture() -> None:
    cpu, patcher, done = Thread("cpu", many=True), Thread("patcher"), word("done")
    for isa, nop, name in (
        ("arm64", arm64.nop(), "arm64-dic0"),
        ("riscv", riscv.nop(), "riscv-base"),
        ("power", power.nop(), "power"),
    ):
        region = Region("code", {"only": [nop]})
        program = Program("one", "o", "o", {cpu: [Execute(region)], patcher: [Note(done, 1)]})
        assert program.isa.value == isa
        assert check(program, proof=False).model.scenario.machine.name == name
    assert Program("none", "n", "n", {patcher: [Note(done, 1)]}).isa.value == "x86"
    assert ProgramModel.of(program, Scenario(machine=first_of(program.isa))).labels.keys() == {"execute-code"}


def test_a_trace_shows_the_bytes_of_the_instruction_and_none_behind_it() -> None:
    """What lies behind a return is not fetched with it."""
    cpu, patcher = Thread("cpu", many=True), Thread("patcher")
    site = Region("site", {"jmp": [x86.jump("A")], "ret": [x86.raw(b"\xc3", "ret"), *[x86.raw(b"\xcc", "int3")] * 4]})
    then: dict[str, list[Step]] = {"ret": [Fail(STALE, "stale")]}
    program = Program("ret", "r", "r", {cpu: [Execute(site, then)], patcher: [Write(site.whole, "ret"), Sync()]})
    result = checked(program)
    trace = next(trace for trace in result.traces if trace.property == STALE)
    assert any(step.says.endswith("executes “ret” at “site”: c3 = ret") for step in trace.steps)


def patched(*steps: Step) -> Program:
    cpu, patcher = Thread("cpu", many=True), Thread("patcher")
    return Program("poke", "p", "p", {cpu: [Execute(SITE, trap=[])], patcher: list(steps)})


SITE = Region("site", {"nop": [x86.nop(5)], "jmp": [x86.jump("A")]})


def test_each_store_into_a_region_can_be_left_out_by_itself() -> None:
    """Else the trap byte, the tail and the first byte would be one step, and `explain` could say nothing of any."""
    trap, tail, first = Write(SITE.bytes(0, 1), b"\xcc"), Write(SITE.bytes(1, 5), "jmp"), Write(SITE.bytes(0, 1), "jmp")
    program = patched(trap, Sync(), tail, Sync(), first, Sync(), Write(SITE.whole, "nop"))
    labels = list(checked(program).model.labels)
    assert labels == [
        "execute-site",
        "write-site-0-cc",
        "sync-1",
        "write-site-1-jmp",
        "sync-2",
        "write-site-0-jmp",
        "sync-3",
        "write-site",
    ]


def test_what_never_happens_is_told_with_its_line() -> None:
    """The names of a program's actions are not its author's."""
    never = Await(word("never"))
    said = render(checked(patched(never, Write(SITE.whole, "jmp"))))
    (line,) = {int(n) for n in re.findall(r"await \(line (\d+)\)", said)}
    assert line == never.where.line
