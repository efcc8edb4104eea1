"""How is a system said in Promela, the language of SPIN: one process with one state, one `d_step` per move?

Assertions and the question of progress are in the same text, asleep until a macro wakes them (`-DCHECK…`,
`-DPREMISE…`, `-DPROGRESS`), so that what is counted is the transition system and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from checker.export.checks import Check, check_of, checks
from checker.export.moves import Cell, Cells, Move, schedule
from checker.export.names import Names
from checker.export.printer import AND, ATOM, BITS, SUM, Labels, Pieces, Printer, Text, inside
from models.system.expressions import (
    FALSE,
    TRUE,
    Add,
    BitAnd,
    Bits,
    Constant,
    Enum,
    Every,
    Expr,
    If,
    Subtract,
    Type,
    Variable,
    both,
    constant,
    either,
)
from models.system.system import Fairness, TransitionSystem

PROMELA_WORDS = """
    active assert atomic bit bool break byte c_code c_decl c_expr c_state c_track chan d_proctype d_step do else
    empty enabled end eval eventually fi for full get_priority goto hidden if implies in init inline int len
    local ltl mtype nempty never nfull notrace np_ od of pc_value pid print printf printm proctype provided
    release return run select separate set_priority short show skip strong timeout trace true false typedef
    unless unsigned until weak xr xs always accept progress accept_all stopped
"""
C_WORDS = """
    auto case char const continue default double enum extern float inline long register restrict signed sizeof
    static struct switch union void volatile while now main trpt boq ot tt ii max mix final rand rot uchar
    ulong ushort uint getframe wasnew state this trans errors depth hmax index p0 p1 reading writing linux unix
    assert exit abort memcpy memset printf malloc free
"""

Group = tuple[Fairness, str, int | None]


def bits(type_: Type) -> int:
    """How many bits a value of a type needs."""
    match type_:
        case Enum():
            return max(1, (len(type_.labels) - 1).bit_length())
        case Bits():
            return type_.width
    return 1


class _Promela(Printer):
    """An expression over cells in Promela. Quantifiers have been written out."""

    def on_arithmetic(self, node: Expr, a: Text, b: Text) -> Text:
        assert isinstance(node.type, Bits)
        left, right = inside(a, SUM), inside(b, SUM)
        if isinstance(node, (Add, Subtract)):
            right = inside(b, SUM + 1)
            return f"({left} {'+' if isinstance(node, Add) else '-'} {right}) & {(1 << node.type.width) - 1}", BITS
        return f"{left} {'&' if isinstance(node, BitAnd) else '|'} {right}", BITS

    def on_if(self, node: If, condition: Text, a: Text, b: Text) -> Text:
        return f"({condition[0]} -> {a[0]} : {b[0]})", ATOM

    def on_every(self, node: Every, body: Text) -> Text:
        raise TypeError("a quantifier that was not written out")


class _C(_Promela):
    """The same in C, for functions that SPIN takes over as they are."""

    def on_constant(self, node: Constant) -> Text:
        return str(node.value), ATOM

    def on_if(self, node: If, condition: Text, a: Text, b: Text) -> Text:
        return f"({condition[0]} ? {a[0]} : {b[0]})", ATOM


class _Writer:
    def __init__(self, system: TransitionSystem) -> None:
        self.system = system
        self.cells = Cells(system, open_=False)
        self.moves = self.cells.moves()
        self.running = ~self.cells.halted()
        names = self.names = Names([*PROMELA_WORDS.split(), *C_WORDS.split()])
        self.process = names.new(system.name)
        self.variables = {v: names.new(v.name) for v in system.variables}
        self.arrays = {c: names.new(c.name) for c in system.components}
        self.records = {c: names.new(f"{c.name}_t") for c in system.components}
        self.labels = Labels(system, names)
        self.parts = [names.new(word) for word in ("running", "looping", "turn", "round_done", "gone")]
        self.checks = {
            check: names.new(f"holds {check}" if not check.premise else f"no {check}") for check in checks(system)
        }
        self.groups = self._groups()
        self.printer = _Promela(self.labels, lambda v: self.place(self.cells.of[v]))
        self.pieces = Pieces()
        self.functions: dict[Expr, str] = {}
        self.function_lines: list[str] = []
        self.asides: list[str] = []
        self.lines: list[str] = []

    def _groups(self) -> dict[Group, str]:
        found: dict[Group, str] = {}
        for move in self.moves:
            group = self.group(move)
            if move.action.fairness.is_fair and move.changes is not FALSE and group not in found:
                actor = "" if group[1] == "patcher" else f" of {group[1]}"
                actor += "" if group[2] is None else f" {group[2]}"
                found[group] = self.names.new(f"group {group[0].value}{actor}")
        return found

    @staticmethod
    def group(move: Move) -> Group:
        actor = move.action.actor
        return move.action.fairness, actor.name if actor else move.action.who, move.instance

    def place(self, cell: Cell) -> str:
        component = cell.variable.component
        name = self.variables[cell.variable]
        return f"{self.arrays[component]}[{cell.owner}].{name}" if component else name

    def line(self, text: str = "", depth: int = 0) -> None:
        self.lines.append(("    " * depth + text).rstrip())

    def text(self, root: Expr, level: int = 0) -> str:
        """An expression; one that says things too often becomes a function in C."""
        if not self.pieces.is_long(root):
            return self.printer.text(root, level)
        if root not in self.functions:
            self.functions[root] = self._function(root)
        return f"c_expr {{ {self.functions[root]} }}"

    def _function(self, root: Expr) -> str:
        name = self.names.new("value")
        pieces, rest = self.pieces.cut(root)
        local = {variable: variable.name for variable, _ in pieces}
        c = _C(self.labels, lambda v: local[v] if v in local else f"now.{self.place(self.cells.of[v])}")
        self.function_lines += [f"static int {name}_(void)", "{"]
        self.function_lines += [f"    int {local[variable]} = {c.text(piece)};" for variable, piece in pieces]
        self.function_lines += [f"    return {c.text(rest)};", "}", f"\\#define {name} {name}_()"]
        return name

    # ---- the parts of the text -------------------------------------------------------------------------------------

    def all(self) -> str:
        options = self._options()
        self._header()
        self._declarations()
        self._check_macros()
        self._progress_macros()
        if self.function_lines:
            self.line("/* Expressions that would be long in Promela, which has no word for “let”. */")
            self.line("c_code {")
            self.lines += self.function_lines
            self.line("};")
            self.line()
        self.line(f"active proctype {self.process}()")
        self.line("{")
        self.line("end: do")
        self.lines += options
        self.line("    od")
        self.line("}")
        if self.system.progress:
            self._never()
        return "\n".join(self.lines) + "\n"

    def _header(self) -> None:
        counts = ", ".join(f"{self.system.counts[c]} × {c.name}" for c in self.system.components) or "no components"
        self.line("/*")
        for text in (
            f"{clean(self.system.name)} ({clean(counts)}), exported by check-strategy for SPIN.",
            "",
            "Count states and transitions:",
            "  spin -a MODEL && gcc -O3 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -m10000000",
            "“states, stored” are the states of the system; “transitions (= stored+matched)” are its transitions",
            "plus one, since SPIN counts the initial state. Compare with what check-strategy says of the same model.",
            "",
            "Look for errors: the same with macros for spin, “spin -DCHECK -a MODEL”; then counts mean nothing.",
            *self._macro_help(),
        ):
            self.line(f" * {text}")
        self.line(" */")
        self.line()

    def _macro_help(self) -> list[str]:
        known = list(self.checks)
        lines = ["  CHECK: all properties"] if any(not c.premise for c in known) else []
        for check in known:
            what = clean(str(check)) + (" is met (nothing bad)" if check.premise else "")
            lines.append(f"  {self.macro(check)}: {what}")
        if self.system.progress:
            lines += [
                "",
                f"Does every fair run get there ({clean(self.system.progress.property)})?",
                "  spin -DPROGRESS -a MODEL && gcc -O3 -DNOREDUCE -o pan pan.c && ./pan -E -a -m10000000",
                "An acceptance cycle is a fair run that never gets there.",
            ]
        return lines

    def macro(self, check: Check) -> str:
        """The macro that wakes a check."""
        name = self.checks[check].removeprefix("holds_").removeprefix("no_premise_of_")
        return f"{'PREMISE' if check.premise else 'CHECK'}_{name}"

    def _declarations(self) -> None:
        for type_, labels in self.labels.labels.items():
            self.line(f"/* {clean(type_.name)} */")
            for number, label in enumerate(labels):
                self.line(f"#define {label} {number}")
            self.line()
        for component in self.system.components:
            if self.system.locals(component):
                self.line(f"typedef {self.records[component]} {{")
                for variable in self.system.locals(component):
                    self._declare(variable, 1)
                self.line("};")
                self.line(f"{self.records[component]} {self.arrays[component]}[{self.system.counts[component]}];")
                self.line()
        for variable in self.system.globals:
            self._declare(variable, 0)
        for name in self.asides:
            self.line(f"hidden int {name};")
        self.line()
        if self.running is not TRUE:
            self.line(f"#define {self.parts[0]} ({self.text(self.running)})")
            self.line()

    def _declare(self, variable: Variable, depth: int) -> None:
        name, width = self.variables[variable], bits(variable.type)
        declared = f"bit {name}" if width == 1 else f"unsigned {name} : {width}"
        says = f"  /* {clean(variable.says)} */" if variable.says else ""
        start = f" = {self.text(constant(variable.initial, variable.type))}" if variable.initial else ""
        self.line(f"{declared}{start};{says}", depth)

    def _check_macros(self) -> None:
        if not self.checks:
            return
        for level in self._levels():
            self.lines += level
        for check, name in self.checks.items():
            self.line(f"#ifdef {self.macro(check)}")
            self.line("#define CHECKING")
            self.line(f"hidden byte {name} = 0;  /* it does not, where this is asserted */")
            self.line(f"#define {name}_unless(broken) if :: broken -> assert({name}) :: else fi;")
            self.line("#else")
            self.line(f"#define {name}_unless(broken)")
            self.line("#endif")
        self.line("#ifdef CHECKING")
        self.line("#define differs(condition) true")
        self.line("#else")
        self.line("#define differs(condition) (condition)")
        self.line("#endif")
        self.line()

    def _levels(self) -> list[list[str]]:
        """Macros that wake several checks."""
        real = [c for c in self.checks if not c.premise]
        groups = {"CHECK": real, "PREMISES": [c for c in self.checks if c.premise]}
        found = []
        for name, members in groups.items():
            if members:
                found.append([f"#ifdef {name}", *(f"#define {self.macro(c)}" for c in members), "#endif"])
        return found

    def _options(self) -> list[str]:
        lines, self.lines = self.lines, []
        unread = self._unread()
        self._reads(unread)
        if not unread and not any(move.changes is not FALSE for move in self.moves):
            self.line("    :: false -> skip")
        for move in self.moves:
            if move.changes is not FALSE or move.marks:
                self._option(move)
        if self.checks and self.system.invariants:
            for invariant, holds in self.cells.invariants():
                check = check_of(invariant)
                assert isinstance(check, Check)
                self.line(f"#ifdef {self.macro(check)}")
                self.line(f"    /* {clean(invariant.says)} */")
                self.line(f"    :: d_step {{ {self.text(~holds, AND)} -> assert({self.checks[check]}) }}")
                self.line("#endif")
        if self.system.progress:
            self._progress_options()
        found, self.lines = self.lines, lines
        return found

    def _unread(self) -> list[Cell]:
        """What the moves write and do not read, one instance for all."""
        roots = [m.guard for m in self.moves if m.changes is not FALSE]
        roots += [w.value for m in self.moves for w in m.writes] + [self.running]
        read = {cell.variable for root in roots for cell in self.cells.cells_in(root)}
        return [Cell(v, 0 if v.component else None) for v in self.system.variables if v not in read]

    def _reads(self, cells: Sequence[Cell]) -> None:
        if cells:
            self.line("    /* Never taken: without it, SPIN would not store what is written and not read. */")
            self.line(f"    :: false && {' + '.join(map(self.place, cells))} > 0 -> skip")

    def _option(self, move: Move) -> None:
        actor = f"{move.action.actor.name} {move.instance}" if move.action.actor else "the patcher"
        where = f"{Path(move.action.where.file).name}:{move.action.where.line}"
        self.line(f"    /* {clean(move.says(actor))} ({clean(where)}) */")
        self.line(f"    :: d_step {{ {self._guard(move)} ->")
        for mark, when in move.marks:
            if when is not FALSE:
                self.line(f"{self.checks[check_of(mark)]}_unless({self.text(when)})", 3)
        aside, rest = schedule(self.cells, move.writes)
        for number, write in enumerate(aside):
            if number == len(self.asides):
                self.asides.append(self.names.new("aside"))
            self.line(f"{self.asides[number]} = {self.text(write.value)};", 3)
        for write in rest:
            self.line(f"{self.place(write.cell)} = {self.text(write.value)};", 3)
        for number, write in enumerate(aside):
            self.line(f"{self.place(write.cell)} = {self.asides[number]};", 3)
        if not move.writes:
            self.line("skip;", 3)
        if self.system.progress:
            self.line(f"took({self.groups.get(self.group(move), 'nobody')})", 3)
        self.line("}", 2)

    def _guard(self, move: Move) -> str:
        parts = [] if move.guard is TRUE else [self.text(move.guard, AND)]
        if move.changes is not TRUE:
            changes = self.text(move.changes)
            parts.append(f"differs({changes})" if self.checks and move.marks else f"({changes})")
        if self.running is not TRUE:
            parts.append(self.parts[0])
        if self.system.progress and move.action.fairness is Fairness.NEVER_ON_CYCLE:
            parts.append("finitely_often")
        return " && ".join(parts) or "true"

    # ---- progress --------------------------------------------------------------------------------------------------

    def _progress_macros(self) -> None:
        if not self.system.progress:
            return
        _, looping, turn, round_done, gone = self.parts
        count = len(self.groups)
        self.line("#ifdef PROGRESS")
        self.line(
            "/* What has to happen again and again if it can: the groups, in turn. A run guesses when the part that"
        )
        self.line(
            " * goes on for ever begins (looping), and of each group that is not taken again that it is never enabled"
        )
        self.line(" * again (gone). It is fair if the turn comes round again and again, without the goal. */")
        for number, name in enumerate(self.groups.values()):
            self.line(f"#define {name} {number}")
        self.line(f"#define nobody {count + 1}")
        self.line(f"bit {looping};")
        self.line(f"bit {round_done};")
        self.line(f"byte {turn};")
        self.line(f"bit {gone}[{count + 1}];")
        self.line(f"#define next_turn {turn} = ({turn} + 1) % {count + 1}; {round_done} = ({turn} == 0)")
        self.line(
            f"#define took(group) if :: {looping} && {turn} == group -> next_turn :: else -> {round_done} = 0 fi;"
        )
        self.line(f"#define finitely_often !{looping}")
        self.line("#else")
        self.line("#define took(group)")
        self.line("#define finitely_often true")
        self.line("#endif")
        self.line()

    def _progress_options(self) -> None:
        _, looping, turn, _, gone = self.parts
        count = len(self.groups)
        self.line("#ifdef PROGRESS")
        self.line(f"    :: d_step {{ !{looping} -> {looping} = 1 }}")
        self.line(f"    :: d_step {{ {looping} && ({turn} == {count} || {gone}[{turn}]) -> next_turn }}")
        self.line(
            f"    :: d_step {{ {looping} && {turn} < {count} && !{gone}[{turn}] -> {gone}[{turn}] = 1; next_turn }}"
        )
        self.line("#endif")

    def _never(self) -> None:
        _, looping, _, round_done, gone = self.parts
        stays = [f"!({self.text(self.cells.goal())})"]
        if self.running is not TRUE:
            stays.append(self.parts[0])
        for group, name in self.groups.items():
            moves = [m for m in self.moves if self.group(m) == group]
            enabled = either(*(both(m.guard, m.changes) for m in moves))
            stays.append(f"!({gone}[{name}] && ({self.text(enabled)}))")
        self.line()
        self.line("#ifdef PROGRESS")
        self.line("#define stays ( \\")
        self.lines += [f"    {part} && \\" for part in stays[:-1]] + [f"    {stays[-1]})"]
        self.line("never {")
        self.line("before:")
        self.line(f"    do :: !{looping} :: {looping} && stays -> goto going od;")
        self.line("going:")
        self.line(f"    if :: stays && !{round_done} -> goto going :: stays && {round_done} -> goto accept_round fi;")
        self.line("accept_round:")
        self.line(f"    if :: stays && !{round_done} -> goto going :: stays && {round_done} -> goto accept_round fi")
        self.line("}")
        self.line("#endif")


def clean(text: str) -> str:
    """A sentence that can stand in a comment."""
    return " ".join(text.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").split())


def promela(system: TransitionSystem) -> str:
    """`system` as a Promela model. Raises Inexpressible for numbers that are too wide."""
    return _Writer(system).all()


def macro(system: TransitionSystem, check: Check) -> str:
    """The macro that makes SPIN look for `check` in the text that `promela` returns."""
    return _Writer(system).macro(check)
