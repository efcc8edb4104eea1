"""Why text-poke-batch holds: as careful call-to-call, with a count on each CPU that guards the table of sites."""

from __future__ import annotations

from proofs.invariants.common import (
    BYTES,
    FINISHING,
    code_follows,
    counted,
    crashed_by_unclaimed_traps_only,
    handlers_end_before_the_table_goes,
    handles_what_it_found,
    nobody_has_crashed,
    nobody_in_freed_code,
)

UPDATE = (*BYTES, counted, nobody_has_crashed)
UNSORTED = (*BYTES, handles_what_it_found, crashed_by_unclaimed_traps_only)  # no more than that holds
TO_PROBE = (*UPDATE, handlers_end_before_the_table_goes)  # the trap byte stays, so the last sync is not the end
FREEING = (*UPDATE, code_follows, nobody_in_freed_code)

WRITTEN = {
    "text-poke-batch": (*UPDATE, *FINISHING),
    "text-poke-batch-to-probe": (*TO_PROBE, *FINISHING),
    "text-poke-batch-unsorted": UNSORTED,
    "text-poke-batch-frees-early": UPDATE,  # that nobody is in freed code does not hold
    "text-poke-batch-frees": (*FREEING, *FINISHING),
}
