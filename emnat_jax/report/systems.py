"""What a page calls the systems of a run and the sentences that they are tested on."""

NAMES = {
    "teacher": "teacher (AR)",
    "student": "student (one pass)",
    "student_rescored": "student, rescored by teacher 0",
}
TESTS = {"test": "sentences of the test split", "test_multi": "sentences with several references"}
