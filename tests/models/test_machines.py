"""Claims: presets say where each value comes from, toggles mean something on their machine, and strategies run on x86."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from checker.cli import main
from models.machines.fetch import (
    PRESETS,
    X86_LINUX,
    X86_PRESETS,
    Granularity,
    Machine,
    Maintenance,
    Staleness,
    machine,
)
from models.machines.isa import Isa
from models.plan import plan
from models.scenario import Scenario
from models.system.errors import ScenarioError
from models.text import cuts
from tests.support import STRATEGIES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_preset_has_a_source_for_every_toggle(preset: Machine) -> None:
    toggles = {field.name for field in fields(Machine)} - {"name", "says", "isa", "sources"}
    assert sorted(toggle for toggle, _ in preset.sources) == sorted(toggles)
    assert preset.name.partition("-")[0] == preset.isa.value
    assert all(sentence.strip() for _, sentence in preset.sources)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_what_a_source_calls_on_or_off_is_so(preset: Machine) -> None:
    for toggle, sentence in preset.sources:
        if sentence.partition(":")[0] in ("on", "off"):
            assert getattr(preset, toggle) == sentence.startswith("on"), (toggle, sentence)


def test_the_instruction_set_is_no_toggle() -> None:
    with pytest.raises(ScenarioError, match="isa is no toggle"):
        machine("x86-linux,isa=arm64")
    with pytest.raises(ScenarioError, match="there are gate, granularity, havoc, iret_serialises, maintenance,"):
        machine("power,colour=red")


def test_what_means_nothing_on_a_machine_is_refused() -> None:
    for name, why in (
        ("arm64-dic0,trap-rule=off", "trap_rule is about int3"),
        ("x86-linux,maintenance=explicit", "x86 caches follow stores"),
        ("arm64-dic1,maintenance=explicit", "maintenance=explicit with stale only"),
    ):
        with pytest.raises(ScenarioError, match=why):
            machine(name)
    assert machine("riscv-base,maintenance=explicit").maintenance is Maintenance.EXPLICIT
    assert machine("power,havoc=on").havoc and machine("arm64-dic0,maintenance=coherent").isa is Isa.ARM64


def test_only_stale_fetches_need_caches_maintained() -> None:
    for preset in PRESETS.values():
        assert preset.maintenance is Maintenance.COHERENT or preset.staleness is Staleness.STALE
    assert {p.isa for p in PRESETS.values() if p.maintenance is Maintenance.EXPLICIT} == {Isa.ARM64, Isa.POWER}


def test_parcels_of_two_bytes_are_read_one_by_one() -> None:
    parcels = replace(X86_LINUX, granularity=Granularity.ALIGNED_2)
    assert cuts(5, 0x1000, [], parcels) == [0, 2, 4, 5]
    assert cuts(5, 0x1001, [], parcels) == [0, 1, 3, 5]


@pytest.mark.parametrize(
    "preset", [p for p in PRESETS.values() if p.isa is not Isa.X86], ids=lambda preset: preset.name
)
def test_a_strategy_on_another_architecture_is_refused(preset: Machine) -> None:
    with pytest.raises(ScenarioError, match=f"x86, and {preset.name} is {preset.isa.value}: write a program"):
        plan(STRATEGIES["permanent"], Scenario(machine=preset))


def test_a_matrix_is_of_machines_that_strategies_run_on(capsys: pytest.CaptureFixture[str]) -> None:
    main(["matrix", "permanent", "--cpus", "1", "--sites", "1", "--json", "-"])
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert list(dict.fromkeys(cell["machine"] for cell in cells)) == list(X86_PRESETS)
    assert not any(cell["impossible"] for cell in cells)
    assert {m.isa for m in X86_PRESETS.values()} == {Isa.X86}


def test_a_list_needs_no_decoder() -> None:
    said = "import sys; from checker.cli import main; main(['list']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = set(out.splitlines()[-1].split())
    assert "models.machines.isa" in loaded and not loaded & {"capstone", "iced_x86"}
