"""Why nop-then-back tears nothing: the bytes change as in careful call-to-call, whatever the handler does meanwhile."""

from __future__ import annotations

from proofs.invariants.careful_call_to_call import UPDATE
from proofs.invariants.common import FINISHING

WRITTEN = {"nop-then-back": (*UPDATE, *FINISHING)}
