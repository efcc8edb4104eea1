"""What silicon was seen to do, beside what the model allows: as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from checker.report.layout import PLAIN, Paint, fill, plural, table
from checker.silicon.asking import Question, presets_that_allow
from checker.silicon.broken import Failure, Variant
from checker.silicon.compare import Comparison, Outcome
from checker.silicon.survey import ASKED, Survey
from models.machines.fetch import X86_PRESETS

_MOST_TORN = 4  # mixtures that are put into words


@dataclass
class Answer:
    """One strategy at several alignments. `executors`: how many CPUs ran the sites."""

    name: str
    asked: Sequence[tuple[Question, Comparison]]
    executors: int

    @property
    def not_allowed(self) -> int:
        return sum(found.not_allowed for _, found in self.asked)

    @property
    def not_compared(self) -> int:
        return sum(found.not_compared for _, found in self.asked)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """All alignments together."""
        whole: dict[str, Outcome] = {}
        for _, found in self.asked:
            for says, outcome in found.outcomes.items():
                into = whole.setdefault(says, Outcome(says))
                into.count += outcome.count
                into.not_allowed += outcome.not_allowed
                into.breaks += outcome.breaks
                into.where += outcome.where
                into.means = outcome.means
        return whole

    @property
    def unseen(self) -> dict[str, int]:
        """What was allowed and seen at no alignment, and in how many executions it might have been."""
        tries: Counter[str] = Counter()
        for _, found in self.asked:
            tries.update({unseen.says: unseen.tries for unseen in found.unseen})
        seen = [{u.says for u in found.unseen} for _, found in self.asked]
        return {says: count for says, count in tries.items() if all(says in one for one in seen)}

    @property
    def allowed_by(self) -> dict[str, list[str]]:
        """For each outcome that is not allowed, the presets that allow it wherever it was seen."""
        ways: dict[str, list[list[str]]] = {}
        for question, found in self.asked:
            for says, names in presets_that_allow(question, found).items():
                ways.setdefault(says, []).append(names)
        return {says: [n for n in X86_PRESETS if all(n in one for one in lists)] for says, lists in ways.items()}

    @property
    def waits(self) -> set[str]:
        """The steps at which the patcher waited in vain."""
        return {found.waits for _, found in self.asked if found.waits}


def broken_words(breaks: Mapping[tuple[str, str], int]) -> str:
    """`no-torn-instruction/torn (12 times)`, for each."""
    return ", ".join(f"{name}/{kind} ({plural(count, 'time')})" for (name, kind), count in breaks.items())


def answer_text(answer: Answer, paint: Paint = PLAIN) -> str:
    """The outcomes, the runs, and what contradicts the model or was not seen."""
    question = answer.asked[0][0]
    model = question.allowed().model
    machine = model.scenario.machine
    where = [*model.circumstances[:2], plural(model.scenario.sites, "site")]
    where += [f"{question.setting.stores} stores", f"sync by {question.setting.sync}"]
    where += [f"without {', '.join(sorted(model.scenario.without))}"] if model.scenario.without else []
    lines = [fill(f"{answer.name} on silicon: {', '.join(where)}", "", "  "), ""]
    rows, colours = [["outcome", "seen", machine.name]], []
    for outcome in sorted(answer.outcomes.values(), key=lambda o: (o.not_allowed > 0, -o.count)):
        verdict = f"NOT ALLOWED ({outcome.not_allowed:,})" if outcome.not_allowed else "allowed"
        rows.append([outcome.says, f"{outcome.count:,}", verdict])
        colours.append(["", "", "red" if outcome.not_allowed else "green"])
    lines += [table(rows, paint, colours), ""]
    rows = [["site", "executions", "of each CPU, a second", "trials", "traps", "not allowed"]]
    for q, found in answer.asked:
        o = found.observation
        counts = (o.executions, int(o.rate), o.trials, o.traps, found.not_allowed)
        rows.append([q.setting.align or "as written", *(f"{count:,}" for count in counts)])
    lines += [table(rows), ""]
    breaks = sum((outcome.breaks for outcome in answer.outcomes.values()), Counter())
    if breaks:
        lines.append(fill(f"broken  {broken_words(breaks)}", "", "        "))
    torn = sorted((o for o in answer.outcomes.values() if o.means), key=lambda o: -o.count)
    lines += [fill(f"{o.says} = {o.means}; {_spans(o)}", "", "  ") for o in torn[:_MOST_TORN]]
    if len(torn) > _MOST_TORN:
        lines.append(f"and {plural(len(torn) - _MOST_TORN, 'other mixture')}, above")
    for says, count in answer.unseen.items():
        lines.append(fill(f"allowed, not seen  {says}, in {plural(count, 'execution')} that might have", "", "  "))
    for says, names in answer.allowed_by.items():
        who = ", ".join(names) if names else "no preset"
        lines.append(fill(f"not allowed  {says}: {_spans(answer.outcomes[says])}; allowed by {who}", "", "  "))
    if answer.not_compared:
        lines.append(fill(f"not compared: {answer.not_compared:,} torn executions, of too many kinds", "", "  "))
    lines += [f"waited in vain  at {label}" for label in sorted(answer.waits)]
    lines.append(fill(f"machine  {machine.name}: {machine.says}", "", "         "))
    return "\n".join(lines)


def _spans(outcome: Outcome) -> str:
    """During which operations of the patcher, the most frequent ones first."""
    spans = [f"from {a} to {b} ({count:,})" for (a, b), count in outcome.where.most_common(4)]
    more = len(outcome.where) - len(spans)
    return ", ".join(spans) + (f" and {plural(more, 'other span')}" if more else "")


def answer_json(answer: Answer) -> dict[str, Any]:
    """The same as data."""
    question = answer.asked[0][0]
    model = question.allowed().model
    runs = []
    for q, found in answer.asked:
        o = found.observation
        runs.append(
            {
                "align": q.setting.align,
                "executions": o.executions,
                "trials": o.trials,
                "traps": o.traps,
                "seconds": o.seconds,
                "outcomes": [
                    {
                        "outcome": outcome.says,
                        "count": outcome.count,
                        "not_allowed": outcome.not_allowed,
                        "breaks": [[*broken, count] for broken, count in outcome.breaks.items()],
                        "where": [[*span, count] for span, count in outcome.where.items()],
                    }
                    for outcome in found.outcomes.values()
                ],
                "not_seen": [asdict(unseen) for unseen in found.unseen],
                "torn": [
                    {
                        "site": torn.site,
                        "from": found.allowed.table.label(torn.before),
                        "to": found.allowed.table.label(torn.after),
                        "signal": torn.signal,
                        "fetched": torn.fetched.hex(" ") if torn.fetched else None,
                        "memory": torn.memory.hex(" "),
                        "count": torn.count,
                    }
                    for torn in o.torn
                ],
                "not_compared": found.not_compared,
                "waits": found.waits,
            }
        )
    return {
        "strategy": answer.name,
        "machine": model.scenario.machine.name,
        **{key: model.facts()[key] for key in ("transition", "rounds", "sites", "without")},
        "stores": question.setting.stores,
        "sync": question.setting.sync,
        "executing_cpus": answer.executors,
        "runs": runs,
        "allowed_by": answer.allowed_by,
    }


# ---- broken variants ------------------------------------------------------------------------------------------------


def variants_text(found: Sequence[Variant]) -> str:
    """One strategy whole and without each step: what was predicted, and what was seen; why some of it was not."""
    rows = [["without", "predicted", "seen", "trials"]]
    reasons: dict[str, list[str]] = {}
    notes = []
    for variant in found:
        name = variant.without or "(complete)"
        failures: list[Failure | None] = [*variant.failures]
        for number, failure in enumerate(failures or [None]):
            broken = f"{failure.property}/{failure.kind}" if failure else "nothing"
            first = (name, f"{variant.trials:,}") if not number else ("", "")
            rows.append([first[0], broken, f"{failure.seen:,}" if failure else "", first[1]])
            if failure and failure.why:
                reasons.setdefault(failure.why, []).append(f"{name}: {broken}")
        if variant.waits:
            notes.append(f"{name}: the patcher waits in vain at {variant.waits}")
        if variant.not_allowed:
            notes.append(f"{name}: {variant.not_allowed:,} executions are NOT ALLOWED by the machine")
        if variant.not_compared:
            notes.append(f"{name}: not compared: {variant.not_compared:,} torn executions, of too many kinds")
    notes += [f"not seen, as it {why}: {'; '.join(which)}" for why, which in reasons.items()]
    return "\n".join([found[0].strategy, "", table(rows), *(fill(note, "  ", "    ") for note in notes)])


def variants_summary(found: Sequence[Variant]) -> str:
    """How many of the predicted failures were seen."""
    failures = [failure for variant in found for failure in variant.failures]
    seen = [failure for failure in failures if failure.seen]
    executions, trials = sum(v.executions for v in found), sum(v.trials for v in found)
    return (
        f"{len(seen)} of {plural(len(failures), 'predicted failure')} seen, in {plural(executions, 'execution')} "
        f"and {plural(trials, 'trial')}"
    )


def variant_json(variant: Variant) -> dict[str, Any]:
    """The same as data."""
    return asdict(variant)


# ---- the survey -----------------------------------------------------------------------------------------------------


def survey_json(made: Survey) -> dict[str, Any]:
    """All rows, and which presets are left."""
    return {
        "seconds": round(made.seconds, 3),
        "rows": [asdict(row) for row in made.rows],
        "not_allowed": made.not_allowed,
        "not_compared": made.not_compared,
        "too_wide": {name: made.too_wide(name) for name in made.not_allowed},
        "nearest": made.nearest,
    }


def survey_rows(survey: Mapping[str, Any]) -> list[list[str]]:
    """A header, and for each row where, what was seen in how many trials, and `x` for each preset that allows it."""
    rows = [["site", "sync", "seen", "trials", *(str(k + 1) for k in range(len(X86_PRESETS)))]]
    for row in survey["rows"]:
        marks = ["x" if row["allowed"].get(name) else "." for name in X86_PRESETS]
        sync = row["sync"] if row["litmus"] == "synced" else ""
        seen = f"{row['seen']:,}" + (f" in {row['seen_in']:,}" if row["seen_in"] else "")
        rows.append([row["align"], sync, seen, f"{row['trials']:,}", *marks])
    return rows


def groups(survey: Mapping[str, Any]) -> list[tuple[str, list[int]]]:
    """The rows by program and question: a title, and the numbers of its rows."""
    found: dict[str, list[int]] = {}
    for k, row in enumerate(survey["rows"]):
        found.setdefault(f"{row['says']}: {ASKED[row['asks']]}", []).append(k)
    return list(found.items())


def conclusions(survey: Mapping[str, Any]) -> list[str]:
    missed = survey.get("not_compared", 0)
    unsound = [f"{name} ({count:,})" for name, count in survey["not_allowed"].items() if count]
    sound = [f"{name} ({survey['too_wide'][name]})" for name, count in survey["not_allowed"].items() if not count]
    return [
        f"nearest preset: {', '.join(survey['nearest']) or 'none'}",
        *([f"not compared: {missed:,} torn executions, of too many kinds"] if missed else []),
        f"allow all that was seen (and so many rows that were not): {', '.join(sound) or 'none'}",
        f"do not (so many executions): {', '.join(unsound) or 'none'}",
    ]


def survey_text(survey: Mapping[str, Any]) -> str:
    """The survey as tables of 80 columns."""
    rows = survey_rows(survey)
    lines = []
    for title, numbers in groups(survey):
        body = table([rows[0], *(rows[k + 1] for k in numbers)]).splitlines()
        lines += [fill(title), *(f"  {line}" for line in body), ""]
    lines += [f"  {k}  {name}" for k, name in enumerate(X86_PRESETS, 1)]
    lines += ["", *(fill(line, "", "  ") for line in conclusions(survey)), ""]
    note = (
        "12 in 9: 12 executions in 9 trials; x: the preset allows it. Not seen is what these trials showed, no promise."
    )
    lines.append(fill(note, "", "  "))
    return "\n".join(lines)


def host_text(host: Mapping[str, Any]) -> str:
    """The machine in one paragraph."""
    where = f", under {host['hypervisor']}" if host["hypervisor"] != "none" else ""
    said = f"{host['cpu']} ({host['family']}), microcode {host['microcode']}, {plural(host['cpus'], 'CPU')}{where}"
    return fill(f"silicon  {said}, {host['kernel']}", "", "         ")
