"""Sequences of steps that several strategies share; part of the public vocabulary of strategy files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.protocol import TRAP, Claim, Policy, Release, Site, Step, Sync, Write


def int3_update(sites: Sequence[Site], policy: Policy, counted: bool = False) -> Iterator[Step]:
    """Most x86 strategies: claim `sites` (`policy`, `counted`), trap byte, tail, first byte, a sync after each, release.

    Source: Linux fd4363fff3d9 (2013), smp_text_poke_batch_finish.
    """
    yield Claim(policy, sites, counted)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    yield Sync()
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()
    yield Release()
