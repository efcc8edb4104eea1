"""From the numbers of peers.py to tables and a picture: `python benchmarks/plot.py [JSON]`.

Rewrites docs/performance.svg, and in docs/performance.md what stands between the two marks.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Value = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- numbers: begin (benchmarks/plot.py writes this) -->", "<!-- numbers: end -->"
LARGE = 1_000_000  # states: the picture shows instances from this size on, or the largest

LEFT, RIGHT, WIDTH, ROW, HEAD = 230, 70, 780, 17, 30
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .head { font-weight: 600; font-size: 13px; }
  .small { font-size: 11px; fill: #59636e; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .stem { stroke: #b3bcc6; stroke-width: 1; }
  .native { fill: #0969da; } .other { fill: #8250df; } .peer { fill: #bc4c00; } .bound { fill: #1f2328; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .small { fill: #9198a1; } .grid { stroke: #3d444d; } .stem { stroke: #656c76; }
    .native { fill: #4493f8; } .other { fill: #ab7df8; } .peer { fill: #f0883e; } .bound { fill: #f0f6fc; }
  }
"""


# ---- tables ---------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose columns, but for the first `left`, are aligned to the right."""
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        parts = [c.ljust(w) if k < left else c.rjust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(parts)} |"

    rule = ["-" * w if k < left else "-" * (w - 1) + ":" for k, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if value < 0.01 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def millions(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:.3g}" if value < 1e9 else f"{value / 1e6:,.0f}"


def mebibytes(value: float | None) -> str:
    return "" if value is None else f"{value / (1 << 20):,.1f}"


def bytes_each(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}" if value >= 0.1 else f"{value:.2g}"


def tables(values: Value) -> str:
    """All numbers as Markdown."""
    parts = [_machine(values)]
    if not values["complete"]:
        parts.append("**The run was interrupted; this is what there is.**")
    for instance in values["instances"]:
        parts += [f"### {instance['name']}", _about(instance), _rows(instance), _bound(instance), _ratios(instance)]
    if values["commands"]:
        parts += ["### Whole commands", _commands(values["commands"])]
    return "\n\n".join(part for part in parts if part)


def _machine(values: Value) -> str:
    about, compiled = values["machine"], values.get("compile")
    memory = f"{about['memory'] / (1 << 30):.0f} GiB, " if about["memory"] else ""
    tools = "; ".join(f"{name}: {version}" for name, version in values["versions"].items())
    text = (
        f"{about['processor']}{', virtual machine' if about['virtual'] else ''}, {about['cores']} cores, {memory}"
        f"Linux {about['kernel']}, transparent huge pages: {about['huge_pages']}. {tools}. Made on {values['date']}, "
        f"at most {values['runs']} runs of each row"
    )
    text += f", {values['minutes']:.1f} minutes" if "minutes" in values else ""
    text += f"; load before: {about['load_before']:.1f}."
    if compiled:
        text += f" Compiling the kernel took {compiled['exact']:.2f} s ({compiled['hash compaction']:.2f} s compact)."
    return text


def _about(instance: Value) -> str:
    states, transitions = instance["states"], instance["transitions"]
    return f"{states:,} states, {transitions:,} transitions, {transitions / states:.2f} transitions per state."


def _rows(instance: Value) -> str:
    head = ("explorer", "runs", "states", "transitions", "explored", "search s", "process s", "tables s", "compile s",
            "M states/s", "M trans/s", "peak MiB", "own B/state", "peak B/state")  # fmt: skip
    rows = []
    for row in instance["rows"]:
        before = row.get("before")
        rows.append([
            row["name"] + ("" if row["exact"] else " (not exact)"), str(len(row["all_seconds"])),
            f"{row['states']:,}", f"{row['transitions']:,}", f"{row['explored']:,}", seconds(row["seconds"]),
            seconds(row["wall"]), seconds(before["compose"] + before["prepare"]) if before else "",
            seconds(row["compile"]), millions(row["states_per_second"]), millions(row["transitions_per_second"]),
            mebibytes(row["peak"]), bytes_each(row.get("bytes_per_state")), bytes_each(row["peak_per_state"]),
        ])  # fmt: skip
    return table(head, rows)


def _bound(instance: Value) -> str:
    bound = instance.get("bound")
    if not bound:
        return ""
    rates = ", ".join(
        f"{rate / 1e6:.0f} M accesses/s with {threads} thread{'s' if threads != '1' else ''}, so at most "
        f"{millions(bound['states_per_second'][threads])} M states/s"
        for threads, rate in bound["accesses_per_second"].items()
    )
    huge = mebibytes(bound["huge_bytes"])
    return f"Bound: a table of {mebibytes(bound['table_bytes'])} MiB ({huge} MiB in huge pages) takes {rates}."


def _ratios(instance: Value) -> str:
    names = {name: f"{value:.2f}" for name, value in instance["ratios"].items()}
    return table(("ratio", "value"), [[name, value] for name, value in names.items()])


def _commands(commands: Sequence[Value]) -> str:
    rows = []
    for value in commands:
        ended = {0: "0", 1: "1", -9: "stopped"}.get(value["status"], str(value["status"]))
        rows.append([f"`{value['command']}`", value["cache"], str(len(value["all_seconds"])), ended,
                     seconds(value["seconds"]), mebibytes(value["peak"])])  # fmt: skip
    return table(("command", "cache", "runs", "status", "seconds", "peak MiB"), rows, 2)


# ---- the picture ----------------------------------------------------------------------------------------------------


def _kind(name: str) -> str:
    if name.startswith("native"):
        return "native"
    return "peer" if name.startswith(("SPIN", "rumur")) else "other"


def svg(values: Value) -> str:
    """Seconds of every search as dots on a logarithmic scale, a block for each of the large instances."""
    shown = [i for i in values["instances"] if i["states"] >= LARGE]
    shown = shown or [max(values["instances"], key=lambda i: i["states"])]
    marks = [_marks(instance) for instance in shown]
    every = [taken for block in marks for _, _, taken in block]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    span = WIDTH - LEFT - RIGHT

    def x(taken: float) -> float:
        return LEFT + span * (math.log10(taken) - low) / max(1, high - low)

    height = 34 + sum(HEAD + ROW * len(block) for block in marks) + 16
    said = "; ".join(
        f"{instance['name']}: " + ", ".join(f"{name} {seconds(taken)} s" for name, _, taken in block)
        for instance, block in zip(shown, marks, strict=True)
    )
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title desc">',
        '<title id="title">Seconds that each explorer needs for the same state spaces</title>',
        f'<desc id="desc">Logarithmic scale, less is better. {escape(said)}.</desc>',
        f"<style>{STYLE}</style>",
    ]
    for power in range(low, high + 1):
        label = f"{10**power:g} s"
        out.append(f'<line class="grid" x1="{x(10**power):.1f}" x2="{x(10**power):.1f}" y1="26" y2="{height - 12}"/>')
        out.append(f'<text class="small" x="{x(10**power):.1f}" y="18" text-anchor="middle">{label}</text>')
    y = 34
    for instance, block in zip(shown, marks, strict=True):
        y += HEAD
        title = f"{instance['name']}: {instance['states']:,} states"
        out.append(f'<text class="head" x="8" y="{y - 8}">{escape(title)}</text>')
        for name, kind, taken in block:
            middle = y + ROW / 2
            out.append(f'<text x="{LEFT - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}</text>')
            out.append(f'<line class="stem" x1="{LEFT}" x2="{x(taken):.1f}" y1="{middle}" y2="{middle}"/>')
            out.append(_dot(kind, x(taken), middle))
            out.append(f'<text class="small" x="{x(taken) + 9:.1f}" y="{middle + 4:.1f}">{seconds(taken)}</text>')
            y += ROW
    return "\n".join([*out, "</svg>"]) + "\n"


def _marks(instance: Value) -> list[tuple[str, str, float]]:
    """What is drawn of an instance: label, kind, seconds. Of the ways to run SPIN, the fastest."""
    rows = [row for row in instance["rows"] if not row["name"].startswith("SPIN")]
    spin = [row for row in instance["rows"] if row["name"].startswith("SPIN")]
    rows += [min(spin, key=lambda row: float(row["seconds"]))] if spin else []
    found = [(row["name"], _kind(row["name"]), row["seconds"]) for row in rows if row["name"] != "product"]
    for threads, rate in instance.get("bound", {}).get("states_per_second", {}).items():
        found.append(
            (f"memory bound, {threads} thread{'s' if threads != '1' else ''}", "bound", instance["states"] / rate)
        )
    return sorted(found, key=lambda mark: -mark[2])


def _dot(kind: str, x: float, y: float) -> str:
    """Another shape for each kind, so that colour is not needed to tell them apart."""
    if kind == "native":
        return f'<circle class="native" cx="{x:.1f}" cy="{y}" r="5"/>'
    if kind == "peer":
        return f'<rect class="peer" x="{x - 4.5:.1f}" y="{y - 4.5}" width="9" height="9"/>'
    if kind == "bound":
        return f'<rect class="bound" x="{x - 1.5:.1f}" y="{y - 7}" width="3" height="14"/>'
    return f'<path class="other" d="M{x:.1f} {y - 6}l6 6-6 6-6-6z"/>'


# ---- the page -------------------------------------------------------------------------------------------------------


def page(text: str, values: Value) -> str:
    """The page with the tables between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit("docs/performance.md has lost the marks that the numbers stand between")
    return f"{before}{BEGIN}\n\n{tables(values)}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", nargs="?", default=str(ROOT / "benchmarks" / "results" / "peers.json"))
    parser.add_argument("--svg", default=str(ROOT / "docs" / "performance.svg"))
    parser.add_argument("--page", default=str(ROOT / "docs" / "performance.md"))
    options = parser.parse_args()
    values = json.loads(Path(options.json).read_text(encoding="utf-8"))
    where = Path(options.page)
    where.write_text(page(where.read_text(encoding="utf-8"), values), encoding="utf-8")
    if values["instances"]:
        Path(options.svg).write_text(svg(values), encoding="utf-8")


if __name__ == "__main__":
    main()
