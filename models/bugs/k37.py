"""K37: a trampoline was freed while a preempted task was still on it."""

from models.bug import Bug
from models.protocol import Expect
from models.strategies.careful_call_to_call import frees, frees_early

bug = Bug(
    identifier="K37",
    title="Wait for tasks before a dynamic trampoline is freed",
    date="2014 to 2017",
    architecture="x86",
    subsystem="ftrace",
    source="Linux 12cce594fa8f, 0598e4f08e3d",
    story="A task is preempted on a dynamic trampoline, for any length of time. The patcher has changed the site, every CPU "
    "has serialised, and the trampoline is freed. The task resumes in memory that is no longer code.",
    before=frees_early,
    found=Expect(sites=1, preempt=True, violated=["no-freed-code/freed"]),
    shows=["executes “call A”", "frees A"],
    after=frees,
    fixed=Expect(sites=1, preempt=True),
    model="The trampoline is the old callee. The shortest trace needs no preemption: a CPU that is still inside is enough.",
)
