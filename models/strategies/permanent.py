"""Permanent updates: the text changes once, from nothing to a fixed function; later updates change data it reads.

Rostedt's plan of 2019-04-29. The text never holds an old call that a CPU could miss, and data is read coherently.
"""

from collections.abc import Iterator, Sequence

from models.protocol import Call, Expect, Function, Round, Site, Step, Store, Strategy, Word, emulate_new
from models.skeletons import int3_update

A, B = Function("A"), Function("B")
TARGET = Word("target")
DISPATCH = Function("dispatch", reads=TARGET)


def install(sites: Sequence[Site]) -> Iterator[Step]:
    """The data first, then the text, once and for ever."""
    yield Store(TARGET, [A])
    yield from int3_update(sites, emulate_new)


def retarget(sites: Sequence[Site]) -> Iterator[Step]:
    """One store: the fixed function reads it at its next execution."""
    yield Store(TARGET, [B])


strategy = Strategy(
    name="permanent",
    says="none→A by text once, then →B by data that the fixed target reads",
    source="mail of 2019-04-29 (Rostedt)",
    rounds=(Round(Call(DISPATCH), [A], install), Round(Call(DISPATCH), [B], retarget)),
    expects=(Expect(),),
)
