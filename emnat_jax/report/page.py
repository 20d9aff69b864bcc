"""The report as one HTML page: no script, no network, readable on a phone. A function of report.json alone."""

import itertools
import json
import math
from typing import Any

from emnat_jax.report.charts import bar_chart, line_chart
from emnat_jax.report.choices import choices
from emnat_jax.report.markup import document, figures, table, text
from emnat_jax.report.sentences import sentences
from emnat_jax.report.speed import speed_section
from emnat_jax.report.summary import languages, summary
from emnat_jax.report.systems import NAMES


def page(report: dict[str, Any]) -> str:
    """The whole page."""
    rounds = report["rounds"]
    title = f"EM report: {languages(report['config']['data'])}"
    if not rounds:
        return document(title, "<p>No round is finished.</p>")
    parts = [summary(report), _rounds(report), _charts(report), speed_section(report["latency"]), choices(rounds),
             sentences(report["samples"]), _pipeline(report), _settings(report)]  # fmt: skip
    return document(title, "".join(parts))


def _first_student(report: dict[str, Any]) -> str:
    data = report["config"]["em"].get("student_data")
    learned = {"candidates": "the E-step inside the loss", "raw": "the corpus' own pairs"}
    return learned.get(data, "plain distillation")


def _rounds(report: dict[str, Any]) -> str:
    """A line a round and system."""
    rounds = report["rounds"]
    multi = rounds[0]["student"].get("test_multi")
    several = (f"BLEU, several references ({multi['sentences']:,} other sentences)",) if multi else ()
    head = ("round", "system", "BLEU", *several, "chrF++", "length ratio", "repeats", "type/token", "pairs learned from",
            "updates")  # fmt: skip
    updates = {name: _updates(report, name) for name in ("teacher", "student")}
    lines = []
    for place, item in enumerate(rounds):
        for name in (name for name in NAMES if name in item):
            test, trained = item[name]["test"], item[name].get("training")
            learned = (f"{trained['rows']:,}", updates[name][place]) if trained else ("", "")
            others = (f"{item[name]['test_multi']['bleu']:.2f}",) if multi else ()
            lines.append((item["round"], NAMES[name], f"{test['bleu']:.2f}", *others, f"{test['chrf']:.2f}",
                          f"{test['length_ratio']:.3f}", f"{test['repeat_rate']:.2%}",
                          f"{test.get('type_token_ratio', math.nan):.3f}", *learned))  # fmt: skip
    about = f"Test split. The student of round 0 learned by {_first_student(report)}; each later round follows an E-step."
    note = (
        "Length ratio: words over the reference's words, 1 is best. Repeats: words equal to the one before; longer loops are not "
        "counted. Type/token: different words over words, lower is poorer."
        + (f" Several references: {multi['bleu_signature']}." if multi else "")
    )
    return f'<h2>Rounds</h2><p>{text(about)}</p>{table(head, lines)}<p class="note">{text(note)}</p>'


def _updates(report: dict[str, Any], role: str) -> list[str]:
    """Of each round; where a model goes on from the last round's, how many that makes."""
    steps = [item[role]["training"]["step"] for item in report["rounds"]]
    first, *later = steps
    if role == "teacher" and not report["config"]["em"]["update_teacher"]:
        return [f"{first:,}", *("none, it stays" for _ in later)]
    if not report["config"]["em"]["warm_start"]:
        return [f"{step:,}" for step in steps]
    totals = itertools.islice(itertools.accumulate(steps), 1, None)
    return [f"{first:,}", *(f"+{step:,} ({total:,} in all)" for step, total in zip(later, totals))]


def _charts(report: dict[str, Any]) -> str:
    rounds = report["rounds"]

    def over_rounds(read) -> dict[str, list]:
        return {NAMES[name]: [(item["round"], read(item[name]["test"])) for item in rounds]
                for name in NAMES if name in rounds[0]}  # fmt: skip

    def of_targets(*shown: tuple[str, str, str]) -> dict[str, list]:
        return {
            name: [(item["round"], item["ncm"][split][key]) for item in rounds] for name, split, key in shown
        }

    ncm = of_targets(("training sentences", "train", "ncm"), ("valid split", "valid", "ncm"))
    parts = of_targets(("under the teacher (teacher NLL)", "train", "teacher_nll"), ("what one pass adds (total correlation)", "train", "total_correlation"))  # fmt: skip
    drawn = [
        ("Quality by round", line_chart(over_rounds(lambda test: test["bleu"]), "round", "BLEU")),
        ("chrF++ by round", line_chart(over_rounds(lambda test: test["chrf"]), "round", "chrF++")),
        ("Repeats, %", line_chart(over_rounds(lambda test: 100 * test["repeat_rate"]), "round", "%")),
        ("How hard the targets are for the student (NCM, its negative log-likelihood a token): lower is easier",
         line_chart(ncm, "round", "nats a token")),
        ("What NCM is made of, training sentences: it is the sum of both", line_chart(parts, "round", "nats a token")),
        ("Quality by length, last round", _by_length(report["by_length"][str(rounds[-1]["round"])])),
        *((f"Training of the {NAMES[role].split(' ')[0]}; the losses are on different targets, their levels do not compare",
           _curves(report, role)) for role in ("teacher", "student")),
    ]  # fmt: skip
    return f"<h2>Curves</h2>{figures(drawn)}"


def _by_length(buckets: list[dict]) -> str:
    names = [f"{bucket['words']} ({bucket['sentences']})" for bucket in buckets]
    systems = {NAMES[name]: [bucket["bleu"][name] for bucket in buckets] for name in buckets[0]["bleu"]}
    return bar_chart(names, systems, "words of the reference (sentences)", "BLEU")


def _curves(report: dict[str, Any], role: str) -> str:
    """Losses by update; a model that goes on from the last round's goes on to the right of it."""
    labels = (("loss", "training loss"), ("valid_loss", "loss on references (valid)"))
    series, before = {}, 0
    for curve in (curve for curve in report["curves"] if curve["role"] == role):
        for key, label in labels:
            if curve[key]:
                series[f"round {curve['round']}, {label}"] = [
                    (before + step, value) for step, value in curve[key]
                ]
        if report["config"]["em"]["warm_start"]:
            before += max((step for key, _ in labels for step, _ in curve[key]), default=0)
    return line_chart(series, "update", "nats a token")


def _pipeline(report: dict[str, Any]) -> str:
    """Every set and model: what it was made of."""
    names = {item["content_hash"]: name for name, item in reversed(report["provenance"].items())}
    head = ("made", "rows", "left out", "from", "content hash", "seconds")
    lines = []
    for name, item in report["provenance"].items():
        parents = [f"{role}: {names.get(value, value[:12])}" for role, value in item["fingerprints"].items()]
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in item["dropped"].items() if count)
        seconds = report["seconds"].get(name)
        time = "" if seconds is None else f"{seconds:.0f}"
        lines.append(
            (name, f"{item['rows']:,}", dropped, "; ".join(parents), item["content_hash"][:12], time)
        )
    about = (
        "Each row names what it was made from, in the order of making. Without seconds: made by another run, or by commands of its own. "
        "Equal hashes are equal contents."
    )
    return f"<h2>Pipeline and provenance</h2><p>{text(about)}</p>{table(head, lines)}"


def _settings(report: dict[str, Any]) -> str:
    versions = report["environment"]
    machine = f"{versions['devices']}, {versions['platform']}, Python {versions['python']}"
    packages = ", ".join(f"{name} {version}" for name, version in versions["versions"].items())
    config = text(json.dumps(report["config"], indent=1, ensure_ascii=False))
    return (
        f"<h2>Settings</h2><p>{text(machine)}; {text(packages)}; seed {report['config']['seed']}.</p>"
        f"<details><summary>Configuration</summary><pre>{config}</pre></details>"
    )
