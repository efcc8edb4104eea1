"""Why permanent updates hold: the text changes once, from nothing, and data is coherent."""

from __future__ import annotations

from proofs.invariants.common import (
    FINISHING,
    claim_follows,
    data_follow,
    no_answer_from_the_handler,
    no_way_back,
    nobody_has_crashed,
    nothing_runs_in_an_nmi,
    rounds_follow,
    sees_only_since_its_last_sync,
    text_follows,
    waiting_tasks,
)

UPDATE = (
    text_follows,
    claim_follows,
    data_follow,
    rounds_follow,
    sees_only_since_its_last_sync,
    no_answer_from_the_handler,
    no_way_back,
    nothing_runs_in_an_nmi,
    waiting_tasks,
    nobody_has_crashed,
)

WRITTEN = {"permanent": (*UPDATE, *FINISHING)}
