"""Why stop-machine holds: nobody runs while the text changes, and everybody serialises before he runs again."""

from __future__ import annotations

from proofs.invariants.common import (
    FINISHING,
    code_follows,
    nobody_has_crashed,
    nobody_in_freed_code,
    parked_while_text_changes,
    rounds_follow,
    sees_only_since_its_last_sync,
    text_follows,
    waiting_tasks,
)

UPDATE = (
    text_follows,
    rounds_follow,
    parked_while_text_changes,
    sees_only_since_its_last_sync,
    waiting_tasks,
    nobody_has_crashed,
)

WRITTEN = {
    "stop-machine": (*UPDATE, *FINISHING),
    "stop-machine-frees-early": UPDATE,  # that nobody is in freed code does not hold
    "stop-machine-frees": (*UPDATE, code_follows, nobody_in_freed_code, *FINISHING),
}
