"""What silicon was seen to do, as a page in Markdown: from what a JSON file of `check-strategy silicon` holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from checker.report import markdown
from checker.report.silicon import conclusions, groups, survey_rows
from models.machines.fetch import X86_PRESETS

_HOST = ("cpu", "family", "microcode", "cpus", "hypervisor", "kernel")


def page(values: Mapping[str, Any]) -> str:
    """The page of a survey, of strategies, or of broken variants. Raises KeyError for what is none of them."""
    kind, body = next((k, body) for k, body in _BODIES.items() if k in values)
    host = values["host"]
    lines = [f"# {_TITLES[kind].format(host['cpu'])}", ""]
    lines += markdown.table([["machine", ""], *([name, str(host[name])] for name in _HOST)])
    lines += ["", f"Made on {values['date']} by `{values['command']}`.", ""]
    return "\n".join([*lines, *body(values[kind])]).rstrip() + "\n"


# ---- the survey -----------------------------------------------------------------------------------------------------


def _survey(survey: Mapping[str, Any]) -> Iterator[str]:
    """Each question with its rows, and what was fetched where something was torn."""
    yield from (f"- {line}" for line in conclusions(survey))
    yield from [
        "",
        "`x`: the preset allows it; **no**: it does not, and it was seen. A trial is one run of the whole program, so one",
        "race; *12 in 9* are 12 executions in 9 trials. That something was not seen is what these trials showed, no promise.",
        "",
        "Presets: " + ", ".join(f"{k} `{name}`" for k, name in enumerate(X86_PRESETS, 1)) + ".",
    ]
    head, *cells = survey_rows(survey)
    for title, numbers in groups(survey):
        rows = [head]
        for k in numbers:
            row = survey["rows"][k]
            contradicted = row["seen"] and row["promised"]
            marks = ["**no**" if contradicted and mark == "." else mark for mark in cells[k][4:]]
            rows.append([*cells[k][:4], *marks])
        yield from ["", f"## {title[0].upper()}{title[1:]}", "", *markdown.table(rows)]
        yield from _mixtures([survey["rows"][k] for k in numbers])


def _mixtures(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        known: Counter[str] = Counter()
        for one in row["torn"]:
            known[one["fetched"] or ""] += one["count"]
        del known[""]
        if known:
            yield from ["", f"Fetched {row['align']}: {', '.join(f'`{k}` ({n:,})' for k, n in known.most_common())}."]


# ---- strategies -----------------------------------------------------------------------------------------------------


def _strategies(answers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One row for each strategy, its alignments together."""
    machine = answers[0]["machine"]
    rows = [["strategy", "executions", "trials", "traps", f"not allowed by {machine}", "broken"]]
    for answer in answers:
        runs = answer["runs"]
        outcomes = [outcome for run in runs for outcome in run["outcomes"]]
        breaks: Counter[str] = Counter()
        for name, kind, count in (b for outcome in outcomes for b in outcome["breaks"]):
            breaks[f"{name}/{kind}"] += count
        totals = [sum(run[name] for run in runs) for name in ("executions", "trials", "traps")]
        totals.append(sum(outcome["not_allowed"] for outcome in outcomes))
        said = ", ".join(f"{name} ({count:,})" for name, count in breaks.items())
        rows.append([f"`{answer['strategy']}`", *(f"{total:,}" for total in totals), said])
    yield from markdown.table(rows)
    where = ", ".join(dict.fromkeys(str(run["align"]) for answer in answers for run in answer["runs"]))
    rates = sorted(run["executions"] / run["seconds"] / a["executing_cpus"] for a in answers for run in a["runs"])
    least = min(run["executions"] for answer in answers for run in answer["runs"])
    yield from [
        "",
        f"Sites {where}; at least {least:,} executions in each of {len(rates)} runs.",
        f"In a second, each executing CPU ran between {rates[0]:,.0f} and {rates[-1]:,.0f} sites, in the median run "
        f"{rates[len(rates) // 2]:,.0f}.",
        "Strategies that are known to be broken are among them; the README says which.",
    ]


# ---- broken variants ------------------------------------------------------------------------------------------------


def _variants(variants: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was predicted and seen: in all by kind of failure, and for each strategy and step left out."""
    predicted: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    why: dict[str, Counter[str]] = {}
    rows = [["strategy", "without", "failure", "seen", "trials"]]
    for variant in variants:
        first = [f"`{variant['strategy']}`", variant["without"] or "(complete)"]
        for failure in variant["failures"]:
            name = f"{failure['property']}/{failure['kind']}"
            predicted[name] += 1
            seen[name] += bool(failure["seen"])
            if not failure["seen"]:
                why.setdefault(name, Counter())[failure["why"]] += 1
            rows.append([*first, name, f"{failure['seen']:,}", f"{variant['trials']:,}"])
    not_allowed = sum(variant["not_allowed"] for variant in variants)
    yield f"{not_allowed:,} executions were not allowed by the machine. In brackets: of how many failures that is the reason."
    yield ""
    summary = [["failure", "predicted", "seen", "not seen, as it"]]
    for name in sorted(predicted):
        reasons = "; ".join(f"{says} ({count})" for says, count in why.get(name, Counter()).most_common())
        summary.append([name, f"{predicted[name]:,}", f"{seen[name]:,}", reasons])
    yield from [*markdown.table(summary), "", *markdown.table(rows)]


_TITLES = {
    "survey": "What {} was seen to do",
    "strategies": "Strategies on {}",
    "variants": "Strategies without a step, on {}",
}
_BODIES: dict[str, Callable[[Any], Iterator[str]]] = {
    "survey": _survey,
    "strategies": _strategies,
    "variants": _variants,
}
