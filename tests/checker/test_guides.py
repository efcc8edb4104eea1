"""Claims: what the guides show a reader can be typed in as it stands, and comes out as they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from checker.cli import main

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def verdict(name: str, output: str) -> str:
    return next(line.split()[2] for line in output.splitlines() if line.startswith(name))


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main([*words, "--use-case", "livepatch"])
    return status, capsys.readouterr().out


def test_every_whole_file_of_a_guide_does_what_it_expects(tmp_path: Path) -> None:
    whole = [
        (page, code)
        for page in ("writing-a-strategy.md", "writing-a-program.md")
        for code in blocks(page)
        if "import" in code and "expects" in code
    ]
    assert {page for page, _ in whole} == {"writing-a-strategy.md", "writing-a-program.md"}
    for number, (_, code) in enumerate(whole):
        file = tmp_path / f"model_{number}.py"
        file.write_text(code, encoding="utf-8")
        assert main(["check", "--expected", str(file)]) == 0, code


def test_the_ten_minutes_of_the_guide_to_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, mended = blocks("writing-a-program.md")[:2]
    (old_line,) = [line for line in first.splitlines() if line.strip().startswith("patcher:")]
    file = tmp_path / "key.py"
    file.write_text(first, encoding="utf-8")
    arm = (str(file),)

    status, said = asked(capsys, *arm)
    assert "arm64-dic0" in said
    assert (status, verdict("new-after-return", said)) == (1, "VIOLATED")
    assert "4 steps" in said

    assert main([str(file), "--machine", "x86-linux"]) == 2
    assert "choose another machine" in capsys.readouterr().err

    later = first.replace(old_line.strip(), mended.strip()).replace("Region, Thread", "Region, Sync, Thread")
    file.write_text(later, encoding="utf-8")
    status, said = asked(capsys, *arm)
    assert (status, verdict("new-after-return", said)) == (0, "proved")
    status, said = asked(capsys, *arm, "--without", "maintain-key")
    assert verdict("new-after-return", said) == "VIOLATED"
    status, said = asked(capsys, str(file), "--machine", "arm64-dic1", "--without", "maintain-key")
    assert verdict("new-after-return", said) == "proved"
    assert main(["explain", str(file)]) == 0
    said = capsys.readouterr().out
    assert "● maintain-key" in said and "without maintain-key: new-after-return, 7 steps" in said
    assert main(["matrix", str(file)]) == 0
    assert "maintain-key: needed on arm64-dic0; elsewhere it protects nothing" in capsys.readouterr().out
