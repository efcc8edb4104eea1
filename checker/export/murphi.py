"""How is a system said in Murphi, as rumur understands it: a rule for each move, a ruleset for each component?

Murphi has no macros, so whoever asks for the text says what is to be asserted in it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from checker.export.checks import Check, check_of, chosen
from checker.export.moves import ACTING, QUANTIFIED, RECEIVING, Cell, Cells, Move, Write, schedule
from checker.export.names import Names
from checker.export.printer import AND, ATOM, COMPARED, NOT, PRODUCT, SUM, Labels, Pieces, Printer, Text, inside
from models.system.errors import ScenarioError
from models.system.expressions import (
    FALSE,
    TRUE,
    Add,
    BitAnd,
    Bits,
    Bool,
    Component,
    Constant,
    Enum,
    Equal,
    Every,
    Expr,
    If,
    Not,
    Read,
    Subtract,
    Type,
    Variable,
    constant,
)
from models.system.system import TransitionSystem

WORDS = """
    alias array assert assume begin boolean by case clear const cover do else elsif end endalias endexists
    endfor endforall endfunction endif endprocedure endrecord endrule endruleset endstartstate endswitch
    endwhile enum error exists false for forall function if in interleaved invariant isundefined ismember
    liveness multiset multisetadd multisetcount multisetremove multisetremovepred of procedure process program
    property put real record return rule ruleset scalarset startstate switch symmetry then to traceuntil true
    type undefine union var while flatten
"""


class _Murphi(Printer):
    """An expression over cells in Murphi. Its numbers know no bits, so those are computed."""

    signs: ClassVar = {"not": "!", "and": "&", "or": "|", "equal": "=", "differs": "!="}

    def __init__(self, writer: _Writer, labels: Labels) -> None:
        super().__init__(labels, lambda variable: writer.place_of(variable))
        self.writer = writer

    def on_arithmetic(self, node: Expr, a: Text, b: Text) -> Text:
        assert isinstance(node.type, Bits)
        limit = 1 << node.type.width
        if isinstance(node, Add):
            return f"({inside(a, SUM)} + {inside(b, PRODUCT)}) % {limit}", PRODUCT
        if isinstance(node, Subtract):
            return f"({inside(a, SUM)} + {limit} - {inside(b, PRODUCT + 1)}) % {limit}", PRODUCT
        masked = _masked(node)
        if masked is None:
            name = self.writer.bit_function("and" if isinstance(node, BitAnd) else "or", node.type)
            return f"{name}({a[0]}, {b[0]})", ATOM
        value, masks = self.visit(masked[0])[0], masked[1]
        if isinstance(node, BitAnd):
            return " + ".join(f"{value} / {m} % 2 * {m}" for m in masks) or "0", SUM
        return " + ".join([value, *(f"({_bit(value, m, limit)} ? 0 : {m})" for m in masks)]), SUM

    def on_equal(self, node: Equal, a: Text, b: Text) -> Text:
        tested = _bits_tested(node)
        if tested is None:
            return super().on_equal(node, a, b)
        (value, masks), limit = tested
        if sum(masks) == limit - 1:
            return f"{self.visit(value)[0]} = {b[0]}", COMPARED
        return " & ".join(_bit(self.visit(value)[0], m, limit) for m in masks), AND if len(masks) > 1 else COMPARED

    def on_if(self, node: If, condition: Text, a: Text, b: Text) -> Text:
        return f"({condition[0]} ? {a[0]} : {b[0]})", ATOM

    def on_every(self, node: Every, body: Text) -> Text:
        return self._quantified("forall", node, body[0])

    def on_not(self, node: Not, a: Text) -> Text:
        inner = node.args[0]
        if isinstance(inner, Every):
            return self._quantified("exists", inner, self.text(~inner.args[0]))
        if isinstance(inner, Equal) and _bits_tested(inner):
            return f"!({a[0]})", NOT
        return super().on_not(node, a)

    def _quantified(self, word: str, node: Every, body: str) -> Text:
        name, type_ = self.writer.bound[node.component, QUANTIFIED], self.writer.ids[node.component]
        return f"{word} {name}: {type_} do {body} end", ATOM


def _masked(node: Expr) -> tuple[Read, list[int]] | None:
    """The place and the bits, one by one, where `node` combines a place with a constant; else None."""
    match node.args:
        case (Read() as value, Constant(value=mask)) | (Constant(value=mask), Read() as value):
            return value, [1 << k for k in range(mask.bit_length()) if mask >> k & 1]
    return None


def _bits_tested(node: Equal) -> tuple[tuple[Read, list[int]], int] | None:
    """As `_masked`, and the limit of the numbers, where `node` asks whether a place has all of some bits; else None."""
    masked, wanted = node.args
    if not (isinstance(masked, BitAnd) and isinstance(masked.type, Bits) and isinstance(wanted, Constant)):
        return None
    found = _masked(masked)
    return (found, 1 << masked.type.width) if found and found[1] and sum(found[1]) == wanted.value else None


def _bit(value: str, mask: int, limit: int) -> str:
    """Whether `value`, which is below `limit`, has the bit `mask`."""
    if 2 * mask == limit:
        return f"{value} >= {mask}"
    return f"{value} % 2 = 1" if mask == 1 else f"{value} / {mask} % 2 = 1"


class _Writer:
    def __init__(self, system: TransitionSystem, asserted: Sequence[Check], progress: bool) -> None:
        self.system, self.asserted, self.progress = system, asserted, progress
        self.cells = Cells(system, open_=True)
        names = self.names = Names(WORDS.split())
        self.variables = {v: names.new(v.name) for v in system.variables}
        self.arrays = {c: names.new(c.name) for c in system.components}
        self.ids = {c: names.new(f"{c.name}_id") for c in system.components}
        self.records = {c: names.new(f"{c.name}_t") for c in system.components}
        self.bound = {
            (c, owner): names.new(f"{word} {c.name}")
            for c in system.components
            for owner, word in ((ACTING, "this"), (QUANTIFIED, "any"), (RECEIVING, "each"))
        }
        self.labels = Labels(system, names)
        self.halted_name = names.new("halted")
        self.nothing = names.new("nothing")
        self.halted = self.cells.halted()
        self.types: dict[Type, str] = {type_: name for type_, name in self.labels.types.items()}  # noqa: C416
        for variable in system.variables:
            self.type_of(variable.type)
        self.moves = self.cells.moves()
        self.pieces = Pieces()
        self.local: dict[Variable, str] = {}
        self.functions: list[str] = []
        self.known: dict[Expr | tuple[str, int], str] = {}
        self.printer = _Murphi(self, self.labels)
        self.lines: list[str] = []

    # ---- names, types, expressions ---------------------------------------------------------------------------------

    def place_of(self, variable: Variable) -> str:
        return self.local[variable] if variable in self.local else self.place(self.cells.of[variable])

    def place(self, cell: Cell) -> str:
        component, name = cell.variable.component, self.variables[cell.variable]
        if component is None:
            return name
        assert cell.owner is not None
        owner = self.bound[component, cell.owner] if cell.owner < 0 else cell.owner
        return f"{self.arrays[component]}[{owner}].{name}"

    def type_of(self, type_: Type) -> str:
        if isinstance(type_, Bool):
            return "boolean"
        if type_ not in self.types:
            assert isinstance(type_, Bits)
            self.types[type_] = self.names.new(f"bits_{type_.width}")
        return self.types[type_]

    def line(self, text: str = "", depth: int = 0) -> None:
        self.lines.append(("  " * depth + text).rstrip())

    def text(self, root: Expr, level: int = 0) -> str:
        """An expression; one that says things too often becomes a function."""
        if not self.pieces.is_long(root):
            return self.printer.text(root, level)
        if root not in self.known:
            self.known[root] = self._function(root)
        return self.known[root]

    def _function(self, root: Expr) -> str:
        name = self.names.new("value")
        pieces, rest = self.pieces.cut(self.cells.written_out(root))
        for variable, _ in pieces:
            self.local[variable] = self.names.new("part")
        open_ = {(c.variable.component, c.owner) for c in self.cells.cells_in(root) if c.owner in (ACTING, RECEIVING)}
        given = [(self.bound[key], self.ids[key[0]]) for key in self.bound if key in open_]
        parameters = "; ".join(f"{parameter}: {type_}" for parameter, type_ in given)
        lines = [f"function {name}({parameters}): {self.type_of(root.type)};"]
        lines += ["var"] * bool(pieces)
        lines += [f"  {self.local[variable]}: {self.type_of(variable.type)};" for variable, _ in pieces]
        lines.append("begin")
        lines += [f"  {self.local[variable]} := {self.printer.text(piece)};" for variable, piece in pieces]
        lines += [f"  return {self.printer.text(rest)};", "end;", ""]
        self.functions += lines
        return f"{name}({', '.join(argument for argument, _ in given)})"

    def bit_function(self, operation: str, type_: Bits) -> str:
        """The name of a function that combines two numbers bit by bit."""
        key = operation, type_.width
        if key not in self.known:
            name = self.known[key] = self.names.new(f"bit_{operation}_{type_.width}")
            sign, limit = "&" if operation == "and" else "|", 1 << type_.width
            masks = [1 << k for k in range(type_.width)]
            terms = [f"({_bit('a', m, limit)} {sign} {_bit('b', m, limit)} ? {m} : 0)" for m in masks]
            number = self.type_of(type_)
            self.functions += [f"function {name}(a: {number}; b: {number}): {number};", "begin"]
            self.functions += [f"  return {' + '.join(terms)};", "end;", ""]
        return self.known[key]

    # ---- the parts of the text -------------------------------------------------------------------------------------

    def all(self) -> str:
        self._rules()
        rules, self.lines = self.lines, []
        self._start()
        start, self.lines = self.lines, []
        variables = self._variables()
        self._halted()
        self._header()
        self._types()
        self.lines += variables + self.functions + start + rules
        return "\n".join(self.lines).rstrip() + "\n"

    def _header(self) -> None:
        counts = ", ".join(f"{self.system.counts[c]} × {c.name}" for c in self.system.components) or "no components"
        self.line(f"-- {clean(self.system.name)} ({clean(counts)}), exported by check-strategy for rumur.")
        self.line("--")
        run = "rumur --deadlock-detection off --output MODEL.c MODEL && gcc -O3 -mcx16 -o MODEL.run MODEL.c -lpthread"
        for text in (f"  {run}", "  ./MODEL.run", *self._what()):
            self.line(f"-- {text}")
        self.line()

    def _what(self) -> list[str]:
        if self.progress:
            return ["Asserts that the goal can be reached from every state that has not halted."]
        if self.asserted:
            return ["Asserts the following; counts mean nothing:", *(f"  {clean(str(c))}" for c in self.asserted)]
        return [
            "“states” are the states of the system, “rules fired” its transitions. Compare with what check-strategy",
            "says of the same model. Nothing is asserted here.",
        ]

    def _types(self) -> None:
        self.line("type")
        for type_, name in self.types.items():
            if isinstance(type_, Enum):
                self.line(f"{name}: enum {{ {', '.join(self.labels.labels[type_])} }};", 1)
            elif isinstance(type_, Bits):
                self.line(f"{name}: 0..{(1 << type_.width) - 1};", 1)
        for component in self.system.components:
            self.line(f"{self.ids[component]}: 0..{self.system.counts[component] - 1};", 1)
            if self.system.locals(component):
                self.line(f"{self.records[component]}: record", 1)
                for variable in self.system.locals(component):
                    self._declare(variable, 2)
                self.line("end;", 1)
        width = max((t.width for t in self.types if isinstance(t, Bits)), default=1)
        self.line(f"{self.names.new('sum')}: 0..{(2 << width) - 1};  -- makes rumur's numbers wide enough for sums", 1)
        self.line()

    def _variables(self) -> list[str]:
        self.lines = []
        self.line("var")
        for component in self.system.components:
            if self.system.locals(component):
                self.line(f"{self.arrays[component]}: array [{self.ids[component]}] of {self.records[component]};", 1)
        for variable in self.system.globals:
            self._declare(variable, 1)
        if not self.system.variables:
            self.line(f"{self.nothing}: boolean;  -- rumur needs a variable", 1)
        self.line()
        found, self.lines = self.lines, []
        return found

    def _declare(self, variable: Variable, depth: int) -> None:
        says = f"  -- {clean(variable.says)}" if variable.says else ""
        self.line(f"{self.variables[variable]}: {self.type_of(variable.type)};{says}", depth)

    def _halted(self) -> None:
        if self.halted is not FALSE:
            body = [f"function {self.halted_name}(): boolean;", "begin", f"  return {self.text(self.halted)};", "end;"]
            self.functions += [*body, ""]

    def _start(self) -> None:
        self.line("startstate")
        self.line("begin")
        for component in self.system.components:
            starts = [Write(Cell(v, RECEIVING), constant(v.initial, v.type)) for v in self.system.locals(component)]
            self._writes(starts, 1)
        self._writes([Write(Cell(v, None), constant(v.initial, v.type)) for v in self.system.globals], 1)
        if not self.system.variables:
            self.line(f"{self.nothing} := false;", 1)
        self.line("end;")
        self.line()

    def _rules(self) -> None:
        actor: Component | None = None
        for move in self.moves:
            marks = [(m, when) for m, when in move.marks if check_of(m) in self.asserted and when is not FALSE]
            if move.changes is FALSE and not marks:
                continue
            actor = self._enter(actor, move.action.actor)
            depth = int(actor is not None)
            if move.changes is not FALSE:
                self._rule(move, depth)
            for mark, when in marks:
                guard = self._conjunction([move.guard, when], halts=True)
                self._error(check_of(mark), mark.says, guard, f"{move.name}: ", depth)
        self._enter(actor, None)
        for invariant, holds in self.cells.invariants():
            if check_of(invariant) in self.asserted:
                self._error(check_of(invariant), invariant.says, self.text(~holds), "", 0)
        if self.progress:
            assert self.system.progress is not None
            goal = self.cells.goal()
            name = clean(self.system.progress.property)
            if self.halted is not FALSE:
                self.line(f'assume "not halted" {self.text(goal, NOT)} | !{self.halted_name}();')
            self.line(f'liveness "{quoted(name)}" {self.text(goal)};')

    def _enter(self, actor: Component | None, following: Component | None) -> Component | None:
        """Close the ruleset of one component and open the next one's."""
        if actor is not following:
            if actor:
                self.line("end;")
                self.line()
            if following:
                self.line(f"ruleset {self.bound[following, ACTING]}: {self.ids[following]} do")
        return following

    def _conjunction(self, parts: Sequence[Expr], halts: bool) -> str:
        texts = [self.text(part, AND) for part in parts if part is not TRUE]
        if halts and self.halted is not FALSE:
            texts.append(f"!{self.halted_name}()")
        return " & ".join(texts) or "true"

    def _rule(self, move: Move, depth: int) -> None:
        component = move.action.actor
        says = move.says(f"this {component.name}" if component else "the patcher")
        where = f"{Path(move.action.where.file).name}:{move.action.where.line}"
        self.line(f"-- {clean(says)} ({clean(where)})", depth)
        self.line(f'rule "{quoted(move.name)}"', depth)
        self.line(self._conjunction([move.guard, move.changes], halts=True), depth + 1)
        self.line("==>", depth)
        aside, rest = schedule(self.cells, move.writes)
        names = [f"aside_{number}" for number in range(len(aside))]
        if aside:
            self.line("var", depth)
            for name, write in zip(names, aside, strict=True):
                self.line(f"{name}: {self._aside_type(write)};", depth + 1)
        self.line("begin", depth)
        for name, write in zip(names, aside, strict=True):
            self._assign([(write.cell, f"{name}{self._index(write.cell)}", self.text(write.value))], depth + 1)
        self._writes(rest, depth + 1)
        for name, write in zip(names, aside, strict=True):
            self._assign([(write.cell, self.place(write.cell), f"{name}{self._index(write.cell)}")], depth + 1)
        self.line("end;", depth)
        self.line()

    def _aside_type(self, write: Write) -> str:
        type_, component = self.type_of(write.cell.variable.type), write.cell.variable.component
        if write.cell.owner != RECEIVING or component is None:
            return type_
        return f"array [{self.ids[component]}] of {type_}"

    def _index(self, cell: Cell) -> str:
        component = cell.variable.component
        return f"[{self.bound[component, RECEIVING]}]" if component and cell.owner == RECEIVING else ""

    def _writes(self, writes: Sequence[Write], depth: int) -> None:
        """Writes in this order; neighbours that every instance gets share a loop where none disturbs another."""
        run: list[Write] = []
        for write in writes:
            if run and not self._share([*run, write]):
                self._assign([(w.cell, self.place(w.cell), self.text(w.value)) for w in run], depth)
                run = []
            run.append(write)
        self._assign([(w.cell, self.place(w.cell), self.text(w.value)) for w in run], depth)

    def _share(self, writes: Sequence[Write]) -> bool:
        first = writes[0].cell
        if any(
            w.cell.owner != first.owner or w.cell.variable.component is not first.variable.component for w in writes
        ):
            return False
        foreign = [c for w in writes for c in self.cells.cells_in(w.value) if c.owner != RECEIVING]
        return first.owner != RECEIVING or not any(w.cell.may_be(c) for w in writes for c in foreign)

    def _assign(self, assignments: Sequence[tuple[Cell, str, str]], depth: int) -> None:
        if not assignments:
            return
        cell = assignments[0][0]
        component = cell.variable.component
        loops = component is not None and cell.owner == RECEIVING
        if loops and component:
            self.line(f"for {self.bound[component, RECEIVING]}: {self.ids[component]} do", depth)
        for _, target, value in assignments:
            self.line(f"{target} := {value};", depth + loops)
        if loops:
            self.line("end;", depth)

    def _error(self, check: Check, says: str, guard: str, prefix: str, depth: int) -> None:
        self.line(f"-- {clean(says)}", depth)
        self.line(f'rule "{quoted(prefix + str(check))}"', depth)
        self.line(guard, depth + 1)
        self.line("==>", depth)
        self.line("begin", depth)
        self.line(f'error "{quoted(str(check))}";', depth + 1)
        self.line("end;", depth)
        self.line()


def clean(text: str) -> str:
    """A sentence that can stand in a comment."""
    return " ".join(text.split())


def quoted(text: str) -> str:
    """A text that can stand in quotation marks."""
    return clean(text).replace("\\", "/").replace('"', "'").replace("%", " percent ")


def murphi(system: TransitionSystem, check: Collection[str] = (), progress: bool = False) -> str:
    """`system` as a Murphi model for rumur.

    `check`: what to assert, by name (see `chosen`); nothing, so that counts can be compared. `progress`: assert instead
    that the goal can be reached from every state that has not halted; states that have are then left out.
    Raises Inexpressible for numbers that are too wide, ScenarioError for a name or a goal that does not exist.
    """
    if progress and (check or system.progress is None):
        raise ScenarioError("progress is asserted alone" if check else f"{system.name} has no goal")
    return _Writer(system, chosen(system, check), progress).all()
