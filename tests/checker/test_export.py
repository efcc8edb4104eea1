"""The text of exported models: the same each time, readable, no longer than it has to be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from checker.export.checks import chosen
from checker.export.murphi import murphi
from checker.export.names import Names
from checker.export.printer import Inexpressible
from checker.export.promela import PROMELA_WORDS, promela
from models.system.errors import ScenarioError
from models.system.expressions import Bits
from models.system.system import Builder, TransitionSystem
from tests.checker.drawn import WORDS, drawn
from tests.checker.exported import (
    SEEDS,
    composed,
    counter,
    shared_deeply,
)
from tests.checker.reference import cannot_finish, fair_part, survey


def test_the_drawn_systems_are_worth_drawing() -> None:
    surveys = [survey(drawn(seed)) for seed in SEEDS]
    assert all(len(found.edges) > 20 for found in surveys)
    answers = {(bool(cannot_finish(found)), fair_part(found) is not None) for found in surveys}
    assert {(False, False), (False, True), (True, True)} <= answers
    assert any(found.evaluator.halted(state) for found in surveys for state in found.edges)


@pytest.mark.parametrize("export", [promela, murphi])
def test_what_is_shared_is_not_repeated(export: Callable[[TransitionSystem], str]) -> None:
    short, long = len(export(shared_deeply(60))), len(export(shared_deeply(120)))
    assert long < 3 * short < 3 * 150_000


def test_the_same_system_gives_the_same_text() -> None:
    program = (
        "from tests.checker.drawn import drawn; from tests.checker.exported import composed, everything;"
        "from checker.export.promela import promela; from checker.export.murphi import murphi; import hashlib;"
        "systems = [*map(drawn, (71, 290)), composed('permanent', (('cpus', 2), ('sites', 1)))];"
        "texts = [t for s in systems for t in (promela(s), murphi(s), murphi(s, everything(s)))];"
        "print(hashlib.sha256(''.join(texts).encode()).hexdigest())"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(made) == 1


def test_names_resemble_the_originals_and_are_unique() -> None:
    names = Names(["While"])
    found = [names.new(text) for text in ("3 trap site 0", "a b", "A/b", "while", "“”", "a_b", "11/22", "")]
    assert found == ["n_3_trap_site_0", "a_b", "A_b_2", "while_2", "unnamed", "a_b_3", "n_11_22", "unnamed_2"]


@pytest.mark.parametrize("export", [promela, murphi])
def test_labels_actions_and_lines_can_be_read(export: Callable[[TransitionSystem], str]) -> None:
    text = export(composed("careful-call-to-call", (("cpus", 2), ("sites", 1))))
    for piece in (
        "patcher_1_trap_site_0",
        "place_trapped_at_site_0",
        "the patcher writes the trap byte over the first byte of site 0 (careful_call_to_call.py:",
        "careful-call-to-call (2 × cpu)",
    ):
        assert piece in text


def test_the_sentences_of_a_promela_model_end_no_comment() -> None:
    text = re.sub(r"/\*.*?\*/", "", promela(drawn(71)), flags=re.DOTALL)
    assert "*/" not in text and "it is broken" not in text


def test_no_name_is_a_word_of_the_language() -> None:
    declared = re.findall(r"^\s*(?:bit|unsigned) (\w+)", promela(drawn(71)), re.MULTILINE)
    assert declared and not set(declared) & set(WORDS) & set(PROMELA_WORDS.split())


def test_what_is_asserted_goes_by_name() -> None:
    system = composed("careful-call-to-call", (("cpus", 1), ("sites", 1)))
    kinds = {"torn", "undefined"}
    assert {c.kind for c in chosen(system, ["no-torn-instruction"])} == kinds
    assert {c.kind for c in chosen(system, ["no-torn-instruction/torn"])} == {"torn"}
    assert [c.premise for c in chosen(system, ["premise of old-or-new"])] == [True]
    assert not any(c.premise for c in chosen(system, ["all"])) and chosen(system, ["all"])
    with pytest.raises(ScenarioError, match="no property “torn”"):
        chosen(system, ["torn"])
    with pytest.raises(ScenarioError, match="has no goal"):
        murphi(counter(), progress=True)
    with pytest.raises(ScenarioError, match="alone"):
        murphi(system, ["all"], progress=True)


@pytest.mark.parametrize("export", [promela, murphi])
def test_numbers_that_are_too_wide_are_refused(export: Callable[[TransitionSystem], str]) -> None:
    b = Builder("wide")
    n = b.variable("n", Bits(32), 0)
    b.action("count", effects=[(n, n + 1)], says="counts")
    with pytest.raises(Inexpressible, match="32 bits"):
        export(b.build())
