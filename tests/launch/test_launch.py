"""The launch scripts against stand-ins for gcloud and kubectl: arguments, quoting, order, losses."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("stand_in.sh")
TPU = [
    "--name=mine",
    "--zone=us-central2-b",
    "--accelerator=v5litepod-16",
    "--workdir=gs://bucket/run",
    "--poll=0",
]
GKE = ["--name=mine", "--chip=v5e", "--topology=4x8", "--image=registry/emnat:1", "--workdir=gs://bucket/run"]
ACTIVE = ("*describe*", "+0", "ACTIVE\\n")


@pytest.fixture
def launch(tmp_path):
    """A function (script, arguments, answers) -> (status, output, calls)."""
    for name in ("gcloud", "kubectl", "git", "python3"):
        shutil.copy(STAND_IN, tmp_path / name)
    record, answers_file = tmp_path / "calls", tmp_path / "answers"

    def run(script, arguments, answers=()):
        record.unlink(missing_ok=True)
        answers_file.write_text("".join("\t".join(answer) + "\n" for answer in answers))
        environment = os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "RECORD": str(record),
            "ANSWERS": str(answers_file),
            "TMPDIR": str(tmp_path),
        }
        done = subprocess.run(
            [ROOT / "launch" / script, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        lines = record.read_text().splitlines() if record.exists() else []
        return done.returncode, done.stdout + done.stderr, [line.split("\t") for line in lines]

    return run


def steps(calls) -> list[str]:
    """What each call is for, in one word."""
    words = ("describe", "create", "delete", "archive", "scp", "ssh", "cp", "apply", "wait", "logs")
    return [next(word for word in words if word in call) for call in calls]


def test_a_run_from_nothing_to_its_report(launch, tmp_path):
    answers = [
        ("*describe*", "1", ""),
        ("*describe*", "0", "WAITING_FOR_RESOURCES\\n"),
        ACTIVE,
        ("*--command=cd*", "0", "round 0\\nEMNAT_STATUS=0\\nEMNAT_STATUS=0\\n"),
    ]
    options = ["--spot", "--project=ours", f"--output={tmp_path}/out", "--", "--config=configs/wmt14_pod.py"]
    status, output, calls = launch("tpu.sh", ["run", *TPU, *options], answers)
    assert status == 0, output
    assert steps(calls) == [
        "describe",
        "create",
        "describe",
        "describe",
        "archive",
        "scp",
        "ssh",
        "ssh",
        "cp",
    ]
    where = ["--zone=us-central2-b", "--project=ours"]
    assert calls[1] == [
        "gcloud",
        "compute",
        "tpus",
        "queued-resources",
        "create",
        "mine",
        *where,
        "--accelerator-type=v5litepod-16",
        "--runtime-version=v2-alpha-tpuv5-lite",
        "--node-id=mine",
        "--spot",
    ]
    assert calls[5][5:] == [
        f"{tmp_path}/emnat_jax-mine.tar.gz",
        "mine:emnat_jax.tar.gz",
        *where,
        "--worker=all",
    ]
    assert "[mine] round 0" in output
    assert calls[8] == ["gcloud", "storage", "cp", "--recursive", "gs://bucket/run/report", f"{tmp_path}/out"]


def test_the_remote_command_keeps_every_word(launch):
    awkward = '--config.data.root=/a b/it\'s "quoted" $HOME;*'
    answers = [ACTIVE, ("*--command=cd*", "0", "EMNAT_STATUS=0\\n")]
    _, _, calls = launch("tpu.sh", ["start", *TPU, "--", awkward], answers)
    remote = next(word for word in calls[0] if word.startswith("--command=")).removeprefix("--command=")
    started = remote.split("; ")
    words = shlex.split(remote[remote.index("emnat/bin/emnat em") : remote.index("; echo EMNAT_STATUS")])
    assert words == ["emnat/bin/emnat", "em", "--on-all-hosts", "--workdir=gs://bucket/run", awkward]
    assert started[-1] == "echo EMNAT_STATUS=$?"


def test_a_preempted_slice_is_made_again_and_the_run_goes_on(launch, tmp_path):
    answers = [
        ("*describe*", "0", "ACTIVE\\n"),
        ("*--command=cd*", "255", "connection lost\\n"),
        ("*describe*", "0", "SUSPENDED\\n"),
        ACTIVE,
        ("*--command=cd*", "0", "EMNAT_STATUS=75\\n"),
        ("*--command=cd*", "0", "EMNAT_STATUS=0\\n"),
    ]
    status, output, calls = launch("tpu.sh", ["run", *TPU, f"--output={tmp_path}/out"], answers)
    assert status == 0, output
    install = ["archive", "scp", "ssh"]
    assert steps(calls) == [
        "describe",
        *install,
        "ssh",
        "describe",
        "delete",
        "create",
        "describe",
        *install,
        "ssh",
        "describe",
        *install,
        "ssh",
        "cp",
    ]
    delete = next(call for call in calls if "delete" in call)
    assert delete[-2:] == ["--force", "--quiet"]


@pytest.mark.parametrize("failed", [1, 2])
def test_a_mistake_is_not_tried_again(launch, failed):
    answers = [ACTIVE, ("*--command=cd*", "0", f"EMNAT_STATUS=75\\nEMNAT_STATUS={failed}\\n")]
    status, output, calls = launch("tpu.sh", ["run", *TPU], answers)
    assert status == failed and "see above" in output
    assert steps(calls).count("ssh") == 2 and "cp" not in steps(calls)


def test_retries_end(launch):
    status, output, calls = launch("tpu.sh", ["run", *TPU, "--retries=2"], [ACTIVE])
    assert status == 75 and "more than 2 times" in output
    assert steps(calls).count("scp") == 3


def test_several_slices_are_several_nodes(launch):
    answers = [ACTIVE, ("*ssh mine-?*--command=cd*", "+0", "EMNAT_STATUS=0\\n")]
    _, _, calls = launch("tpu.sh", ["create", *TPU, "--slices=2"], answers)
    assert {"--node-count=2", "--node-prefix=mine"} < set(calls[0])
    status, output, calls = launch("tpu.sh", ["start", *TPU, "--slices=2"], answers)
    assert status == 0, output
    assert sorted(call[5] for call in calls) == ["mine-0", "mine-1"]


def test_a_dry_run_prints_all_and_runs_nothing(launch):
    status, output, calls = launch("tpu.sh", ["run", *TPU, "--dry-run", "--", "--config.data.root=a b"])
    assert status == 0 and calls == []
    printed = [shlex.split(line) for line in output.splitlines()]
    assert [words[0] for words in printed].count("gcloud") == 5
    assert any("a\\ b" in words[-1] for words in printed if "ssh" in words)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--name=Bad_name", "--name='Bad_name'"),
        ("--zone=here", "--zone='here'"),
        ("--accelerator=v9-8", "--accelerator='v9-8'"),
        ("--workdir=/local", "gs://BUCKET/PATH"),
        ("--slices=0", "--slices=0"),
        ("--retries=few", "--retries=few: use a whole number"),
        ("--nonsense=1", "unknown argument --nonsense=1"),
    ],
)
def test_bad_arguments_of_tpu(launch, change, message):
    status, output, calls = launch("tpu.sh", ["run", *TPU, change])
    assert (status, calls) == (2, []) and message in output


def test_no_action(launch):
    status, output, _ = launch("tpu.sh", [])
    assert status == 2 and "give an action" in output
    status, output, _ = launch("tpu.sh", ["--help"])
    assert status == 0 and output.startswith("Runs `emnat em`") and "--dry-run" in output


def test_the_jobset_is_applied_waited_for_and_followed(launch):
    status, output, calls = launch("gke.sh", [*GKE, "--", "--config=a b.py"])
    assert status == 0, output
    assert sorted(steps(calls)) == ["apply", "logs", "wait"] and steps(calls)[0] == "apply"


def test_the_manifest(launch):
    yaml = pytest.importorskip("yaml")
    arguments = [*GKE, "--slices=3", "--spot", "--dry-run", "--", '--config=a "b" c\\d.py']
    status, output, calls = launch("gke.sh", arguments)
    assert status == 0 and calls == []
    job = yaml.safe_load(output)["spec"]["replicatedJobs"][0]
    pods = job["template"]["spec"]
    assert (job["replicas"], pods["parallelism"], pods["completions"]) == (3, 8, 8)
    pod = pods["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x8",
        "cloud.google.com/gke-spot": "true",
    }
    container = pod["containers"][0]
    assert container["resources"]["limits"]["google.com/tpu"] == 4
    assert container["command"] == [
        "emnat",
        "em",
        "--on-all-hosts",
        "--workdir=gs://bucket/run",
        '--config=a "b" c\\d.py',
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--topology=4", "--topology='4'"),
        ("--chip=h100", "--chip='h100'"),
        ("--image=a b", "--image='a b'"),
        ("--workdir=runs/x", "gs://BUCKET/PATH"),
        ("--topology=3x2", "3x2: 6 chips do not fill hosts of 4"),
    ],
)
def test_bad_arguments_of_gke(launch, change, message):
    status, output, calls = launch("gke.sh", [*GKE, change])
    assert (status, calls) == (2, []) and message in output


def test_an_accelerator_trains_translates_and_is_timed(launch):
    status, output, calls = launch("accelerator.sh", ["--workdir=w", "--", "--config.seed=2"])
    assert status == 0, output
    commands = [call[3 : 4 if call[3] == "em" else 5] for call in calls]  # behind python3 -m emnat_jax
    assert commands == [["em"], *4 * [["benchmark", "latency"]], *4 * [["benchmark", "train"]]]
    assert all("--workdir=w" in call for call in calls)
    assert all("--config.seed=2" in call for call in calls if "latency" not in call)
    only = launch("accelerator.sh", ["--stage=em"])[2]
    assert [call[3] for call in only] == ["em"]


def test_bad_arguments_of_the_accelerator(launch):
    status, output, calls = launch("accelerator.sh", ["--stage=all"])
    assert (status, calls) == (2, []) and "--stage=all" in output


@pytest.mark.parametrize(
    "script",
    sorted((ROOT / "launch").glob("*.sh")) + [ROOT / ".ci" / "run", STAND_IN],
    ids=lambda path: path.name,
)
def test_shellcheck(script):
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, "-x", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
