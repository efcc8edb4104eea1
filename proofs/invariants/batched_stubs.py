"""Why batched stubs hold: a stub is freed when nobody is in it, as interrupts are off there or its tasks are waited for."""

from __future__ import annotations

from proofs.invariants.common import FINISHING, INT3, code_follows, nobody_in_freed_code

WRITTEN = {
    "batched-stubs": (
        *INT3,
        code_follows,
        *FINISHING,
    ),  # interrupts are off in the stubs: the last sync waits for them
    "batched-stubs-tasks": (*INT3, code_follows, nobody_in_freed_code, *FINISHING),
    "batched-stubs-early": INT3,  # that nobody is in freed code does not hold
}
