"""Batched stubs: the handler redirects each site to a small stub of its own, which calls the new target.

Linus Torvalds' idea of January and April 2019; no lifetime rule was ever posted. The variants are the possible rules:
stubs that run with interrupts off until their jump, freed after the last sync; or with interrupts on, freed after
RCU-tasks, or (wrongly) after the last sync.
"""

from collections.abc import Iterator, Sequence

from models.protocol import Allocate, Expect, Free, Site, Step, Strategy, WaitForTasks, redirect
from models.skeletons import int3_update


def update(sites: Sequence[Site], interrupts_off: bool, waits: bool) -> Iterator[Step]:
    """Stubs first, then the usual steps with a handler that redirects, then the stubs are freed."""
    for site in sites:
        yield Allocate(site.stub(interrupts_off))
    yield from int3_update(sites, redirect)
    if waits:
        yield WaitForTasks()
    for site in sites:
        yield Free(site.stub(interrupts_off))


SOURCE = "lkml 1901.1/05182 and mails of 2019-04-29 (Torvalds); lifetime rules are ours"

strategy = Strategy(
    name="batched-stubs",
    says="redirect to a stub per site, interrupts off until its jump; freed after the last sync",
    source=SOURCE,
    steps=lambda sites: update(sites, interrupts_off=True, waits=False),
    expects=(Expect(), Expect(nmi=True, sites=1, violated=["no-freed-code"])),
)

tasks = Strategy(
    name="batched-stubs-tasks",
    says="redirect to a stub per site, interrupts on; freed after RCU-tasks",
    source=SOURCE,
    steps=lambda sites: update(sites, interrupts_off=False, waits=True),
    expects=(Expect(sites=1), Expect(sites=1, nmi=True)),
)

early = Strategy(
    name="batched-stubs-early",
    says="redirect to a stub per site, interrupts on; freed after the last sync, which is too early",
    source=SOURCE,
    steps=lambda sites: update(sites, interrupts_off=False, waits=False),
    expects=(Expect(sites=1, violated=["no-freed-code"]),),
)
