"""Hypothesis strategies for whole models: steps of the whole vocabulary, in an order that may make no sense.

Half of what is drawn is a known sequence, shipped or in words, with a few steps changed; half is any list of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from models.machines.fetch import PRESETS, X86_LINUX, machine
from models.plan import plan
from models.scenario import TRANSITIONS
from models.system.errors import ModelError, ScenarioError
from tests.fuzz.drawn import FUNCTIONS, POLICIES, Drawn, Edit, Own, _shipped

TOGGLES = {
    "granularity": ("byte", "aligned-4", "aligned-8", "line", "instruction"),
    "order": ("any", "ascending"),
    "store_atomicity": ("byte", "aligned-8", "line", "instruction"),
    "havoc": ("on", "off"),
    "trap_rule": ("off",),
    "iret_serialises": ("on", "off"),
    "gate": ("interrupt-gate", "trap-gate"),
}


def _varied() -> list[str]:
    """Every preset, and every preset with one toggle changed."""
    found = list(PRESETS)
    for name in PRESETS:
        for toggle, values in TOGGLES.items():
            for value in values:
                changed = f"{name},{toggle}={value}"
                try:
                    made = machine(changed)
                except ScenarioError:
                    continue  # has no meaning
                if replace(made, name="", says="") != replace(PRESETS[name], name="", says=""):
                    found.append(changed)
    return found


MACHINES = st.one_of(st.just(X86_LINUX.name), st.sampled_from(list(PRESETS)), st.sampled_from(_varied()))
RANGES = ("0:1", "1:5", "0:5", "0:1", "1:5", "0:5", "0:2", "1:3", "3:5", "2:4", "4:5", "0:4", "1:2")
BYTES = {
    1: ("e8", "90", "cc", "0f"),
    2: ("cc90", "6690", "e811"),
    4: ("11223344", "1f440000"),
    5: ("cc11223344", "9090909090"),
}
LISTS = ("A", "A,B", "B", "A,A", "caller")
TEXTS = (
    "nop",
    "A",
    "B",
    "caller",
    "caller",
    "second-caller",
    "section",
    "sleeper",
    "closed-caller",
    "probe over nop",
    "probe over A",
)
SITES = st.sampled_from(("all", "all", "all", "0", "1", "backwards"))

INT3 = ("claim new", "write 0:1 trap", "sync", "write 1:5 new", "sync", "write 0:1 new", "sync", "release")
COUNTED = (INT3[0] + " counted", *INT3[1:], "wait-handlers", "discard")
SKELETONS = (
    INT3,
    COUNTED,
    (*INT3, "wait-tasks", "free old"),
    (*INT3, "wait-readers", "free old"),
    ("allocate", "claim redirect", *INT3[1:], "wait-tasks", "free-stub"),
    ("allocate off", "claim redirect", *INT3[1:], "free-stub off"),
    ("stop", "write 0:5 new", "resume", "wait-tasks", "free old"),
    ("store hooks A", *INT3, "store hooks A,B"),
)


def _writes() -> st.SearchStrategy[str]:
    """A store of any range."""

    @st.composite
    def write(draw: st.DrawFn) -> str:
        place = draw(st.sampled_from(RANGES))
        start, stop = map(int, place.split(":"))
        raw = BYTES.get(stop - start, ()) if draw(st.integers(0, 5)) == 0 else ()
        whats = (
            ("trap",) if place == "0:1" and draw(st.booleans()) else ("new", "new", "new", "old", "nop", "third", "B")
        )
        what = draw(st.sampled_from(raw or whats))
        sites = draw(SITES)
        return f"write {place} {what}" + (f" {sites}" if sites != "all" else "")

    return write()


@st.composite
def words(draw: st.DrawFn) -> str:
    """One step, any."""
    kind = draw(
        st.sampled_from(
            ("write",) * 5 + ("sync",) * 4 + ("claim",) * 3 + ("store", "plain", "plain", "plain", "stub", "free")
        )
    )
    match kind:
        case "write":
            return draw(_writes())
        case "claim":
            policy = draw(st.sampled_from(("new", "old", *POLICIES)))
            counted = draw(st.sampled_from(("", "", " counted")))
            sites = draw(SITES)
            return f"claim {policy}{counted}" + (f" {sites}" if sites != "all" else "")
        case "store":
            word = draw(st.sampled_from(("hooks", "hooks", "other")))
            return f"store {word} {draw(st.sampled_from(LISTS))}" if draw(st.integers(0, 4)) else f"store {word}"
        case "plain":
            return draw(
                st.sampled_from(
                    (
                        "release",
                        "wait-handlers",
                        "wait-readers",
                        "wait-tasks",
                        "discard",
                        "stop",
                        "resume",
                        "lock",
                        "unlock",
                    )
                )
            )
        case "stub":
            what = draw(st.sampled_from(("allocate", "free-stub")))
            return what + draw(st.sampled_from(("", "", " off", " 0")))
        case "free":
            return "free " + draw(st.sampled_from(("old", "old", "new", "A", "caller", "sleeper")))
    return "sync"


def sensible(drawn: Sequence[str]) -> tuple[str, ...]:
    """Without the steps that a plan refuses for want of their partner."""
    found: list[str] = []
    claimed = counted = locked = stopped = False
    stubs: set[str] = set()
    for word in drawn:
        kind = word.split()[0]
        stub = word.partition(" ")[2]
        keep = {
            "release": claimed,
            "discard": counted,
            "unlock": locked,
            "resume": stopped,
            "free-stub": stub in stubs,
            "claim": "redirect" not in word or bool(stubs),
        }.get(kind, True)
        if not keep:
            continue
        found.append(word)
        match kind:
            case "claim":
                claimed, counted = True, "counted" in word
            case "release":
                claimed = False
            case "lock" | "unlock":
                locked = kind == "lock"
            case "stop" | "resume":
                stopped = kind == "stop"
            case "allocate":
                stubs.add(stub)
            case "free-stub":
                stubs.discard(stub)
    return tuple(found)


@st.composite
def edits(draw: st.DrawFn, most: int = 3) -> tuple[Edit, ...]:
    """A few changes to a list of steps."""
    found = []
    for _ in range(draw(st.integers(0, most))):
        kind = draw(st.sampled_from(("drop", "drop", "move", "swap", "double", "policy", "counted", "insert")))
        at = draw(st.integers(0, 11))
        to = draw(st.integers(0, 11)) if kind in ("move", "swap", "double") else 0
        what = draw(words()) if kind == "insert" else ""
        what = draw(st.sampled_from([p for p in POLICIES if p != "redirect"])) if kind == "policy" else what
        found.append(Edit(kind, at, to, what))
    return tuple(found)


@st.composite
def lists(draw: st.DrawFn, most: int) -> tuple[str, ...]:
    """The steps of one round: any, or a known sequence."""
    if draw(st.booleans()):
        return draw(st.sampled_from(SKELETONS))
    found = draw(st.lists(words(), min_size=1, max_size=most))
    return sensible(found) if draw(st.integers(0, 7)) else tuple(found)


@st.composite
def sequences(draw: st.DrawFn) -> tuple[Own, ...]:
    """Rounds of their own; what they mean follows mostly from the text."""
    found = []
    for _ in range(draw(st.integers(1, 2))):
        text = draw(st.sampled_from(TEXTS))
        found.append(Own(text, draw(meanings(text)), draw(lists(5))))
    return tuple(found)


def meanings(text: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Whom a text may be said to call."""
    if "caller" in text:
        return st.sampled_from(((), ("A",), ("A", "B")))
    plain = {"nop": (), "probe over nop": ("probed",), "probe over A": ("probed",)}.get(text, (text,))
    return st.sampled_from((plain, plain, plain, ("A",)))


@st.composite
def drawn(draw: st.DrawFn, small: bool = False) -> Drawn:
    """A strategy in a scenario. `small`: with one CPU and one site."""
    made = draw(_strategies())
    made = replace(
        made,
        rereads=draw(st.sampled_from((False, False, False, True))),
        offset=draw(st.sampled_from((0, 0, 0, 0, 3, 5, 60, 61, 62, 63))),
        machine=draw(MACHINES),
        cpus=1 if small else draw(st.integers(1, 2)),
        sites=1 if small else draw(st.sampled_from((1, 1, 2))),
        preempt=draw(st.sampled_from((False, False, False, True))),
        nmi=draw(st.sampled_from((False, False, False, True))),
    )
    if draw(st.integers(0, 3)) == 0:
        try:
            labels = plan(made.strategy(), made.scenario()).labels
        except ModelError:
            return made  # as it is: whoever checks it wants to see that
        if labels:
            made = replace(made, without=(draw(st.sampled_from(labels)),))
    return made


@st.composite
def _strategies(draw: st.DrawFn) -> Drawn:
    kind = draw(st.sampled_from(("words", "words", "shipped", "own")))
    changes = draw(edits())
    if kind == "own":
        before = draw(st.sampled_from(TEXTS))
        return Drawn(own=draw(sequences()), edits=changes, before=before, means=draw(meanings(before)))
    times = {
        "transition": draw(st.sampled_from((None, *TRANSITIONS))),
        "rounds": draw(st.sampled_from((None, None, 2))),
    }
    if kind == "shipped":
        name = draw(st.sampled_from(list(_shipped())))
        return Drawn(shipped=name, edits=changes, **({} if _shipped()[name].rounds else times))  # type: ignore[arg-type]
    safe = draw(st.sampled_from(((), ("third",))))
    new_first = draw(st.sampled_from((False,) * 7 + (True,)))
    return Drawn(words=draw(lists(8)), edits=changes, starts_with_new=new_first, safe=safe, **times)  # type: ignore[arg-type]


assert set(TEXTS) - {"nop", "probe over nop", "probe over A"} <= set(FUNCTIONS)
