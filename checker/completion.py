"""Completion in the shell: a short script for each shell that asks the command itself, so that nothing is said twice.

What can stand at the end of a line follows from the parser (commands, options, choices) and from what is shipped. The
scripts fall back to file names where there is no answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from checker.options import HOLDS, NAMES

# bash hands over a line that it has broken at `:` and `=`, too; `$2` is what it takes for the word.
BASH = """\
_check_strategy() {
    local words word
    read -ra words <<< "${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=("")
    word=${words[-1]}
    mapfile -t COMPREPLY < <("$1" completion bash -- "${words[@]:1}" 2> /dev/null)
    COMPREPLY=("${COMPREPLY[@]#"${word%"$2"}"}")
}
complete -o default -F _check_strategy check-strategy
"""
ZSH = """\
#compdef check-strategy
_check_strategy() {
    local -a found
    found=("${(@f)$("${words[1]}" completion zsh -- "${(@)words[2,CURRENT]}" 2> /dev/null)}")
    if [[ -n ${found[1]} ]]; then compadd -- "${found[@]}"; else _files; fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _check_strategy "$@"; else compdef _check_strategy check-strategy; fi
"""
FISH = """\
function __check_strategy
    set -l words (commandline -opc)
    $words[1] completion fish -- $words[2..] (commandline -ct) 2> /dev/null
end
complete -c check-strategy -a "(__check_strategy)"
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def answer(options: Any) -> int:
    """Print the script of a shell or, for that script, what the last of some words may become."""
    if options.words:
        from checker.cli import _parser

        print("".join(f"{found}\n" for found in complete(_parser(), options.words)), end="")
    else:
        print(SCRIPTS[options.shell], end="")
    return HOLDS


def complete(whole: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """What the last of `words`, which stand after the command's name, may become; it may be empty."""
    *before, last = words
    if not before and not last.startswith("-"):
        return sorted(name for name in {*NAMES, *_strategies([])} if name.startswith(last))
    commands = _commands(whole)
    implied = not before or before[0] not in commands
    parser = whole if not before else commands["check" if implied else before[0]]
    return sorted({word for word in _answers(parser, before if implied else before[1:], last) if word.startswith(last)})


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _answers(parser: argparse.ArgumentParser, before: Sequence[str], last: str) -> Iterator[str]:
    """Everything that may stand after the words `before` of one command, whatever it begins with."""
    options = {name: action for action in parser._actions for name in action.option_strings}
    positional = [action for action in parser._actions if not action.option_strings]
    waiting: argparse.Action | None = None  # the option whose value comes next
    for word in before:
        if waiting is not None:
            waiting = None
        elif word in options:
            waiting = options[word] if options[word].nargs != 0 else None
        elif not word.startswith("-") and positional and positional[0].nargs not in ("*", "+"):
            positional.pop(0)
    name, is_option, _ = last.partition("=")
    if waiting is not None:
        yield from _values(waiting, before)
    elif is_option and name in options:
        yield from (f"{name}={value}" for value in _values(options[name], before))
    elif last.startswith("-"):
        yield from options
    elif positional:
        yield from _values(positional[0], before)


def _values(action: argparse.Action, before: Sequence[str]) -> Iterable[str]:
    """The values of one argument: its choices, or what its name stands for; none where that is free."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    return VALUES[action.dest](before) if action.dest in VALUES else ()


def _strategies(_: Sequence[str]) -> Iterable[str]:
    from models.library import shipped

    return shipped()


def _machines(_: Sequence[str]) -> Iterable[str]:
    from models.machines.fetch import PRESETS

    return PRESETS


def _bugs(_: Sequence[str]) -> Iterable[str]:
    from models.library import bug_lines

    return bug_lines()


def _properties(_: Sequence[str]) -> Iterable[str]:
    from models.properties import PROPERTIES

    return PROPERTIES


def _transitions(_: Sequence[str]) -> Iterable[str]:
    from models.scenario import TRANSITIONS

    return TRANSITIONS


def _labels(before: Sequence[str]) -> Iterable[str]:
    """The labels of the strategy that is named on the line."""
    from models.library import shipped
    from models.plan import plan
    from models.scenario import Scenario

    for word in before:
        if word in shipped():
            return plan(shipped()[word], Scenario()).labels
    return ()


VALUES: dict[str, Callable[[Sequence[str]], Iterable[str]]] = {
    "strategy": _strategies,
    "strategies": _strategies,
    "machine": _machines,
    "identifier": _bugs,
    "check": _properties,
    "transition": _transitions,
    "without": _labels,
}
