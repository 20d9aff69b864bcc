"""The report as one HTML page: no script, no network, readable on a phone. A function of report.json alone."""

import json
import math
from collections.abc import Sequence
from typing import Any

from emnat_jax.report.charts import bar_chart, line_chart, scatter
from emnat_jax.report.markup import SURE, cards, document, figures, table, text
from emnat_jax.report.sentences import sentences

NAMES = {"ar": "teacher (AR)", "nar": "student (one pass)", "nar_rescored": "student, rescored by teacher 0"}


def page(report: dict[str, Any]) -> str:
    """The whole page."""
    rounds = report["rounds"]
    title = f"EM report: {_languages(report)}"
    parts = [_summary(report), _rounds(report), _charts(report), _choices(rounds), sentences(report["samples"]),
             _pipeline(report), _settings(report)] if rounds else ["<p>No round is finished.</p>"]  # fmt: skip
    return document(title, "".join(parts))


def _summary(report: dict[str, Any]) -> str:
    """What was trained, on what, how good, how fast, and whether EM helped, in a sentence each."""
    first, last = report["rounds"][0], report["rounds"][-1]
    teacher, student = first["ar"]["test"]["bleu"], last["nar"]["test"]["bleu"]
    shown = [
        ("Trained", f"{_family(report, 'student')} student and {_family(report, 'teacher')} teacher", _data(report)),
        ("Teacher", f"{teacher:.1f} BLEU", "round 0, test split"),
        ("Student, one pass", f"{student:.1f} BLEU", f"round {last['round']}, {_distance(teacher - student)}"),
    ]  # fmt: skip
    if "nar_rescored" in last:
        rescored = last["nar_rescored"]["test"]["bleu"]
        shown.append(("Student, rescored", f"{rescored:.1f} BLEU", "teacher 0 chooses among its hypotheses"))
    shown += [("Did EM help?", *_verdict(report["em_effect"])), ("Speed", *_speed(report["latency"]))]
    stopped = f"<p>The rounds were stopped: {text(report['stopped'])}</p>" if report["stopped"] else ""
    note = f"BLEU is sacreBLEU against the raw references: {first['ar']['test']['bleu_signature']}."
    return f'{cards(shown)}{stopped}<p class="note">{text(note)}</p>'


def _distance(gap: float) -> str:
    return f"{abs(gap):.1f} {'behind' if gap >= 0 else 'ahead of'} the teacher"


def _verdict(effect: dict[str, Any] | None) -> tuple[str, str]:
    if effect is None:
        return "not asked", "no round after the first"
    gain = effect["after"] - effect["before"]
    p_value = f"p = {effect['p_value']:.3f}, paired bootstrap; one seed"
    if effect["p_value"] >= SURE:
        return f"cannot tell: {gain:+.1f}", f"student of round {effect['round']} against round 0, {p_value}"
    word = "yes" if gain > 0 else "no, it hurt"
    return f"{word}: {gain:+.1f} BLEU", f"student of round {effect['round']} against round 0, {p_value}"


def _speed(latency: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The student's and the teacher's last timing of single sentences."""
    found = {
        item["role"]: item for item in latency if "batch_1" in item["figures"] and item["bleu"] is not None
    }
    if "nar" not in found:
        return "not measured", "emnat benchmark latency --role=nar, and --role=ar"
    student = found["nar"]["figures"]["batch_1"]["median_ms"]
    if "ar" not in found:
        return f"{student:.1f} ms a sentence", "student alone, batch of 1"
    teacher = found["ar"]["figures"]["batch_1"]["median_ms"]
    return (
        f"{teacher / student:.1f} times the teacher's",
        f"{student:.1f} ms against {teacher:.1f} ms a sentence, batch of 1",
    )


def _first_student(report: dict[str, Any]) -> str:
    data = report["config"].get("em", {}).get("nar_data")
    learned = {"candidates": "the E-step inside the loss", "raw": "the corpus' own pairs"}
    return learned.get(data, "plain distillation")


def _rounds(report: dict[str, Any]) -> str:
    """A line a round and system."""
    rounds = report["rounds"]
    several = "test_multi" in rounds[0]["nar"]
    head = ("round", "system", "BLEU", *(("several references",) if several else ()), "chrF++", "length ratio", "repeated words",
            "type/token", "trained on", "updates")  # fmt: skip
    lines = []
    for item in rounds:
        for name in (name for name in NAMES if name in item):
            test, trained = item[name]["test"], item[name].get("training", {})
            multi = (f"{item[name]['test_multi']['bleu']:.2f}",) if several else ()
            lines.append((item["round"], NAMES[name], f"{test['bleu']:.2f}", *multi, f"{test['chrf']:.2f}", f"{test['length_ratio']:.3f}",
                          f"{test['repeat_rate']:.2%}", f"{test.get('type_token_ratio', math.nan):.3f}", trained.get("rows", ""), trained.get("step", "")))  # fmt: skip
    return f"<h2>Rounds</h2><p>Test split. The student of round 0 learned by {_first_student(report)}; each later round follows an E-step.</p>{table(head, lines)}"


def _charts(report: dict[str, Any]) -> str:
    rounds = report["rounds"]

    def over_rounds(read) -> dict[str, list]:
        return {NAMES[name]: [(item["round"], read(item[name]["test"])) for item in rounds]
                for name in NAMES if name in rounds[0]}  # fmt: skip

    ncm = {f"{name}, {split}": [(item["round"], item["ncm"][split][key]) for item in rounds]
           for split in ("train", "valid") for key, name in (("ar_nll", "AR NLL"), ("total_correlation", "total correlation"))}  # fmt: skip
    drawn = [
        ("Quality by round", line_chart(over_rounds(lambda test: test["bleu"]), "round", "BLEU")),
        ("chrF++ by round", line_chart(over_rounds(lambda test: test["chrf"]), "round", "chrF++")),
        ("How multi-modal the student's targets are, nats a token: NCM is the sum of the two of a split",
         line_chart(ncm, "round", "nats a token")),
        ("Neighbouring words that are equal, %",
         line_chart(over_rounds(lambda test: 100 * test["repeat_rate"]), "round", "%")),
        ("Quality by length, last round", _by_length(report["by_length"][str(rounds[-1]["round"])])),
        *_latency_chart(report["latency"]),
        *((f"Training of the {NAMES[role].split(' ')[0]}", _curves(report["curves"], role)) for role in ("ar", "nar")),
    ]  # fmt: skip
    return f"<h2>Curves</h2>{figures(drawn)}"


def _by_length(buckets: list[dict]) -> str:
    names = [f"{bucket['words']} ({bucket['sentences']})" for bucket in buckets]
    systems = {NAMES[name]: [bucket["bleu"][name] for bucket in buckets] for name in buckets[0]["bleu"]}
    return bar_chart(names, systems, "words of the reference (sentences)", "BLEU")


def _latency_chart(latency: list[dict]) -> list[tuple[str, str]]:
    points = {
        f"{item['name']}, batch {size.split('_')[1]}": (1e3 / figures["sentences_per_second"], item["bleu"])
        for item in latency if item["bleu"] is not None
        for size, figures in item["figures"].items()
    }  # fmt: skip
    return [("Quality and speed", scatter(points, "ms a sentence", "BLEU"))] if points else []


def _curves(curves: list[dict], role: str) -> str:
    labels = (("loss", "training loss"), ("valid_loss", "loss on references (valid)"))
    series = {
        f"round {c['round']}, {label}": c[key]
        for c in curves
        if c["role"] == role
        for key, label in labels
        if c[key]
    }
    return line_chart(series, "update", "nats a token")


def _choices(rounds: list[dict]) -> str:
    """What each E-step took."""
    steps = [(item["round"], item["selection"]) for item in rounds if item["selection"]]
    if not steps:
        return ""
    widest = max(len(chosen["rank_histogram"]) for _, chosen in steps)
    shares = {f"round {index}": _shares(chosen["rank_histogram"], widest) for index, chosen in steps}
    names = [str(rank + 1) for rank in range(widest)]
    chart = bar_chart(names, shares, "rank in the list", "% of sentences")
    about = (
        "Which of the candidates became targets, by their place in the proposer's list. If the chosen ones grow less "
        "likely under the first teacher, the loop drifts."
    )
    drawn = figures([("Choices by rank", chart)])
    return f"<h2>What the E-step chose</h2><p>{text(about)}</p>{drawn}{_choices_table(steps)}"


def _shares(counts: list[float | int], width: int) -> list[float]:
    """In per cent, with zeros up to `width`."""
    total = max(sum(counts), 1)
    return [100 * count / total for count in counts] + [0.0] * (width - len(counts))


def _choices_table(steps: list[tuple[int, dict]]) -> str:
    head = ("after round", "rule", "the list's first taken", "log p of teacher 0 a token: chosen", "the list's first",
            "tokens a target")  # fmt: skip
    checked = "share_valid" in steps[0][1]
    lines = []
    for index, chosen in steps:
        valid = (f"{chosen['share_valid']:.2%}",) if checked else ()
        lines.append((index, chosen["rule"], f"{chosen['agreement']:.1%}", f"{chosen['ar0_log_prob_per_token']:.3f}",
                      f"{chosen['teacher_ar0_log_prob_per_token']:.3f}", f"{chosen['tokens_per_target']:.2f}", *valid))  # fmt: skip
    return table((*head, *(("valid choices",) if checked else ())), lines)


def _pipeline(report: dict[str, Any]) -> str:
    """Every set and model: what it was made of."""
    names = {item["content_hash"]: name for name, item in reversed(report["provenance"].items())}
    head = ("made", "rows", "left out", "from", "content hash")
    lines = []
    for name, item in report["provenance"].items():
        parents = [f"{role}: {names.get(value, value[:12])}" for role, value in item["fingerprints"].items()]
        dropped = ", ".join(f"{reason} {count}" for reason, count in item["dropped"].items() if count)
        seconds = report["seconds"].get(name)
        time = "" if seconds is None else f" ({seconds:.0f} s)"
        lines.append((name + time, item["rows"], dropped, "; ".join(parents), item["content_hash"][:12]))
    return f"<h2>Pipeline and provenance</h2><p>Each row names what it was made from, in the order of making.</p>{table(head, lines)}"


def _settings(report: dict[str, Any]) -> str:
    versions = report["environment"]
    machine = ", ".join(str(versions[name]) for name in ("devices", "platform", "python"))
    packages = ", ".join(f"{name} {version}" for name, version in versions["versions"].items())
    config = text(json.dumps(report["config"], indent=1, ensure_ascii=False))
    return (
        f"<h2>Settings</h2><p>{text(machine)}; {text(packages)}; seed {report['config']['seed']}.</p>"
        f"<details><summary>Configuration</summary><pre>{config}</pre></details>"
    )


def _languages(report: dict[str, Any]) -> str:
    data = report["config"]["data"]
    return f"{data['source_language']} to {data['target_language']}"


def _data(report: dict[str, Any]) -> str:
    data = report["config"]["data"]
    name = corpus_name(data["kind"], data["tfds"])
    return f"{report['provenance']['data/train']['rows']:,} pairs, {name}, {_languages(report)}"


def corpus_name(kind: str, tfds: str | None) -> str:
    """A data.kind as a reader knows it."""
    names = {"demo": "bundled demo", "text": "own text", "tfds": tfds or "tfds", "modes": "generated task"}
    return names[kind]


def _family(report: dict[str, Any], role: str) -> str:
    return report["config"][role]["family"]
