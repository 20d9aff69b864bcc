"""When the rounds end before their number (docs/method.md, section 7.3)."""

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import is_finished, load_manifest
from emnat_jax.em.results import read_evaluation
from emnat_jax.em.workdir import Workspace


def stop_reason(work: Workspace, index: int) -> str | None:
    """Why round `index` is the last, from what is there of it; None where it is not, or was to be."""
    if index == work.config.em.rounds:
        return None
    return _too_small_gain(work, index) or _too_much_drift(work, index)


def _too_small_gain(work: Workspace, index: int) -> str | None:
    least = work.config.em.stop_min_gain
    if least is None or index == 0:
        return None
    gain = _valid_bleu(work, index) - _valid_bleu(work, index - 1)
    if gain >= least:
        return None
    return f"the student's valid BLEU rose by {gain:.2f}, less than em.stop_min_gain={least}"


def _too_much_drift(work: Workspace, index: int) -> str | None:
    """Of the choices that the next round would be trained on, from the best of round 0."""
    most = work.config.em.stop_max_drift
    if most is None or not is_finished(work.directory / paths.selected(index)):
        return None
    best = _fidelity(work, 0, "rank1_teacher0_log_prob_per_token")
    drift = best - _fidelity(work, index, "teacher0_log_prob_per_token")
    if drift <= most:
        return None
    return (
        f"round {index}'s choices have {drift:.3f} nats a token less log p_teacher0 than the teacher's best, "
        f"more than em.stop_max_drift={most}"
    )


def _valid_bleu(work: Workspace, index: int) -> float:
    return read_evaluation(work.directory, index).student.valid.bleu


def _fidelity(work: Workspace, index: int, name: str) -> float:
    manifest = load_manifest(work.directory / paths.selected(index), verify_shards=False)
    return manifest.options["statistics"][name]
