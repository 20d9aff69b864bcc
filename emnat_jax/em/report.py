"""report.json, its page and the plain table: what every round reached, from what, with which versions."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from emnat_jax.artifacts.atomic import atomic_file
from emnat_jax.artifacts.journal import read_journal
from emnat_jax.artifacts.manifest import is_finished, load_manifest, read_dataset
from emnat_jax.config import ROLES
from emnat_jax.config.convert import to_dict
from emnat_jax.em.details import details, finished_rounds
from emnat_jax.em.evaluate import valid_share
from emnat_jax.em.plan import EVAL_NAME, make_plan
from emnat_jax.em.workdir import Workspace
from emnat_jax.report.markup import columns_of_text
from emnat_jax.report.page import page

PACKAGES = ("emnat_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "sentencepiece", "sacrebleu")


def write_report(work: Workspace, stopped: str | None = None) -> dict[str, Any]:
    """Writes report/report.json, report/index.html and report/table.txt from the rounds that are finished."""
    rounds = finished_rounds(work.directory, work.config.em.rounds)
    report = {
        "rounds": [_round(work, index) for index in rounds],
        **details(work, rounds),
        "stopped": stopped,
        "provenance": _provenance(work),
        "config": to_dict(work.config),
        "environment": environment(),
        "seconds": _seconds(work),
    }
    write_texts(work.directory / "report", {
        "report.json": json.dumps(report, indent=2, ensure_ascii=False),
        "index.html": page(report),
        "table.txt": table(report),
    })  # fmt: skip
    return report


def write_texts(folder: epath.Path, texts: Mapping[str, str]) -> None:
    """Files of a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with atomic_file(folder / name) as file:
            file.write(text.encode() + b"\n")


def _round(work: Workspace, index: int) -> dict[str, Any]:
    """The evaluation, how the models were trained, and the E-step that followed (None after the last)."""
    here = work.directory / f"rounds/{index}"
    result = json.loads((here / EVAL_NAME).read_text())
    for role in ROLES:
        manifest = load_manifest(work.round_folder(index, role))
        result[role]["training"] = {
            "rows": manifest.rows_in,
            "step": manifest.options["step"],
            "valid_loss": manifest.options["valid_loss"],
            "parameters": manifest.content_hash,
        }
    selected = here / "selected"
    result["selection"] = None
    if is_finished(selected):
        options = load_manifest(selected).options
        result["selection"] = {**options["select"], **options["statistics"], **_valid_choices(work, selected)}
    return result


def _valid_choices(work: Workspace, selected: epath.Path) -> dict[str, float]:
    """On the generated task: the share of sources whose (first) chosen target is a translation of it."""
    if work.config.data.kind != "modes":
        return {}
    rows = list(read_dataset(selected))
    return valid_share(work, [work.vocabulary.decode(row.targets[0]) for row in rows], rows)


def _provenance(work: Workspace) -> dict[str, Any]:
    """Content hash and fingerprints of everything that is finished."""
    folders = [f"data/{split}" for split in ("train", "valid", "test")]
    folders += [stage.output for stage in make_plan(work.config) if stage.kind not in ("prepare", "evaluate")]
    found = {}
    for name in folders:
        if is_finished(work.directory / name):
            manifest = load_manifest(work.directory / name, verify_shards=False)
            found[name] = {"content_hash": manifest.content_hash, "fingerprints": manifest.fingerprints,
                           "rows": manifest.rows_out, "dropped": manifest.dropped}  # fmt: skip
    return found


def environment() -> dict[str, Any]:
    """Devices, platform and versions."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    devices = jax.devices()
    return {
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _seconds(work: Workspace) -> dict[str, float]:
    """Time of each stage; of a resumed one, that of the run that ended it."""
    return {
        line["stage"]: line["seconds"] for line in read_journal(work.directory) if line.get("event") == "end"
    }


def _rescored(item: dict[str, Any]) -> str:
    return f"{item['student_rescored']['test']['bleu']:.2f}" if "student_rescored" in item else "-"


def table(report: dict[str, Any]) -> str:
    """A line a round: teacher and student on the test split, and what the E-step did."""
    columns = ("round", "teacher BLEU", "student BLEU", "rescored", "teacher chrF++", "student chrF++", "length ratio", "repeats %",
               "NCM train", "teacher NLL", "agreement")  # fmt: skip
    modes = any("share_valid" in item["student"]["test"] for item in report["rounds"])
    if modes:
        columns += ("teacher valid %", "student valid %", "choices valid %")
    lines = [columns]
    for item in report["rounds"]:
        teacher, student, ncm = item["teacher"]["test"], item["student"]["test"], item["ncm"]["train"]
        agreement = f"{item['selection']['agreement']:.2f}" if item["selection"] else "-"
        line = (str(item["round"]), f"{teacher['bleu']:.2f}", f"{student['bleu']:.2f}", _rescored(item), f"{teacher['chrf']:.2f}",
                f"{student['chrf']:.2f}", f"{student['length_ratio']:.3f}", f"{100 * student['repeat_rate']:.2f}",
                f"{ncm['ncm']:.3f}", f"{ncm['teacher_nll']:.3f}", agreement)  # fmt: skip
        if modes:
            chosen = f"{100 * item['selection']['share_valid']:.2f}" if item["selection"] else "-"
            line += (f"{100 * teacher['share_valid']:.1f}", f"{100 * student['share_valid']:.1f}", chosen)
        lines.append(line)
    notes = (
        [f"test split; {report['rounds'][0]['teacher']['test']['bleu_signature']}"]
        if report["rounds"]
        else []
    )
    notes += [f"stopped: {report['stopped']}"] if report["stopped"] else []
    return "\n".join([*columns_of_text(lines), *notes])
