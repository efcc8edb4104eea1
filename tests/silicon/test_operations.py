"""Claims: what the harness is given is what the model says: bytes, claims, code; nothing more, nothing less."""

from __future__ import annotations

from dataclasses import replace

import pytest

from checker.silicon import operations
from checker.silicon.operations import ALIGNMENTS, STORES, Act, Setting, Table, Who
from models.compose import compose
from models.library import load, shipped
from models.machines.fetch import machine
from models.machines.x86 import PADDING, decode
from models.protocol import Allocate, Probe, Write
from models.scenario import Scenario
from models.system.errors import ScenarioError
from tests.silicon.small import table, writing

SCENARIOS = [(name, sites) for name in shipped() for sites in (1, 3)]


class Memory:
    """Bytes by address, as the harness has them."""

    def __init__(self, made: Table) -> None:
        self.bytes: dict[int, int] = {}
        for at, code in [*made.codes(), *made.resets()]:
            self.write(at, code)

    def write(self, at: int, code: bytes) -> None:
        self.bytes.update({at + k: byte for k, byte in enumerate(code)})

    def read(self, at: int, length: int) -> bytes:
        return bytes(self.bytes[at + k] for k in range(length))


@pytest.mark.parametrize("stores", STORES)
@pytest.mark.parametrize("align", ALIGNMENTS)
@pytest.mark.parametrize("name", shipped())
def test_after_each_store_memory_holds_what_the_plan_says(name: str, align: str, stores: str) -> None:
    strategy = replace(load(name), offset=ALIGNMENTS[align])
    assert_stores(Table(compose(strategy, Scenario(cpus=1, sites=3)), Setting(align, stores)))


@pytest.mark.parametrize("offset", range(64))
def test_so_it_does_wherever_the_site_lies(offset: int) -> None:
    strategy = replace(load("stop-machine"), offset=offset)
    assert_stores(Table(compose(strategy, Scenario(cpus=1, sites=1, transition="nop:call")), Setting()))


def assert_stores(made: Table) -> None:
    """Each store operation, in order, brings memory to the plan's next snapshot, and touches nothing around."""
    memory, plan = Memory(made), made.model.plan
    steps = iter(p for p in plan.steps if isinstance(p.step, Write))
    stored = 0
    for operation in (o for o in made.operations if o.code == "store"):
        planned = next(steps)
        site = plan.sites[planned.step.place.site.index]  # type: ignore[attr-defined]
        pieces = made.pieces[operation.a : operation.a + operation.b]
        assert len(pieces) == (
            1 if made.setting.stores == "whole" else planned.step.place.stop - planned.step.place.start
        )  # type: ignore[attr-defined]
        for at, code in pieces:
            memory.write(at, code)
        (string,) = planned.writes[-1]
        around = PADDING[:8] + string + PADDING[:8]
        assert memory.read(made.moved(site.address) - 8, 21) == around
        stored += 1
    assert next(steps, None) is None and (stored or not plan.uses(Write))


@pytest.mark.parametrize(("name", "sites"), SCENARIOS)
def test_operations_have_as_many_moves_as_the_model_has_steps(name: str, sites: int) -> None:
    made = table(name, sites=sites)
    patcher = next(v for v in made.model.system.globals if v.name == "patcher")
    moves = [label for label in patcher.type.labels if label != "done"]  # type: ignore[attr-defined]
    assert sum(operation.moves for operation in made.operations) == len(moves)
    names = [label.split(" ", 1)[1] for label in moves]
    done = 0
    for operation in made.operations:
        assert names[done].startswith(operation.label), operation
        done += operation.moves


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_sites_lie_where_the_alignment_says(align: str) -> None:
    strategy = replace(load("careful-call-to-call"), offset=ALIGNMENTS[align])
    made = Table(compose(strategy, Scenario(cpus=1, sites=2)), Setting(align))
    first = made.moved(made.model.plan.sites[0].address)
    last = first + 4
    assert (first // 8 == last // 8) is (align == "within-8")
    assert (first // 64 == last // 64) is (align in ("within-8", "within-line"))
    assert (first // 4096 == last // 4096) is (align != "across-page")


@pytest.mark.parametrize("name", shipped())
def test_calls_lead_to_the_functions_wherever_all_is_moved_to(name: str) -> None:
    made = table(name, lambda s: replace(s, align="across-page"), sites=2)
    plan = made.model.plan
    code = dict(made.codes())
    for (at, start), site in zip(made.resets(), plan.sites, strict=True):
        version = plan.versions[0].calls
        if version and not isinstance(plan.versions[0], Probe):
            target = made.moved(site.book.address(version))
            assert decode(start, at).text == f"call 0x{target:x}"
            assert code[target].endswith(b"\xc3")


def test_the_handlers_table_has_what_the_search_finds() -> None:
    made = table("text-poke-batch-unsorted", sites=3)
    assert {s for _, s in made.handling} == set(made.model.plan.claims[0].finds) != {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("nop-then-back", Act.SKIP),
        ("careful-call-to-call", Act.CALL),
        ("batched-stubs", Act.STUB_OFF),
        ("batched-stubs-early", Act.STUB),
    ],
)
def test_policies_become_acts(name: str, act: Act) -> None:
    assert {handling.act for handling in table(name).handling.values()} == {act}


def test_a_stub_that_was_not_allocated_leads_nowhere() -> None:
    made = table("batched-stubs", without=frozenset({"allocate"}))
    assert {handling.act for handling in made.handling.values()} == {Act.NOWHERE}


def test_the_owner_of_a_probe_has_what_nobody_claims() -> None:
    made = table("text-poke-batch-to-probe")
    probed = next(who.function for who in made.whos if who.meaning == ("probed",))
    target = made.moved(made.model.plan.sites[0].book.address(probed))  # type: ignore[arg-type]
    assert made.handling[0, 0].target == target


def test_a_stub_pushes_where_the_site_returns_to_and_jumps_to_the_new() -> None:
    made = table("batched-stubs")
    plan = made.model.plan
    stub = next(p.step.stub for p in plan.steps if isinstance(p.step, Allocate))
    code, at = made.stub_code(stub, 1), made.stub_at(stub)
    assert decode(code, at).text.startswith("push ")
    assert int.from_bytes(code[1:5], "little") == made.moved(plan.sites[0].address) + 5
    target = made.moved(plan.sites[0].book.address(plan.versions[1].calls))  # type: ignore[arg-type]
    assert decode(code[6:], at + 6).text == f"jmp 0x{target:x}" and code[5] == 0x90


def test_everybody_who_can_be_called_has_a_number() -> None:
    made = table("always-iterator")
    assert [who.meaning for who in made.whos[1:4]] == [(), ("A",), ("A", "B")] and made.whos[0] == Who()
    assert made.means_new() == []


def test_stores_byte_by_byte_are_refused_where_a_machine_assumes_more() -> None:
    model = compose(load("stop-machine"), Scenario(machine=machine("x86-amd"), cpus=1))
    with pytest.raises(ScenarioError, match="assumes wider stores than bytes"):
        Table(model, Setting(stores="bytes"))
    Table(model, Setting())


def test_too_many_sites_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScenarioError, match="at most 8 sites"):
        table("nop-then-back", sites=9)
    table("careful-call-to-call", sites=2)
    monkeypatch.setattr(operations, "_MOST_CELLS", 1000)
    with pytest.raises(ScenarioError, match="too many steps and sites"):
        table("careful-call-to-call", sites=2)


def test_a_whole_store_inside_an_aligned_8_is_aligned() -> None:
    made = Table(
        compose(replace(writing((0, 5)), offset=3), Scenario(cpus=1, sites=1, transition="nop:call")), Setting()
    )
    ((at, code),) = made.pieces
    assert at % 8 == 0 and len(code) == 8 and code[:3] == PADDING[:3] and code[3] == 0xE8
