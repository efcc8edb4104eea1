"""What a user did wrong gets one line: what, in which file, on which line; and the exit status that says whose fault."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from checker.cli import main

HEAD = """\
from models.protocol import *
from models.protocol import Site, Stub
"""
STRATEGY = 'strategy = Strategy("mine", "says", "source", steps=steps)\n'
GOOD = """\
def steps(sites):
    yield Claim(skip, sites)
    yield Release()
"""


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, standard output, standard error of the command; a wrong usage may also exit by itself."""
    try:
        status = main(arguments)
    except SystemExit as wanted:
        status = wanted.code if isinstance(wanted.code, int) else 1
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, int]:
    """The message and line with which a file is refused; there is one line, exit 3, and nothing on standard output."""
    file = tmp_path / "mine.py"
    file.write_text(text)
    status, out, err = run([str(file), *options], capsys)
    assert status == 3, err
    assert out == "" or "--expected" in options  # expectations before the wrong one are told
    assert err.endswith("\n") and err.count("\n") == 1, f"more than one line: {err!r}"
    assert "Traceback" not in err
    start = f"check-strategy: {file}:"
    assert err.startswith(start), err
    line, _, message = err[len(start) :].partition(":")
    return message.strip(), int(line)


def steps_refused(
    body: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], mark: str = "# here"
) -> tuple[str, int, int]:
    """As `refused`, for a file with these steps; also the line that `mark` stands on."""
    text = HEAD + textwrap.dedent(body) + STRATEGY
    expected = next(n for n, line in enumerate(text.splitlines(), 1) if mark in line)
    return *refused(text, tmp_path, capsys), expected


# ---- the file does not load -----------------------------------------------------------------------------------------


def test_a_file_whose_import_fails_is_named_with_the_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, line = refused(f"{HEAD}import no_such_module_anywhere\n{GOOD}{STRATEGY}", tmp_path, capsys)
    assert line == 3 and "no_such_module_anywhere" in message


def test_a_name_that_the_vocabulary_lacks_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, line = refused(f"\n\nfrom models.protocol import Synch\n{GOOD}{STRATEGY}", tmp_path, capsys)
    assert line == 3 and "Synch" in message


def test_a_syntax_error_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, line = refused(f"{HEAD}\ndef steps(sites:\n    yield\n{STRATEGY}", tmp_path, capsys)
    assert line == 4 and "not valid Python" in message


def test_an_indentation_error_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, line = refused(f"{HEAD}def steps(sites):\nyield 1\n{STRATEGY}", tmp_path, capsys)
    assert line == 4 and "not valid Python" in message


def test_what_is_raised_while_the_file_loads_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, line = refused(f"{HEAD}x = 1\ny = 1 // (x - 1)\n{GOOD}{STRATEGY}", tmp_path, capsys)
    assert line == 4 and "ZeroDivisionError" in message


def test_a_file_without_a_strategy_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, line = refused(HEAD + GOOD, tmp_path, capsys)
    assert line == 1 and "no Strategy" in message


def test_an_empty_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused("", tmp_path, capsys) == ("the file defines no Strategy and no Program", 1)


def test_a_file_that_exits_while_it_loads_is_refused_like_any_that_raises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message, line = refused(f"{HEAD}import sys\nsys.exit(0)\n{GOOD}{STRATEGY}", tmp_path, capsys)
    assert line == 4 and "SystemExit" in message


def test_a_strategy_without_steps_is_refused_where_it_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message, line = refused(f'{HEAD}\n\nstrategy = Strategy("mine", "says", "source")\n', tmp_path, capsys)
    assert line == 5 and "either steps or rounds" in message


# ---- the steps go wrong ---------------------------------------------------------------------------------------------


def test_what_steps_raise_has_the_line_that_raised_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = """\
    def helper(sites):
        return sites[99]  # here

    def steps(sites):
        yield Claim(skip, sites)
        yield Write(helper(sites).first_byte, TRAP)
    """
    message, line, expected = steps_refused(body, tmp_path, capsys)
    assert line == expected and "IndexError" in message


def test_a_message_of_several_lines_is_still_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = """\
    def steps(sites):
        yield Sync()
        raise ValueError("this\\nthat")  # here
    """
    message, line, expected = steps_refused(body, tmp_path, capsys)
    assert line == expected and "this" in message


def test_steps_that_take_no_sites_are_blamed_on_the_users_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = """\
    def steps():  # here
        yield Sync()
    """
    message, _, _ = steps_refused(body, tmp_path, capsys)
    assert "TypeError" in message


def test_steps_that_return_nothing_are_blamed_on_the_users_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = """\
    def steps(sites):  # here
        Sync()
    """
    steps_refused(body, tmp_path, capsys)


@pytest.mark.parametrize("what", ["None", "42", "'sync'", "Sync", "sites[0]", "[Sync(), Sync()]"])
def test_what_is_no_step_has_the_line_that_yields_it(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message, line, expected = steps_refused(f"def steps(sites):\n    yield {what}  # here\n", tmp_path, capsys)
    assert line == expected and "is not a step" in message


def test_what_is_no_step_has_the_line_that_yields_it_also_below_another_generator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = """\
    def inner(sites):
        yield Sync()
        yield 42  # here

    def steps(sites):
        yield Sync()
        yield from inner(sites)
    """
    message, line, expected = steps_refused(body, tmp_path, capsys)
    assert line == expected and "42" in message


@pytest.mark.parametrize(
    "place", ["sites[0].bytes(3, 9)", "sites[0].bytes(-1, 2)", "sites[0].bytes(2, 2)", "Site(7, Nop(), Nop()).tail"]
)
def test_a_write_outside_its_site_has_its_line(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = f"def steps(sites):\n    yield Sync()\n    yield Write({place}, sites[0].new)  # here\n"
    message, line, expected = steps_refused(body, tmp_path, capsys)
    assert line == expected and "outside the site" in message


@pytest.mark.parametrize("content", ["None", "3", "'cc'", "Function('A')"])
def test_a_write_of_what_is_neither_bytes_nor_an_instruction_has_its_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = f"def steps(sites):\n    yield Write(sites[0].tail, {content})  # here\n"
    _, line, expected = steps_refused(body, tmp_path, capsys)
    assert line == expected


def test_a_write_of_too_few_bytes_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "def steps(sites):\n    yield Write(sites[0].tail, b'abc')  # here\n"
    message, line, expected = steps_refused(body, tmp_path, capsys)
    assert line == expected and "3 of the 4 bytes" in message


@pytest.mark.parametrize(
    ("before", "wrong", "words"),
    [
        ("", "Release()", "never claimed"),
        ("yield Claim(skip, sites); yield Release()", "Release()", "never claimed"),
        ("yield Claim(skip, sites)", "Discard()", "never counted"),
        ("", "ResumeMachine()", "never stopped"),
        ("", "ReadUnlock()", "never entered"),
        ("", "Free(Function('nobody'))", "never allocated"),
        ("", "Free(sites[0].stub())", "never allocated"),
        ("yield Allocate(sites[0].stub(True))", "Free(sites[0].stub(False))", "never allocated"),
        ("yield Free(sites[0].old.calls)", "Free(sites[0].old.calls)", "free already"),
        ("s = sites[0].stub(); yield Allocate(s); yield Free(s)", "Free(s)", "never allocated"),
        ("", "Allocate(Stub(9, False))", "does not exist"),
    ],
)
def test_a_step_without_its_partner_has_its_line(
    before: str, wrong: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = f"def steps(sites):\n    {before or 'pass'}\n    yield {wrong}  # here\n"
    message, line, expected = steps_refused(body, tmp_path, capsys)
    assert line == expected and words in message


def test_steps_that_never_end_have_the_line_that_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = """\
    def steps(sites):
        while True:
            yield Sync()  # here
    """
    message, line, expected = steps_refused(body, tmp_path, capsys)
    assert line == expected and "never ends" in message


def test_too_many_functions_to_tell_apart_are_blamed_on_the_strategy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = """\
    def steps(sites):
        for n in range(20):
            yield Write(sites[0].whole, Call(Function(f"f{n}")))
    """
    message = steps_refused(body, tmp_path, capsys, "Strategy(")[0]
    assert "no room" in message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("Write(sites[0], sites[0].new)", "Write: place takes bytes of a site, such as site.tail, not Site("),
        ("Write(None, sites[0].new)", "Write: place takes bytes of a site, such as site.tail, not None"),
        ("Claim('x', sites)", "Claim: policy takes Policy(…), not 'x'"),
        ("Claim(emulate_new, 5)", "Claim: sites takes a list (Site(…), …), not 5"),
        ("Claim(emulate_new, [5])", "Claim: sites takes a list (Site(…), …), not 5"),
        ("Claim(emulate, sites)", "Claim: policy takes Policy(…), not <function emulate"),
        ("Sync(label=['a'])", "Sync: label takes a text, not ['a']"),
        ("Sync(label='\\x1b[2J')", "Sync: label has characters that do not print: '\\x1b[2J'"),
        ("Store(Word('w'), Function('A'))", "Store: functions takes a list (Function(…), …), not Function("),
        ("Free(sites[0])", "Free: code takes Stub(…) or Function(…), not Site("),
        ("Write(sites[0].whole, Call('A'))", "Call: function takes Function(…), not 'A'"),
    ],
)
def test_a_step_of_the_wrong_things_has_its_line_and_the_field(
    wrong: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message, line, expected = steps_refused(f"def steps(sites):\n    yield {wrong}  # here\n", tmp_path, capsys)
    assert line == expected and words in message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("5, 'says', 'source', steps=steps", "Strategy: name takes a text, not 5"),
        ("'mine', 'says', 'source', steps=5", "Strategy: steps takes a function or None, not 5"),
        ("'mine', '\\ud800', 'source', steps=steps", "Strategy: says has characters that do not print: '\\ud800'"),
        ("'mine', 'says', '\\x1b[2J', steps=steps", "Strategy: source has characters that do not print"),
        ("'mine', 'says', 'source', steps=steps, expects=Expect()", "expects takes a list (Expect(…), …), not Expect("),
    ],
)
def test_a_strategy_of_the_wrong_things_has_its_line_and_the_field(
    wrong: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message, line = refused(f"{HEAD}{GOOD}strategy = Strategy({wrong})\n", tmp_path, capsys, "--json", "-")
    assert line == 6 and words in message


def test_what_is_said_may_have_several_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"{HEAD}{GOOD}strategy = Strategy('mine', 'two\\nlines', 'source', steps=steps)\n")
    status, out, err = run([str(file), "--cpus", "1", "--sites", "1"], capsys)
    assert err == "" and "two lines" in out and status != 3


@pytest.mark.parametrize("where", ["", "    yield Sync()\n    "])
def test_an_exception_that_cannot_say_what_it_is_still_has_its_line(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = "class Silent(Exception):\n    def __str__(self):\n        raise ValueError\n"
    steps = f"def steps(sites):\n{where}raise Silent  # here\n" if where else f"{GOOD}raise Silent  # here\n"
    message, line, expected = steps_refused(silent + steps, tmp_path, capsys)
    assert line == expected and message.endswith("Silent")


# ---- programs -------------------------------------------------------------------------------------------------------

PROGRAM = """\
from models.assembly import arm64
from models.program import *

cpu, patcher = Thread("cpu", many=True), Thread("patcher")
code = Region("code", {"a": [arm64.nop()], "b": [arm64.branch("there")]})
flag = word("flag")
ON_CPU
ON_PATCHER
program = Program("mine", "says", "source", threads={cpu: [Execute(code), *on_cpu], patcher: on_patcher})
"""


def program(on_cpu: str = "", on_patcher: str = "Write(code.whole, 'b')") -> str:
    """A file with a program: its line 7 is what each CPU does, its line 8 what the patcher does."""
    return PROGRAM.replace("ON_CPU", f"on_cpu = [{on_cpu}]").replace("ON_PATCHER", f"on_patcher = [{on_patcher}]")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("Write(code, 'b')", "Write: place takes bytes of a region, such as region.whole, not Region("),
        ("Store(flag, 5)", "5 is not a value of"),
        ("Store(5, flag)", "Store: target takes Read(…), not 5"),
        ("Note(flag, 5)", "5 is not a value of"),
        ("Atomic((flag, 5))", "5 is not a value of"),
        ("Atomic(flag)", "Atomic: pairs takes"),
        ("While(True, [])", "While: condition takes"),
        ("Choose(Sync())", "Choose: branches takes"),
    ],
)
def test_a_step_of_a_program_of_the_wrong_things_has_its_line(
    wrong: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message, line = refused(program(on_patcher=wrong), tmp_path, capsys)
    assert line == 8 and words in message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("Check(~flag, 'new-after-retrun')", "did you mean “new-after-return”"),
        ("Fail('nonsense')", "Fail speaks of “nonsense”, which is no property"),
        ("Execute(code, {'a': Check(~flag, 'old-or-new')})", "Execute: then takes a dictionary"),
        ("If(flag, [Sync])", "not <class 'models.protocol.Sync'>; are its parentheses missing?"),
    ],
)
def test_a_step_of_many_threads_that_means_nothing_has_its_line(
    wrong: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message, line = refused(program(on_cpu=wrong), tmp_path, capsys)
    assert line == 7 and words in message


def test_what_is_said_of_a_word_has_to_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = program(on_patcher="Store(flag, 1)").replace('word("flag")', 'word("flag", says="\\x1b[2J")')
    message, line = refused(text, tmp_path, capsys)
    assert line == 6 and "cannot be what is said" in message


def test_what_is_no_step_in_a_body_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, line = refused(program(on_patcher="Sync"), tmp_path, capsys)
    assert line == 9 and "Sync" in message and "parentheses" in message


def test_two_regions_of_one_name_are_told_apart_by_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = program("Execute(other)").replace("flag =", "other = Region('code', code.versions); flag =")
    message, line = refused(text, tmp_path, capsys)
    assert line in (5, 6) and message == "two regions are called “code”"


def test_what_a_file_does_not_define_is_not_called_a_strategy_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(program())
    status, _, err = run([f"{file}:other"], capsys)
    assert status == 3 and "defines nothing called “other”; it has mine" in err


# ---- what it expects does not exist ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        ("violated=['no-torn-instructon']", "did you mean “no-torn-instruction”"),
        ("exposed=['nonsense/missed']", "nonsense"),
        ("machine='arm64'", "arm64"),
        ("machine='x86-linux,gate=none'", "none"),
        ("use_cases=['tracking']", "tracking"),
        ("transition='jmp:call'", "jmp:call"),
        ("cpus=0", "cpus"),
        ("cpus='two'", "Expect: cpus takes a number, not 'two'"),
        ("violated='completes'", "Expect: violated takes a list (a text, …), not 'completes'"),
        ("sites=-1", "sites"),
    ],
)
def test_an_expectation_of_what_does_not_exist_has_its_line(
    expectation: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        f"{HEAD}{GOOD}strategy = Strategy(\n    'mine', 'says', 'source', steps=steps,\n"
        f"    expects=[Expect(),\n             Expect({expectation})],\n)\n"
    )
    message, line = refused(text, tmp_path, capsys)
    assert line == 9 and words in message


def test_an_expectation_that_leaves_out_an_unknown_step_has_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        f"{HEAD}{GOOD}strategy = Strategy(\n    'mine', 'says', 'source', steps=steps,\n"
        f"    expects=[Expect(),\n             Expect(without=['nonsense'])],\n)\n"
    )
    message, line = refused(text, tmp_path, capsys, "--expected")
    assert line == 9 and "nonsense" in message


def test_two_strategies_of_one_name_in_a_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{HEAD}{GOOD}a = Strategy('mine', 's', 's', steps=steps)\nb = Strategy('mine', 's', 's', steps=steps)\n"
    message, _ = refused(text, tmp_path, capsys)
    assert "mine" in message


# ---- the command line is wrong --------------------------------------------------------------------------------------


def wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that says what is wrong (argparse puts the usage before it); exit status 2, nothing answered."""
    status, out, err = run(arguments, capsys)
    assert status == 2, err
    assert out == "" or {"--json", "--keep-generated"} & set(arguments)  # the answer is not lost with the file
    assert "Traceback" not in err
    *usage, last = err.splitlines()
    assert last.startswith("check-strategy")
    assert all(line.startswith(("usage:", " ")) for line in usage), err
    return last


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("nop-then-bak", "nop-then-back"),
        ("careful-cal-to-call", "careful-call-to-call"),
        ("chek", "check"),
        ("stopmachine", "stop-machine"),
    ],
)
def test_an_unknown_strategy_gets_the_nearest_names(name: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = wrong_usage([name], capsys)
    assert f"“{name}”" in message and near in message


@pytest.mark.parametrize("command", ["check", "explain", "catalogue", "diff"])
def test_every_command_refuses_an_unknown_strategy(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["zzzzqqqq", "zzzzqqqq"] if command == "diff" else ["zzzzqqqq"]
    assert "check-strategy list" in wrong_usage([command, *names], capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--machine", "x68-linux"], "x86-linux"),
        (["--machine", "x86-linux,gaet=trap-gate"], "gaet"),
        (["--machine", "x86-linux,gate=trap"], "trap-gate"),
        (["--machine", "x86-linux,gate"], "toggle=value"),
        (["--machine", "x86-linux,order=ascending"], "order"),
        (["--transition", "call:jmp"], "call:jmp"),
        (["--without", "nonsense"], "nonsense"),
        (["--cpus", "0"], "0"),
        (["--sites", "-1"], "-1"),
        (["--rounds", "zero"], "zero"),
        (["--max-states", "0"], "0"),
        (["--use-case", "tracking"], "tracking"),
        (["--engine", "warp"], "warp"),
        (["--rounds", "9"], "9 rounds"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_an_option_that_means_nothing_is_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in wrong_usage(["nop-then-back", *options], capsys)


def test_an_unknown_toggle_is_not_answered_with_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean x86" not in wrong_usage(["nop-then-back", "--machine", "x86-linux,gaet=trap-gate"], capsys)


def test_an_unknown_label_is_answered_with_the_labels(capsys: pytest.CaptureFixture[str]) -> None:
    message = wrong_usage(["nop-then-back", "--without", "sync-9"], capsys)
    assert all(label in message for label in ("sync-1", "claim", "trap", "tail", "first-byte", "release"))


@pytest.mark.parametrize("name", ["permanent", "always-iterator"])
@pytest.mark.parametrize("options", [["--transition", "call:call"], ["--rounds", "2"]])
def test_a_strategy_with_its_own_sequence_refuses_transition_and_rounds(
    name: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "own sequence" in wrong_usage([name, *options], capsys)


def test_no_command_at_all_is_a_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    wrong_usage([], capsys)


@pytest.mark.parametrize("option", ["--json", "--keep-generated"])
def test_a_target_that_cannot_be_written_is_named(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "missing" / "out.file"
    message = wrong_usage(["nop-then-back", "--cpus", "1", "--sites", "1", option, str(target)], capsys)
    assert str(target) in message


def test_a_target_that_is_a_directory_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "directory"
    target.mkdir()
    message = wrong_usage(["nop-then-back", "--cpus", "1", "--sites", "1", "--json", str(target)], capsys)
    assert str(target) in message
    assert [p.name for p in tmp_path.iterdir()] == ["directory"]


def test_a_strategy_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run([str(tmp_path / "none.py")], capsys)
    assert status in (2, 3) and str(tmp_path / "none.py") in err and err.count("\n") == 1


def test_new_leaves_an_existing_file_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text("precious")
    assert str(file) in wrong_usage(["new", str(file)], capsys)
    assert file.read_text() == "precious"


def test_new_wants_a_python_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong_usage(["new", str(tmp_path / "mine.txt")], capsys)
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"{HEAD}1 // 0\n")
    status, _, err = run([str(file), "--debug"], capsys)
    assert status == 3 and "Traceback" in err and err.splitlines()[-1].startswith(f"check-strategy: {file}:3:")


@pytest.mark.parametrize("names", [["nop-then-back"], ["nop-then-back", "permanent", "stop-machine"]])
def test_diff_of_one_or_three_is_a_wrong_usage(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "two" in wrong_usage(["diff", *names], capsys)
