"""K8: a theory, refuted: a sync accepted between the trap and the handler's count."""

from models.bug import Bug
from models.protocol import Expect
from models.strategies.text_poke_batch import strategy as today

bug = Bug(
    identifier="K8",
    title="Can a CPU answer a sync before its handler has counted itself?",
    date="2025-06",
    architecture="x86",
    subsystem="text_poke",
    source="lkml 2025-06; no fix was needed",
    story="A CPU traps. Before its handler takes a count it accepts the sync interrupt; the poker drops its own counts, and "
    "the handler finds none. That needs interrupts to be on when the handler is entered, which they are not: breakpoints "
    "use an interrupt gate.",
    before=today,
    found=Expect(machine="x86-trap-gate", violated=["traps-claimed/unclaimed"], sites=1),
    shows=["fetches the trap byte", "takes the IPI", "drops its count", "nobody claims it"],
    after=today,
    fixed=Expect(sites=1),
    model="A negative case: found with a trap gate, absent with the interrupt gate that the kernel has.",
)
