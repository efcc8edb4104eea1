"""Why always calling the iterator holds: as permanent updates; text that goes back to a no-op finds the list empty."""

from __future__ import annotations

from proofs.invariants.common import FINISHING
from proofs.invariants.permanent import UPDATE

WRITTEN = {"always-iterator": (*UPDATE, *FINISHING)}
