"""Always call the iterator and take the hit: the text only ever goes between nop and “call iterator”.

Who is called is a list that the iterator reads; call→call never happens.
"""

from collections.abc import Callable, Iterator, Sequence

from models.protocol import NOBODY, Call, Expect, Function, Nop, Round, Site, Step, Store, Strategy, Word, emulate_new
from models.skeletons import int3_update

A, B = Function("A"), Function("B")
LIST = Word("list", NOBODY)
ITERATOR = Function("iterator", reads=LIST)


def install(sites: Sequence[Site]) -> Iterator[Step]:
    """The list before the call that reads it."""
    yield Store(LIST, [A])
    yield from int3_update(sites, emulate_new)


def relist(*functions: Function) -> Callable[[Sequence[Site]], Iterator[Step]]:
    """Change the list alone."""

    def steps(sites: Sequence[Site]) -> Iterator[Step]:
        yield Store(LIST, functions)

    return steps


def remove(sites: Sequence[Site]) -> Iterator[Step]:
    """Empty the list first: whoever is still in the iterator finds nobody."""
    yield Store(LIST, [])
    yield from int3_update(sites, emulate_new)


strategy = Strategy(
    name="always-iterator",
    says="none→{A}→{A,B}→{B}→none; the site calls an iterator over a list",
    source="mail of 2019-04-29 (Rostedt: always call the iterator)",
    rounds=(
        Round(Call(ITERATOR), [A], install),
        Round(Call(ITERATOR), [A, B], relist(A, B)),
        Round(Call(ITERATOR), [B], relist(B)),
        Round(Nop(), [], remove),
    ),
    expects=(Expect(),),
)
