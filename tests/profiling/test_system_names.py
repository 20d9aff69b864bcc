"""Names of systems: taken apart, and refused with what is wrong in them."""

import pytest

from emnat_jax.errors import UserError
from emnat_jax.profiling.system_names import OPTIONS, Known, SystemName, parse_systems

ROLES = Known(("teacher", "student"), OPTIONS, folders=True)
FAMILIES = Known(("ar", "ctc"), ("decoder", "layers"), folders=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("teacher", SystemName("teacher")),
        ("student:jax", SystemName("student", "jax")),
        ("student:onnx:int8", SystemName("student", "onnx", "int8")),
        ("student:int8", SystemName("student", None, "int8")),
        (
            "student:jax:decoder=argmax:round=0",
            SystemName("student", "jax", None, {"decoder": "argmax", "round": "0"}),
        ),
        (
            "student:round=0:onnx:decoder=argmax",
            SystemName("student", "onnx", None, {"decoder": "argmax", "round": "0"}),
        ),
        ("student:onnx:int8:shortlist=9", SystemName("student", "onnx", "int8", {"shortlist": "9"})),
        ("student:rescore=a/b", SystemName("student", None, None, {"rescore": "a/b"})),
    ],
)
def test_a_name_has_a_model_and_what_runs_it(text, expected):
    assert parse_systems(text, ROLES) == [expected]
    assert parse_systems(str(expected), ROLES) == [expected]


def test_a_folder_may_have_colons(tmp_path):
    folder = tmp_path / "a:int8" / "b=c"
    folder.mkdir(parents=True)
    named = parse_systems(f"teacher, {folder}:onnx:float32,{folder.parent}:int8", ROLES)
    assert named[1:] == [
        SystemName(str(folder), "onnx", "float32"),
        SystemName(str(folder.parent), None, "int8"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pupil", "'pupil' is neither teacher nor student nor the folder of a model"),
        ("teacher,no/such/folder:onnx", "'no/such/folder' is neither"),
        ("student:tensorrt", "'tensorrt': give one of jax, onnx, ctranslate2"),
        ("student:onnx:int4", "'int4': give .*one of int8, float32"),
        ("student:onnx:int8:float32", "'int8': give one"),
        ("student:beam=3", "'beam=3': give .*decoder=..., round=..."),
        ("student:decoder=", "'decoder=': give"),
        ("student:jax:int8", "name onnx or ctranslate2 in place of jax"),
        ("student:onnx:shortlist=9", "in int8: :onnx:int8:shortlist=9"),
        ("student:onnx:float32:shortlist=9", "a shortlist is of an exported student in int8"),
        ("teacher:ctranslate2:int8:shortlist=9", "a shortlist is of an exported student in int8"),
        ("student:onnx:int8:shortlist=0", "shortlist=0: give 1 or more"),
        ("student,teacher,student", "student is there twice"),
        ("student,", "'' is neither"),
    ],
)
def test_what_is_no_system_is_named(text, says):
    with pytest.raises(UserError, match=f"^--systems: .*{says}"):
        parse_systems(text, ROLES)


def test_models_with_random_weights_are_named_by_their_family(tmp_path):
    assert parse_systems("ar:layers=12+1", FAMILIES) == [SystemName("ar", None, None, {"layers": "12+1"})]
    with pytest.raises(UserError, match=r"is neither ar nor ctc\.$"):
        parse_systems(str(tmp_path), FAMILIES)
