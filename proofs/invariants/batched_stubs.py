"""Why batched stubs hold: a stub is freed when nobody is in it, as interrupts are off there or its tasks are waited for."""

from __future__ import annotations

from proofs.invariants.common import (
    FINISHING,
    claim_follows,
    code_follows,
    no_answer_from_the_handler,
    no_way_back,
    nobody_has_crashed,
    nobody_in_freed_code,
    nothing_runs_in_an_nmi,
    rounds_follow,
    sees_only_since_its_last_sync,
    text_follows,
    waiting_tasks,
)

UPDATE = (
    text_follows,
    claim_follows,
    rounds_follow,
    sees_only_since_its_last_sync,
    no_answer_from_the_handler,
    no_way_back,
    nothing_runs_in_an_nmi,
    waiting_tasks,
    nobody_has_crashed,
)

WRITTEN = {
    "batched-stubs": (
        *UPDATE,
        code_follows,
        *FINISHING,
    ),  # interrupts are off in the stubs: the last sync waits for them
    "batched-stubs-tasks": (*UPDATE, code_follows, nobody_in_freed_code, *FINISHING),
    "batched-stubs-early": UPDATE,  # that nobody is in freed code does not hold
}
