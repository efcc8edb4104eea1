"""Why careful call-to-call holds: nobody can fetch a tail that does not go with the first byte that he can fetch."""

from __future__ import annotations

from proofs.invariants.common import FINISHING, INT3, code_follows, nobody_in_freed_code

FREEING = (*INT3, code_follows, nobody_in_freed_code)

WRITTEN = {
    "careful-call-to-call": (*INT3, *FINISHING),
    "careful-call-to-call-third": (*INT3, *FINISHING),
    "careful-call-to-call-old": (*INT3, *FINISHING),
    "careful-call-to-call-frees-early": INT3,  # that nobody is in freed code does not hold
    "careful-call-to-call-frees": (*FREEING, *FINISHING),
}
