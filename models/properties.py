"""What must never happen, and what is only an exposure: names, sentences, use cases, and the judging of executions.

An execution counts by its meaning: who is called. Let S[0], S[1], … be the meanings before and after each round, e
the rounds begun and b the rounds returned when the effect takes place; it is judged against S[b..e].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.protocol import NOBODY, Meaning
from models.system.errors import Location, ModelError

TORN = "no-torn-instruction"
CLAIMED = "traps-claimed"
FREED = "no-freed-code"
STALE = "new-after-return"
EARLY = "old-before-start"
OLD_OR_NEW = "old-or-new"
BALANCED = "balanced-stack"
BACK = "never-back"
COMPLETES = "completes"

PROPERTIES: dict[str, str] = {
    TORN: "what a CPU executes is a whole version of the instruction, or the trap byte first",
    CLAIMED: "every trap finds its claim, and no handler reads a claim after its release",
    FREED: "no PC, return address or saved PC is in code that is not allocated",
    STALE: "an execution after an update has returned does not mean what was before that update",
    EARLY: "an execution before an update has begun does not mean what comes after it",
    OLD_OR_NEW: "an execution means the old or the new: somebody is called where both call, and nobody else",
    BALANCED: "every call, real or emulated, returns once to the right place",
    BACK: "a CPU that ran the new meaning does not run the old one again at that site",
    COMPLETES: "the patcher finishes: it can from everywhere, and it does in every fair run",
}


def refuse_unknown(name: str, who: str, where: Location) -> None:
    """Raises ModelError, with the nearest name, where `who` speaks of a property that there is not."""
    if name not in PROPERTIES:
        from difflib import get_close_matches

        near = get_close_matches(name, PROPERTIES, 1)
        hint = f"; did you mean “{near[0]}”?" if near else ""
        raise ModelError(f"{who} speaks of “{name}”, which is no property{hint}", where)


MISSED = "missed"
WRONG_TARGET = "wrong-target"

# What each use case accepts: reported as an exposure, with a witness, and not fatal. None stands for every kind.
ACCEPTED: dict[str, frozenset[tuple[str, str | None]]] = {
    "livepatch": frozenset({(BACK, None)}),
    "tracing": frozenset({(BACK, None), (OLD_OR_NEW, MISSED)}),
}


def is_accepted(use_case: str, property_: str, kind: str) -> bool:
    """Whether `use_case` lives with `property_` being broken in this way."""
    accepted = ACCEPTED[use_case]
    return (property_, None) in accepted or (property_, kind) in accepted


def is_required(use_case: str, property_: str) -> bool:
    """Whether `use_case` requires the property, if not each kind of it."""
    return (property_, None) not in ACCEPTED[use_case]


@dataclass(frozen=True)
class Verdict:
    """How one execution is judged: the property that it breaks and how, or nothing ("")."""

    property: str = ""
    kind: str = ""


def judge(meaning: Meaning, meanings: Sequence[Meaning], begun: int, returned: int, safe: Sequence[str]) -> Verdict:
    """The verdict on an execution with `meaning` when `begun` rounds have begun and `returned` have returned.

    >>> judge(("B",), [("A",), ("B",)], begun=1, returned=0, safe=())
    Verdict(property='', kind='')
    >>> judge(NOBODY, [("A",), ("B",)], begun=1, returned=0, safe=())
    Verdict(property='old-or-new', kind='missed')
    """
    if meaning in meanings[returned : begun + 1]:
        return Verdict()
    if meaning in meanings[:returned]:
        return Verdict(STALE, "stale")
    if meaning in meanings[begun + 1 :]:
        return Verdict(EARLY, "early")
    if meaning != NOBODY and all(name in safe for name in meaning):
        return Verdict()
    return Verdict(OLD_OR_NEW, MISSED if meaning == NOBODY else WRONG_TARGET)


def latest_round(meaning: Meaning, meanings: Sequence[Meaning], begun: int, latest: int) -> int | None:
    """The first round not before `latest` whose meaning this is: what the CPU has come to. None: it went back."""
    return next((j for j in range(latest, begun + 1) if meanings[j] == meaning), None)


def who(meaning: Meaning) -> str:
    """A meaning in words."""
    return " and ".join(meaning) if meaning else "nobody"


def reason(verdict: Verdict, meaning: Meaning, meanings: Sequence[Meaning], begun: int, returned: int) -> str:
    """Why an execution is judged so, in the user's words."""
    allowed = " or ".join(dict.fromkeys(who(m) for m in meanings[returned : begun + 1]))
    if verdict.property == STALE:
        return f"the update had returned, so only {allowed} may be called, yet this execution called {who(meaning)}"
    if verdict.property == EARLY:
        return f"the update had not begun, so only {allowed} may be called, yet this execution called {who(meaning)}"
    if verdict.kind == MISSED:
        return f"nobody was called although old and new both call ({allowed}): the original function ran"
    return f"this execution called {who(meaning)}, but only {allowed} may be called"
