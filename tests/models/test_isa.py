"""Claims: instructions are encoded as decoders read them, and names lie where no mixture leads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models import assembly
from models.assembly import Asm, addresses, arm64, power, riscv, x86
from models.machines import encoding
from models.machines import riscv as riscv_words
from models.machines.isa import LEAST, TRAPS, WIDTH, Isa, concurrent, decode, is_trap

WORD = 0xFFFFFFFF
TARGET = 0x10040  # of the name that `at` resolves
HERE = 0x10000
OTHERS = [isa for isa in Isa if isa is not Isa.X86]


def at(asm: Asm, address: int = HERE, target: int = TARGET) -> bytes:
    return asm.encode(address, lambda name: target)


def word(code: bytes) -> int:
    return int.from_bytes(code, "little")


# ---- encoders and decoders ------------------------------------------------------------------------------------------

READ_BACK = [
    (arm64.nop(), "nop"),
    (arm64.branch("f"), f"b {TARGET:#x}"),
    (arm64.branch_link("f"), f"bl {TARGET:#x}"),
    (arm64.mov(9, 0x1234), "mov x9, 0x1234"),
    (arm64.raw(0x54000040), f"b.eq {HERE + 8:#x}"),
    (arm64.trap(), "brk 0"),
    (riscv.nop(), "nop"),
    (riscv.auipc("f"), "auipc t0, 0"),
    (riscv.jalr("f"), "jalr t0, t0, 0x44"),  # from the auipc before
    (riscv.jal("f"), f"jal {TARGET:#x}"),
    (riscv.raw(0xA011), f"c.j {HERE + 4:#x}"),
    (riscv.raw(0x00000463), f"beqz zero, {HERE + 8:#x}"),
    (riscv.trap(), "ebreak"),
    (power.nop(), "nop"),
    (power.lis("f"), "lis r12, 1"),
    (power.ori("f"), "ori r12, r12, 0x40"),
    (power.branch("f"), f"b {TARGET:#x}"),
    (power.load_word(), "ld r12, 0(r2)"),
    (power.mtctr(), "mtctr r12"),
    (power.bctrl(), "bctrl"),
    (power.raw(0x3D80F234), "lis r12, -0xdcc"),
    (power.trap(), "trap"),
    (x86.nop(), "nop dword ptr [rax+rax]"),
    (x86.call("f"), f"call {TARGET:#x}"),
    (x86.jump("f"), f"jmp {TARGET:#x}"),
    (x86.push_rbp(), "push rbp"),
    (x86.mov_rbp_rsp(), "mov rbp,rsp"),
    (x86.raw(b"\x31\xc0"), "xor eax,eax"),
    (x86.trap(), "int3"),
]


@pytest.mark.parametrize(("asm", "text"), READ_BACK, ids=[f"{asm.isa.value}-{asm.says}" for asm, _ in READ_BACK])
def test_what_is_written_is_read_back(asm: Asm, text: str) -> None:
    code = at(asm)
    decoded = decode(asm.isa, code, HERE)
    assert (decoded.text, decoded.length) == (text, len(code))
    assert len(code) % LEAST[asm.isa] == 0
    assert decoded.harmless == (asm.says == "nop")


def capstone_of(code: bytes, address: int) -> tuple[int, str] | None:
    """Length and text of an x86 instruction, by the other decoder; None where there is none."""
    import capstone

    found = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm_lite(code + b"\x90" * 15, address, 1)
    return next(((size, f"{mnemonic} {operands}".strip()) for _, size, mnemonic, operands in found), None)


def agree(code: bytes, address: int) -> None:
    """Both decoders of x86 find an instruction of the same length, with the same target, or both find none."""
    first, second = decode(Isa.X86, code, address), capstone_of(code, address)
    assert (second is None) == (first.text == "no valid instruction"), (code.hex(), first, second)
    if second is not None:
        assert first.length == second[0], (code.hex(), first, second)
        if code[:1] in (b"\xe8", b"\xe9"):
            assert first.text == second[1], code.hex()


@pytest.mark.parametrize("asm", [asm for asm, _ in READ_BACK if asm.isa is Isa.X86], ids=lambda asm: asm.says)
def test_two_decoders_of_x86_agree_on_what_is_written(asm: Asm) -> None:
    agree(at(asm), HERE)


def test_every_recommended_no_op_is_one_harmless_instruction() -> None:
    for length in range(1, 10):
        code = at(x86.nop(length))
        agree(code, HERE)
        assert len(code) == length and decode(Isa.X86, code, HERE).harmless
    with pytest.raises(ValueError, match="1 to 9 bytes, not 10"):
        x86.nop(10)


@pytest.mark.parametrize("other", [x86.call("b"), x86.jump("b"), x86.nop(), x86.trap()], ids=lambda asm: asm.says)
def test_two_decoders_of_x86_agree_on_every_mixture(other: Asm) -> None:
    near = 0xFFFFFFFF81000000
    found = addresses(Isa.X86, "ab", near)
    codes = x86.call("a").encode(near, found.__getitem__), other.encode(near, found.__getitem__)
    codes = codes[0], codes[1] + codes[0][len(codes[1]) :]
    mixtures = {bytes(mixed) for mixed in product(*zip(*codes, strict=True))}
    assert len(mixtures) == 2 ** sum(a != b for a, b in zip(*codes, strict=True))
    for mixture in mixtures:
        agree(mixture, near)


@given(st.sampled_from(OTHERS), st.binary(max_size=12), st.integers(0, 1 << 40))
def test_all_bytes_decode_to_something(isa: Isa, code: bytes, page: int) -> None:
    decoded = decode(isa, code, page << 12)
    if decoded.text == "no valid instruction":
        assert (decoded.length, decoded.harmless) == (LEAST[isa], False)
    elif isa is Isa.RISCV:
        assert decoded.length == (4 if code[:1] and code[0] & 3 == 3 else 2)
    else:
        assert decoded.length == WIDTH[isa]


def test_an_instruction_whose_end_was_not_fetched() -> None:
    """RISC-V has more code behind; on the others there is no such place, as an instruction is aligned."""
    assert decode(Isa.RISCV, at(riscv.jal("f"))[:2], HERE).length == 4
    assert not decode(Isa.RISCV, at(riscv.nop())[:2], HERE).harmless
    for isa, nop in (Isa.ARM64, arm64.nop()), (Isa.POWER, power.nop()):
        assert decode(isa, at(nop)[:2], HERE).text == "no valid instruction"


def test_the_length_of_an_instruction_is_in_its_first_parcel() -> None:
    assert riscv_words.length(word(at(riscv.nop())[:2])) == 4 and riscv_words.length(word(riscv_words.PADDING)) == 2


@pytest.mark.parametrize(
    "asm", [arm64.nop(), riscv.nop(), riscv.raw(0x0001), power.nop(), x86.nop(1)], ids=lambda a: a.isa.value
)
def test_a_no_op_is_harmless_only_if_it_is_all(asm: Asm) -> None:
    assert decode(asm.isa, at(asm), HERE).harmless
    assert not decode(asm.isa, at(asm) + at(asm), HERE).harmless


@pytest.mark.parametrize("isa", Isa, ids=lambda isa: isa.value)
def test_traps_are_known_by_their_first_bytes(isa: Isa) -> None:
    assert is_trap(isa, TRAPS[isa]) and is_trap(isa, TRAPS[isa] + b"\x12\x34")
    assert not is_trap(isa, b"")
    for asm in (asm for asm, _ in READ_BACK if asm.isa is isa and at(asm) != TRAPS[isa]):
        assert not is_trap(isa, at(asm)), asm.says


def test_other_forms_of_traps() -> None:
    for asm, text in (
        (arm64.raw(0xD4200000 | 0x4321 << 5), "brk 0x4321"),
        (riscv.raw(0x9002), "c.ebreak"),
        (power.raw(0x7FE31008), "twu r3, r2"),  # unconditional, of other registers
    ):
        assert decode(asm.isa, at(asm), HERE).text == text
        assert is_trap(asm.isa, at(asm))
    for asm in arm64.raw(0xD4000001), power.raw(0x7C831008):  # svc #0; tweq r3, r2
        assert not is_trap(asm.isa, at(asm))


# ---- where branches and pairs lead ----------------------------------------------------------------------------------

EVEN = st.integers(0, 1 << 48).map(lambda n: 2 * n)
Pair = Callable[[int, int], bytes]


def pair(address: int, target: int) -> bytes:
    return at(riscv.auipc("f"), address, target) + at(riscv.jalr("f"), address + 4, target)


def unrounded(address: int, target: int) -> bytes:
    """A damaged pair: the upper part does not make up for the sign of the lower one."""
    far = target - address
    return encoding.word((far >> 12 & 0xFFFFF) << 12 | 0x297) + encoding.word((far & 0xFFF) << 20 | 0x282E7)


def leads_to(code: bytes, address: int) -> int | None:
    """Where auipc and jalr lead, worked out from what capstone reads; None where there are none."""
    first, second = (decode(Isa.RISCV, code[k : k + 4], address + k).text.replace(",", "").split() for k in (0, 4))
    if first[:2] != ["auipc", "t0"] or second[:3] != ["jalr", "t0", "t0"]:
        return None
    upper = int(first[2], 0) << 12
    return address + upper - (upper >> 31 << 32) + int(second[3], 0)


@given(EVEN, st.integers(-(1 << 30) + 0x400, (1 << 30) - 0x401).map(lambda n: 2 * n))
def test_a_pair_leads_to_its_target(address: int, far: int) -> None:
    assert leads_to(pair(address, address + far), address) == address + far


def test_a_damaged_pair_is_seen() -> None:
    """The two halves of the unrounded pair fit as long as the lower one is not negative, and never otherwise."""
    for far in range(-0x3000, 0x3000, 2):
        right = leads_to(unrounded(HERE, HERE + far), HERE) == HERE + far
        assert right == (far & 0xFFF < 0x800), hex(far)


@given(EVEN, st.integers(-(1 << 19), (1 << 19) - 1).map(lambda n: 2 * n))
def test_jal_leads_to_its_target(address: int, far: int) -> None:
    assume(address + far >= 0)
    assert decode(Isa.RISCV, at(riscv.jal("f"), address, address + far), address).text == f"jal {address + far:#x}"


@given(st.integers(1 << 26, 1 << 48), st.integers(-(1 << 25), (1 << 25) - 1), st.sampled_from(["b", "bl"]))
def test_branches_of_arm_lead_to_their_targets(base: int, units: int, mnemonic: str) -> None:
    address, target = 4 * base, 4 * (base + units)
    asm = arm64.branch("f") if mnemonic == "b" else arm64.branch_link("f")
    assert decode(Isa.ARM64, at(asm, address, target), address).text == f"{mnemonic} {target:#x}"


@given(st.integers(1 << 24, 1 << 48), st.integers(-(1 << 23), (1 << 23) - 1))
def test_branches_of_power_lead_to_their_targets(base: int, units: int) -> None:
    address, target = 4 * base, 4 * (base + units)
    assert decode(Isa.POWER, at(power.branch("f"), address, target), address).text == f"b {target:#x}"


@given(st.integers(0, (1 << 31) - 1))
def test_a_pair_of_power_makes_its_target(target: int) -> None:
    texts = [decode(Isa.POWER, at(asm, target=target), HERE).text for asm in (power.lis("f"), power.ori("f"))]
    upper, lower = (int(text.split()[-1], 0) for text in texts)
    assert texts[0].startswith("lis r12, ") and (lower == 0 or texts[1].startswith("ori r12, r12, "))
    assert upper << 16 | lower == target


FARTHEST = [
    (x86.call("f"), 5 + (1 << 31) - 1, 5 - (1 << 31), 1),
    (x86.jump("f"), 5 + (1 << 31) - 1, 5 - (1 << 31), 1),
    (arm64.branch("f"), (1 << 27) - 4, -(1 << 27), 4),
    (arm64.branch_link("f"), (1 << 27) - 4, -(1 << 27), 4),
    (riscv.auipc("f"), (1 << 31) - 0x802, -(1 << 31) + 0x800, 2),
    (riscv.jal("f"), (1 << 20) - 2, -(1 << 20), 2),
    (power.branch("f"), (1 << 25) - 4, -(1 << 25), 4),
]


@pytest.mark.parametrize(
    ("asm", "most", "least", "unit"), FARTHEST, ids=[f"{a.isa.value}-{a.says}" for a, *_ in FARTHEST]
)
def test_what_is_out_of_reach_is_refused(asm: Asm, most: int, least: int, unit: int) -> None:
    address = 1 << 40
    for far in most, least:
        at(asm, address, address + far)
        beyond = far + (unit if far == most else -unit)
        with pytest.raises(OverflowError, match=f"to {address + beyond:#x}: .*reaches"):
            at(asm, address, address + beyond)
    if unit > 1:
        with pytest.raises(ValueError, match=f"counts by {unit}"):
            at(asm, address, address + 1)


def test_what_does_not_fit_is_refused() -> None:
    for asm in power.lis("f"), power.ori("f"):
        for target in -1, 1 << 31:
            with pytest.raises(OverflowError, match="from 0 to 0x7fffffff"):
                at(asm, target=target)
    for register, value in (32, 0), (0, 1 << 16), (0, -1):
        with pytest.raises(ValueError, match="is 0 to"):
            arm64.mov(register, value)
    for raw in arm64.raw, power.raw:
        with pytest.raises(OverflowError):
            raw(1 << 32)
    with pytest.raises(OverflowError):
        riscv.raw(0x10000)  # the low bits say that it has 16
    assert len(at(riscv.raw(0x0001))) == 2 and len(at(riscv.raw(0x0013))) == 4


# ---- addresses for names --------------------------------------------------------------------------------------------

NEAR = {
    Isa.X86: st.integers(0, 0xFFFFFFFF81000000),
    Isa.ARM64: st.integers(0, 1 << 46).map(lambda n: 4 * n),
    Isa.RISCV: st.integers(0, 1 << 46).map(lambda n: 2 * n),
    Isa.POWER: st.integers(0, 1 << 28).map(lambda n: 4 * n),
}
NAMED: dict[Isa, Callable[[int, int], bytes]] = {
    Isa.X86: lambda address, target: at(x86.call("f"), address, target)[1:],
    Isa.ARM64: lambda address, target: at(arm64.branch("f"), address, target)[:3],
    Isa.RISCV: pair,
    Isa.POWER: lambda address, target: at(power.lis("f"), 0, target) + at(power.ori("f"), 0, target),
}


def fields_of(isa: Isa, address: int, target: int) -> list[int]:
    """What has to differ in the encodings of two targets: bytes, or the immediates of a pair."""
    code = NAMED[isa](address, target)
    if isa in (Isa.X86, Isa.ARM64):
        return list(code)
    first, second = word(code[:4]), word(code[4:])
    return [first >> 12, second >> 20] if isa is Isa.RISCV else [first & 0xFFFF, second & 0xFFFF]


def told_apart(isa: Isa, address: int, targets: list[int]) -> bool:
    columns = zip(*(fields_of(isa, address, target) for target in targets), strict=True)
    return all(len(set(column)) == len(targets) for column in columns)


@pytest.mark.parametrize("isa", Isa, ids=lambda isa: isa.value)
@given(data=st.data(), count=st.integers(1, 14), away=st.integers(-(1 << 12), 1 << 12).map(lambda n: 4 * n))
def test_names_are_told_apart_in_every_field_and_in_reach(isa: Isa, data: st.DataObject, count: int, away: int) -> None:
    near = data.draw(NEAR[isa])
    names = [f"f{k}" for k in range(count)]
    found = addresses(isa, names, near)
    assert list(found) == names and found == addresses(isa, names, near)
    assert told_apart(isa, near + away, list(found.values()))
    for asm in (asm for asm, _ in READ_BACK if asm.isa is isa):
        for target in found.values():
            at(asm, near + away, target)


@pytest.mark.parametrize("isa", Isa, ids=lambda isa: isa.value)
def test_as_many_names_as_there_is_room_for(isa: Isa) -> None:
    """To the last one they keep the promise; with one more there is no room, and the sentence says how many there is for."""
    near = 1 << 30
    with pytest.raises(OverflowError, match="can tell") as refused:
        addresses(isa, [str(k) for k in range(5000)], near)
    room = int(str(refused.value).split(" can tell ")[1].split()[0])
    targets = list(addresses(isa, [str(k) for k in range(room)], near).values())
    assert told_apart(isa, near, targets) and told_apart(isa, near + 0x3FFC, targets)
    with pytest.raises(OverflowError):
        addresses(isa, [str(k) for k in range(room + 1)], near)


def test_names_too_close_to_each_other_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With steps of a page the lower halves of a pair are alike, with steps of a word the upper ones of a displacement."""
    damaged = {
        isa: replace(spread, step=0x1000 if isa is Isa.RISCV else 4) for isa, spread in assembly._SPREADS.items()
    }
    monkeypatch.setattr(assembly, "_SPREADS", damaged)
    for isa in Isa:
        assert not told_apart(isa, HERE, list(addresses(isa, "ab", HERE).values())), isa


def strays(address: int, targets: list[int]) -> list[int]:
    """Where mixtures of two pairs lead, 16 bits from the one or the other, that are neither of them."""
    codes = [pair(address, target) for target in targets]
    parcels = [[code[k : k + 2] for k in range(0, 8, 2)] for code in codes]
    mixtures = {b"".join(mixed) for mixed in product(*zip(*parcels, strict=True))} - {*codes}
    return [place for mixture in mixtures if (place := leads_to(mixture, address)) is not None]


@given(NEAR[Isa.RISCV], st.integers(-(1 << 12), 1 << 12).map(lambda n: 4 * n))
def test_mixtures_of_two_pairs_lead_to_neither(near: int, away: int) -> None:
    targets = list(addresses(Isa.RISCV, ("old", "new", "third"), near).values())
    for two in pairwise(targets):
        found = strays(near + away, list(two))
        assert len(found) >= 2, "each half of the one with the other half of the other"
        assert not {*found} & {*targets}


def test_halves_that_fit_together_are_seen() -> None:
    """Two targets in the same page: a mixture of their pairs does lead to one of them."""
    assert strays(HERE, [HERE + 0x1000, HERE + 0x1000]) == []
    mixed = pair(HERE, HERE + 0x1100)[:4] + pair(HERE, HERE + 0x1200)[4:]
    assert leads_to(mixed, HERE) == HERE + 0x1200


# ---- what may be exchanged ------------------------------------------------------------------------------------------

LISTED = [arm64.nop(), arm64.branch("f"), arm64.branch_link("f"), arm64.trap()]
LISTED += [arm64.raw(0xD4000000 | 7 << 5 | kind) for kind in (1, 2, 3)]  # svc, hvc, smc
UNLISTED = [arm64.mov(9, 1), arm64.raw(0x54000040), arm64.raw(0xD5033FDF), arm64.raw(0xD503203F), arm64.raw(0xF94003E0)]


def test_arm_exchanges_what_is_listed_and_nothing_else() -> None:
    for old, new in product(LISTED, LISTED):
        assert concurrent(Isa.ARM64, at(old), at(new)), (old.says, new.says)
    for old, new in product(LISTED, UNLISTED):
        assert not concurrent(Isa.ARM64, at(old), at(new)), (old.says, new.says)
        assert not concurrent(Isa.ARM64, at(new), at(old)), (old.says, new.says)
    both = at(arm64.nop()) + at(arm64.branch("f"))
    assert not concurrent(Isa.ARM64, both, both), "that is not one instruction"
    assert not concurrent(Isa.ARM64, both[:2], both[4:6])


@given(st.sampled_from([word(at(asm)) for asm in LISTED + UNLISTED]), st.integers(0, WORD), st.integers(0, WORD))
def test_what_is_listed_is_what_capstone_calls_so(start: int, first: int, second: int) -> None:
    code = encoding.word(start ^ first & second & -second)  # one bit may be another
    listed = decode(Isa.ARM64, code, HERE).text.split()[0] in ("b", "bl", "brk", "hvc", "nop", "smc", "svc")
    assert concurrent(Isa.ARM64, code, code) == listed


@pytest.mark.parametrize("isa", [Isa.X86, Isa.RISCV, Isa.POWER], ids=lambda isa: isa.value)
def test_others_exchange_nothing(isa: Isa) -> None:
    codes = [at(asm) for asm, _ in READ_BACK if asm.isa is isa] + [at(asm) for asm in LISTED]
    assert not any(concurrent(isa, old, new) for old, new in product(codes, codes))
