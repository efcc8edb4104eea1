"""Why careful call-to-call holds: nobody can fetch a tail that does not go with the first byte that he can fetch."""

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
FREEING = (*UPDATE, code_follows, nobody_in_freed_code)

WRITTEN = {
    "careful-call-to-call": (*UPDATE, *FINISHING),
    "careful-call-to-call-third": (*UPDATE, *FINISHING),
    "careful-call-to-call-old": (*UPDATE, *FINISHING),
    "careful-call-to-call-frees-early": UPDATE,  # that nobody is in freed code does not hold
    "careful-call-to-call-frees": (*FREEING, *FINISHING),
}
