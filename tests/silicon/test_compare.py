"""Claims: what was seen is looked for where it took place, judged as the model judges, and nothing is passed over."""

from __future__ import annotations

from collections import Counter

import pytest

from checker.silicon.asking import presets_that_allow
from checker.silicon.compare import Comparison, Event, compare
from checker.silicon.operations import Special, Table
from checker.silicon.run import Cell, Observation, Torn
from models.properties import BACK, CLAIMED, OLD_OR_NEW, STALE, TORN
from models.protocol import Policy, PolicyKind
from tests.silicon.small import guarded, question, writing

ONE_STORE = writing((1, 5))


def number(table: Table, who: str = "", via: int = 0) -> int:
    """The number of an event, as the harness counts them."""
    index = next(i for i, w in enumerate(table.whos) if w.meaning == ((who,) if who else ()))
    return via * len(table.whos) + index


def seen(asked: object, *cells: tuple[int, int, int, int], torn: tuple[Torn, ...] = ()) -> Comparison:
    """One execution for each (before, after, seen, event) at site 0."""
    allowed = asked.allowed()  # type: ignore[attr-defined]
    counted = Counter(Cell(before, after, 0, mask, event) for before, after, mask, event in cells)
    return compare(allowed, Observation(counted, list(torn), [len(cells)], trials=1, seconds=1.0))


def test_events_are_told_apart() -> None:
    table = question("text-poke-batch-to-probe").allowed().table
    assert table.events == (1 + 2) * 3 + len(Special)
    made = [Event.of(table, k) for k in range(table.events)]
    assert len(set(made)) == table.events
    assert [event.special for event in made[-len(Special) :]] == list(Special)


def test_the_old_after_the_end_is_not_allowed_behind_a_sync_and_breaks_a_property() -> None:
    asked = question("careful-call-to-call")
    table = asked.allowed().table
    end = len(table.operations)
    found = seen(asked, (end, end, 1, number(table, "A")))
    assert found.not_allowed == 1 and found.breaks == {(STALE, "stale"): 1}
    assert found.outcomes["ran, called A after the new"].where == {("end", "end"): 1}


def test_the_old_is_allowed_while_the_text_changes_and_before() -> None:
    asked = question("careful-call-to-call")
    table = asked.allowed().table
    found = seen(asked, (0, 0, 0, number(table, "A")), (1, 2, 0, number(table, "A")))
    assert not found.not_allowed and not found.breaks and found.outcomes["ran, called A"].count == 2


def test_what_breaks_a_property_that_the_model_cannot_break_is_not_allowed() -> None:
    """A second net: here the model is said to break nothing, whatever it allows."""
    asked = question("careful-call-to-call", without=["claim"])
    table = asked.allowed().table
    asked.allowed().breaks.clear()
    assert seen(asked, (1, 1, 0, table.special(Special.UNCLAIMED))).not_allowed == 1
    assert not seen(asked, (1, 1, 0, number(table, "A"))).not_allowed


def test_a_window_that_reaches_into_what_allows_it_is_enough() -> None:
    """Who began before the first store may have run the old, however late it was over."""
    asked = question("careful-call-to-call")
    table = asked.allowed().table
    end = len(table.operations)
    for called in "AB":
        throughout = seen(asked, (0, end, 0, number(table, called)))
        assert not throughout.not_allowed and not throughout.breaks
    assert seen(asked, (end - 1, end, 0, number(table, "A"))).not_allowed == 1


def test_a_trap_before_any_trap_byte_is_not_allowed() -> None:
    asked = question("careful-call-to-call")
    table = asked.allowed().table
    trapped = number(table, "B", via=1)
    assert seen(asked, (0, 0, 0, trapped)).not_allowed == 1
    assert not seen(asked, (2, 2, 0, trapped)).not_allowed


def test_what_the_handler_cannot_have_done_is_not_allowed() -> None:
    asked = question("careful-call-to-call")
    table = asked.allowed().table
    assert seen(asked, (2, 2, 0, number(table, "A", via=1))).not_allowed == 1


def test_a_trap_after_which_nobody_was_called_is_no_call() -> None:
    """The handler of the model calls B: one that skips the call does something else."""
    asked = question("careful-call-to-call")
    found = seen(asked, (2, 2, 0, number(asked.allowed().table, via=1)))
    assert found.not_allowed == 1 and found.breaks == {(OLD_OR_NEW, "missed"): 1}


def test_who_was_lost_on_the_way_to_the_new_counts_it_in_the_model_only() -> None:
    """In the model the new was called, and then not returned from; a thread that is lost never says whom it called."""
    asked = question(guarded(Policy(PolicyKind.EMULATE_NEW, pushes=False)))
    lost = asked.allowed().table.special(Special.LOST)
    assert seen(asked, (0, 0, 0, lost)).not_allowed == 1
    assert not seen(asked, (3, 3, 0, lost)).not_allowed


@pytest.mark.parametrize("kind", [Special.UNCLAIMED, Special.DEAD_CLAIM, Special.LOST, Special.FREED])
def test_the_complete_protocol_allows_nothing_special(kind: Special) -> None:
    asked = question("careful-call-to-call")
    table = asked.allowed().table
    found = seen(asked, (3, 3, 0, table.special(kind)))
    assert found.not_allowed == 1 and sum(found.breaks.values()) == 1


def test_without_the_claim_traps_are_unclaimed_and_that_is_allowed() -> None:
    asked = question("careful-call-to-call", without=["claim"])
    found = seen(asked, (1, 1, 0, asked.allowed().table.special(Special.UNCLAIMED)))
    assert not found.not_allowed and found.breaks == {(CLAIMED, "unclaimed"): 1}


def test_a_skipped_call_is_missed() -> None:
    asked = question("nop-then-back")
    found = seen(asked, (2, 2, 0, number(asked.allowed().table, "", via=1)))
    assert not found.not_allowed and found.breaks == {(OLD_OR_NEW, "missed"): 1}
    assert list(found.outcomes) == ["trap, skipped"]


def test_the_new_and_then_the_old_again() -> None:
    """Allowed by stale fetches, and not by those that read memory."""
    for machine, not_allowed in (("x86-linux", 0), ("x86-coherent", 1)):
        asked = question(ONE_STORE, on=machine)
        found = seen(asked, (0, 1, 1, number(asked.allowed().table, "A")))
        assert found.not_allowed == not_allowed and found.breaks == {(BACK, "back"): 1}


def torn(before: int, after: int, fetched: str | None, count: int = 5) -> Torn:
    code = bytes.fromhex(fetched) if fetched else None
    return Torn(before, after, 0, 11, code, bytes.fromhex("e851527374"), count)


def test_torn_bytes_are_matched_with_what_can_be_fetched() -> None:
    found = seen(question(ONE_STORE), torn=(torn(0, 1, "e811527374"), torn(0, 1, "e899527374", 2)))
    assert found.breaks == {(TORN, "torn"): 7} and found.not_allowed == 2
    assert found.outcomes["torn: e8 11 52 73 74"].means == "call 0xfffffffff5735216: torn, no function starts there"
    assert found.outcomes["torn: e8 99 52 73 74"].not_allowed == 2


def test_torn_before_the_first_store_is_not_allowed() -> None:
    end = len(question(ONE_STORE).allowed().table.operations)
    asked = question(writing((1, 5)), align="across-line")
    assert seen(asked, torn=(torn(0, end, "e811527374"),)).not_allowed == 0
    tampered = question("careful-call-to-call")
    assert seen(tampered, torn=(torn(0, 0, "e811527374"),)).not_allowed == 5


def test_torn_with_unknown_bytes_is_allowed_where_anything_torn_is() -> None:
    assert not seen(question(ONE_STORE), torn=(torn(0, 1, None),)).not_allowed
    assert seen(question(ONE_STORE, on="x86-coherent"), torn=(torn(0, 1, None),)).not_allowed == 5


def test_the_presets_that_allow_it_are_named() -> None:
    asked = question(ONE_STORE, on="x86-coherent", align="across-line")
    found = seen(asked, torn=(torn(0, 1, "e811527374"),))
    names = presets_that_allow(asked, found)["torn: e8 11 52 73 74"]
    assert "x86-linux" in names and "x86-amd" in names
    assert "x86-coherent" not in names and "x86-stale-instruction" not in names
    assert presets_that_allow(asked, seen(asked)) == {}


def test_what_was_not_seen_is_reported_with_the_number_of_tries() -> None:
    asked = question(ONE_STORE)
    table = asked.allowed().table
    found = seen(asked, (0, 1, 0, number(table, "A")), (0, 1, 0, number(table, "B")), (0, 0, 0, number(table, "A")))
    unseen = {u.says: u.tries for u in found.unseen}
    assert unseen == {"torn at site 0": 3, "ran “call A” at site 0 after the new": 3}
    assert not found.not_allowed
    late = question("careful-call-to-call", without=["sync-2"])
    table = late.allowed().table
    calls = number(table, "A")
    found = seen(late, (0, 0, 0, calls), (0, len(table.operations), 0, calls))
    assert {u.says: u.tries for u in found.unseen}["torn at site 0"] == 1  # not while there was nothing but the old
    after = seen(asked, (0, 1, 0, number(table, "A")), torn=(torn(0, 1, "e811527374"),))
    assert "torn at site 0" not in {u.says for u in after.unseen}
