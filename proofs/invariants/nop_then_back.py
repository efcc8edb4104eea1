"""Why nop-then-back tears nothing: the bytes change as in careful call-to-call, whatever the handler does meanwhile."""

from __future__ import annotations

from proofs.invariants.common import FINISHING, INT3

WRITTEN = {"nop-then-back": (*INT3, *FINISHING)}
