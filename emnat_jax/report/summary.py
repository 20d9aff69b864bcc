"""The top of a run's page: what was trained, on what, how good, how fast, and whether EM helped."""

from collections.abc import Sequence
from typing import Any

from emnat_jax.report.markup import SURE, cards, table, text
from emnat_jax.report.speed import speed
from emnat_jax.report.systems import NAMES, TESTS


def summary(report: dict[str, Any]) -> str:
    """A sentence on the run, its figures in boxes, and each difference that the rounds made with its p value."""
    first, last = report["rounds"][0], report["rounds"][-1]
    teacher, student = first["teacher"]["test"]["bleu"], last["student"]["test"]["bleu"]
    shown = [
        ("Teacher", f"{teacher:.2f} BLEU", "round 0, test split"),
        (
            "Student, one pass",
            f"{student:.2f} BLEU",
            f"round {last['round']}, {_distance(teacher - student)}",
        ),
    ]
    if "student_rescored" in last:
        rescored = last["student_rescored"]["test"]["bleu"]
        count = report["config"]["evaluation"]["rescored_candidates"]
        shown.append(
            (
                "Student, rescored",
                f"{rescored:.2f} BLEU",
                f"teacher 0 picks the best of the student's {count} outputs",
            )
        )
    shown += [("Did EM help?", *_verdict(report)), ("Speed", *speed(report["latency"]))]
    stopped = f"<p>The rounds were stopped: {text(report['stopped'])}</p>" if report["stopped"] else ""
    note = f"BLEU is sacreBLEU against the raw references: {first['teacher']['test']['bleu_signature']}."
    note = f'<p class="note">{text(note)}</p>'
    return f'<p class="lead">{text(_lead(report))}</p>{cards(shown)}{stopped}{note}{_effects(report)}'


def _lead(report: dict[str, Any]) -> str:
    config, first = report["config"], report["rounds"][0]
    rounds = len(report["rounds"]) - 1
    data = config["data"]
    pairs = report["provenance"]["data/train"]["rows"]
    return (
        f"A non-autoregressive student ({config['student']['family']}) that writes all words of a sentence at once learned "
        f"from an autoregressive teacher ({config['teacher']['family']}) that writes one after the other, with "
        f"{rounds or 'no'} EM round{'' if rounds == 1 else 's'}, on {pairs:,} sentence pairs, {languages(data)} "
        f"({corpus_name(data)}). Tested on {first['teacher']['test']['sentences']:,} sentences."
    )


def languages(data: dict[str, Any]) -> str:
    """From which language to which, of the options in `data`."""
    return f"{data['source_language']} to {data['target_language']}"


def corpus_name(data: dict[str, Any]) -> str:
    """The corpus of the options in `data`, as a reader knows it."""
    names = {"demo": "the bundled demo", "modes": "the generated multi-modal task"}
    return names.get(data["kind"]) or str(data["tfds" if data["kind"] == "tfds" else "train_source"])


def _distance(gap: float) -> str:
    return f"{abs(gap):.2f} {'behind' if gap >= 0 else 'ahead of'} the teacher of round 0"


def _verdict(report: dict[str, Any]) -> tuple[str, str]:
    """Of the student in one pass on the test split."""
    found = [item for item in report["em_effects"] if (item["system"], item["split"]) == ("student", "test")]
    if not found:
        return "not asked", "no round after the first"
    effect = found[0]
    gain = effect["after"] - effect["before"]
    more = f"{_more_updates(report)}; p = {effect['p_value']:.3f}, paired bootstrap; one seed"
    note = f"student of round {effect['round']} against round 0, {more}"
    if effect["p_value"] >= SURE:
        return f"cannot tell: {gain:+.2f}", note
    return f"{'yes' if gain > 0 else 'no, it hurt'}: {gain:+.2f} BLEU", note


def _more_updates(report: dict[str, Any]) -> str:
    """What the last student had beside the E-steps."""
    steps = [item["student"]["training"]["step"] for item in report["rounds"]]
    if not report["config"]["em"]["warm_start"]:
        return f"trained anew, {steps[-1]:,} updates against {steps[0]:,}"
    return f"with {sum(steps[1:]):,} more updates than its {steps[0]:,}"


def _effects(report: dict[str, Any]) -> str:
    """Every difference between the last round and the first."""
    effects = report["em_effects"]
    if not effects:
        return ""
    head = ("BLEU", "on", "round 0", f"round {effects[0]['round']}", "change", "p")
    lines = [
        (NAMES[item["system"]], _test_name(report, item["split"]), f"{item['before']:.2f}", f"{item['after']:.2f}",
         f"{item['after'] - item['before']:+.2f}", f"{item['p_value']:.3f}{'' if item['p_value'] < SURE else ', cannot tell'}")
        for item in effects
    ]  # fmt: skip
    note = (
        f"Paired bootstrap of one seed's outputs; its p value is one-sided, below {SURE} a change is called one. A change is "
        "that of the E-steps and of the further updates together; what those are worth without an E-step, a control says "
        f"(emnat sweep). {'; '.join(_signatures(effects))}."
    )
    return f'<h2>What the rounds changed</h2>{table(head, lines)}<p class="note">{text(note)}</p>'


def _test_name(report: dict[str, Any], split: str) -> str:
    return f"{report['rounds'][0]['student'][split]['sentences']:,} {TESTS[split]}"


def _signatures(effects: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"{TESTS[split]}: {signature}"
        for split, signature in {item["split"]: item["signature"] for item in effects}.items()
    ]
