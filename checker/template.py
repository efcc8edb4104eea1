"""The strategy file that `check-strategy new` writes: commented, and it checks as it stands."""

import re

TEMPLATE = '''\
"""What this strategy does, in a sentence or two.

Check it:          check-strategy {path}
Leave steps out:   check-strategy explain {path}
The vocabulary:    python -c "import models.protocol; help(models.protocol)"
"""

from models.protocol import TRAP, Claim, Expect, Release, Strategy, Sync, Write, emulate_new


def steps(sites):
    """One round: every site goes from site.old to site.new, in the order of the yields."""
    # The trap handler must know what to do before the first trap byte can be seen. Other policies: skip,
    # emulate_old, emulate(Function("third")), redirect (to a stub), retry.
    yield Claim(emulate_new, sites)
    for site in sites:
        yield Write(site.first_byte, TRAP)
    # Every CPU serialises: from here on nobody fetches the old first byte.
    yield Sync()
    for site in sites:
        yield Write(site.tail, site.new)
    yield Sync()
    for site in sites:
        yield Write(site.first_byte, site.new)
    yield Sync()
    yield Release()


strategy = Strategy(
    name="{name}",
    says="one line for the list",
    source="where the protocol comes from: a commit, a mail",
    steps=steps,
    # What you expect; `check-strategy check --expected {path}` compares. A property that is not named must hold.
    expects=[Expect(), Expect(transition="nop:call")],
)
'''


def fill(path: str, name: str) -> str:
    """The template for a file at `path`."""
    plain = re.sub(r"[^\w./ -]", "_", path)
    return TEMPLATE.replace("{path}", plain).replace("{name}", re.sub(r"[^\w-]+", "-", name))
