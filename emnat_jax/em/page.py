"""The report as one HTML page: no script, no network, readable on a phone. A function of report.json alone."""

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from emnat_jax.em.charts import bar_chart, line_chart, scatter
from emnat_jax.em.style import STYLE

NAMES = {"ar": "teacher (AR)", "nar": "student (one pass)", "nar_rescored": "student, rescored by teacher 0"}
SURE = 0.05  # p value under which a difference is called one


def page(report: dict[str, Any]) -> str:
    """The whole page."""
    rounds = report["rounds"]
    title = f"EM report: {_languages(report)}"
    parts = [_summary(report), _rounds(report), _charts(report), _choices(rounds), _samples(report["samples"]),
             _pipeline(report), _settings(report)] if rounds else ["<p>No round is finished.</p>"]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body><main><h1>{_text(title)}</h1>"
        f"{''.join(parts)}</main></body></html>"
    )


def _summary(report: dict[str, Any]) -> str:
    """What was trained, on what, how good, how fast, and whether EM helped, in a sentence each."""
    first, last = report["rounds"][0], report["rounds"][-1]
    teacher, student = first["ar"]["test"]["bleu"], last["nar"]["test"]["bleu"]
    cards = [
        ("Trained", f"{_family(report, 'student')} student and {_family(report, 'teacher')} teacher", _data(report)),
        ("Teacher", f"{teacher:.1f} BLEU", "round 0, test split"),
        ("Student, one pass", f"{student:.1f} BLEU", f"round {last['round']}, {_distance(teacher - student)}"),
    ]  # fmt: skip
    if "nar_rescored" in last:
        rescored = last["nar_rescored"]["test"]["bleu"]
        cards.append(("Student, rescored", f"{rescored:.1f} BLEU", "teacher 0 chooses among its hypotheses"))
    cards += [("Did EM help?", *_verdict(report["em_effect"])), ("Speed", *_speed(report["latency"]))]
    boxes = "".join(
        f'<div class="card"><h3>{_text(name)}</h3><p class="big">{_text(value)}</p><p>{_text(note)}</p></div>'
        for name, value, note in cards
    )
    stopped = f"<p>The rounds were stopped: {_text(report['stopped'])}</p>" if report["stopped"] else ""
    note = f"BLEU is sacreBLEU against the raw references: {first['ar']['test']['bleu_signature']}."
    return f'<div class="cards">{boxes}</div>{stopped}<p class="note">{_text(note)}</p>'


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
    inside = report["config"].get("em", {}).get("nar_data") == "candidates"
    return "the E-step inside the loss" if inside else "plain distillation"


def _rounds(report: dict[str, Any]) -> str:
    """A line a round and system."""
    rounds = report["rounds"]
    head = ("round", "system", "BLEU", "chrF++", "length ratio", "repeated words", "trained on", "updates")
    lines = []
    for item in rounds:
        for name in (name for name in NAMES if name in item):
            test, trained = item[name]["test"], item[name].get("training", {})
            lines.append((item["round"], NAMES[name], f"{test['bleu']:.2f}", f"{test['chrf']:.2f}", f"{test['length_ratio']:.3f}",
                          f"{test['repeat_rate']:.2%}", trained.get("rows", ""), trained.get("step", "")))  # fmt: skip
    return f"<h2>Rounds</h2><p>Test split. The student of round 0 learned by {_first_student(report)}; each later round follows an E-step.</p>{_table(head, lines)}"


def _charts(report: dict[str, Any]) -> str:
    rounds = report["rounds"]

    def over_rounds(read) -> dict[str, list]:
        return {NAMES[name]: [(item["round"], read(item[name]["test"])) for item in rounds]
                for name in NAMES if name in rounds[0]}  # fmt: skip

    ncm = {f"{name}, {split}": [(item["round"], item["ncm"][split][key]) for item in rounds]
           for split in ("train", "valid") for key, name in (("ar_nll", "AR NLL"), ("total_correlation", "total correlation"))}  # fmt: skip
    figures = [
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
    drawn = "".join(
        f"<figure><figcaption>{_text(name)}</figcaption>{chart}</figure>" for name, chart in figures
    )
    return f'<h2>Curves</h2><div class="figures">{drawn}</div>'


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
    steps = [item for item in rounds if item["selection"]]
    if not steps:
        return ""
    widest = max(len(item["selection"]["rank_histogram"]) for item in steps)
    shares = {}
    for item in steps:
        counts = item["selection"]["rank_histogram"]
        total = max(sum(counts), 1)
        shares[f"round {item['round']}"] = [100 * count / total for count in counts] + [0.0] * (
            widest - len(counts)
        )
    chart = bar_chart(
        [str(rank + 1) for rank in range(widest)], shares, "rank in the teacher's list", "% of sentences"
    )
    head = (
        "after round",
        "rule",
        "teacher's best taken",
        "log p of teacher 0 a token: chosen",
        "teacher's best",
        "tokens a target",
    )
    lines = []
    for item in steps:
        chosen = item["selection"]
        lines.append((item["round"], chosen["rule"], f"{chosen['agreement']:.1%}", f"{chosen['ar0_log_prob_per_token']:.3f}",
                      f"{chosen['teacher_ar0_log_prob_per_token']:.3f}", f"{chosen['tokens_per_target']:.2f}"))  # fmt: skip
    about = "Which of the teacher's candidates became targets. If the chosen ones grow less likely under the first teacher, the loop drifts."
    return f'<h2>What the E-step chose</h2><p>{_text(about)}</p><div class="figures"><figure>{chart}</figure></div>{_table(head, lines)}'


def _samples(samples: list[dict]) -> str:
    """Test sentences by length with every round's outputs."""
    blocks = []
    for item in samples:
        known = {
            _bare(word) for text in (item["reference"], item["rounds"][0]["ar"]) for word in text.split()
        }
        lines = [_line("source", _text(item["source"])), _line("reference", _text(item["reference"]))]
        lines.append(_line("teacher, round 0", _marked(item["rounds"][0]["ar"], None)))
        lines += [
            _line(f"student, round {found['round']}", _marked(found["nar"], known))
            for found in item["rounds"]
        ]
        if "nar_rescored" in item["rounds"][-1]:
            lines.append(_line("the last, rescored", _marked(item["rounds"][-1]["nar_rescored"], known)))
        blocks.append(
            f'<table class="sample"><caption>{_text(item["words"])} words</caption>{"".join(lines)}</table>'
        )
    about = (
        "<p><mark>Marked</mark>: a word that repeats its neighbour. <u>Underlined</u>: a word of the student that neither the "
        "reference nor the teacher has, as where two translations are mixed.</p>"
    )
    return f"<h2>Sentences</h2>{about}{''.join(blocks)}"


def _line(name: str, content: str) -> str:
    return f"<tr><th>{_text(name)}</th><td>{content}</td></tr>"


def _marked(text: str, known: set[str] | None) -> str:
    words, last = [], None
    for word in text.split():
        shown = _text(word)
        if known is not None and _bare(word) not in known:
            shown = f"<u>{shown}</u>"
        words.append(f"<mark>{shown}</mark>" if _bare(word) == last else shown)
        last = _bare(word)
    return " ".join(words)


def _bare(word: str) -> str:
    """Without the punctuation around it and in small letters; punctuation alone stays."""
    return word.strip(".,;:!?\"'()").lower() or word


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
    return f"<h2>Pipeline and provenance</h2><p>Each row names what it was made from, in the order of making.</p>{_table(head, lines)}"


def _settings(report: dict[str, Any]) -> str:
    versions = report["environment"]
    machine = ", ".join(str(versions[name]) for name in ("devices", "platform", "python"))
    packages = ", ".join(f"{name} {version}" for name, version in versions["versions"].items())
    config = _text(json.dumps(report["config"], indent=1, ensure_ascii=False))
    return (
        f"<h2>Settings</h2><p>{_text(machine)}; {_text(packages)}; seed {report['config']['seed']}.</p>"
        f"<details><summary>Configuration</summary><pre>{config}</pre></details>"
    )


def _languages(report: dict[str, Any]) -> str:
    data = report["config"]["data"]
    return f"{data['source_language']} to {data['target_language']}"


def _data(report: dict[str, Any]) -> str:
    kinds = {
        "demo": "bundled demo",
        "text": "own text",
        "tfds": report["config"]["data"]["tfds"],
        "modes": "generated task",
    }
    kind = report["config"]["data"]["kind"]
    return (
        f"{report['provenance']['data/train']['rows']:,} pairs, {kinds.get(kind, kind)}, {_languages(report)}"
    )


def _family(report: dict[str, Any], role: str) -> str:
    return report["config"][role]["family"]


def _table(head: Sequence[str], lines: Iterable[Sequence]) -> str:
    top = "".join(f"<th>{_text(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(value) -> str:
    return html.escape(str(value))
