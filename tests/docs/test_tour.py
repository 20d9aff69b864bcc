"""docs/tour.ipynb runs from its first cell to its last, and its kept outputs are small and without errors.

To write the outputs anew after a change of its cells: jupyter execute --inplace docs/tour.ipynb
"""

import ast
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import emnat_jax as em
from tests.conftest import QUICK

ROOT = Path(__file__).parents[2]
TOUR = ROOT / "docs" / "tour.ipynb"


@pytest.mark.slow
def test_it_runs(tmp_path):
    """As a reader runs it: in a process of its own, with one device, away from the source tree."""
    notebook = nbformat.read(TOUR, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": QUICK})
    shown = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "rounds/1/student: train" in shown and "by enumeration" in shown


def test_its_outputs_are_kept_and_small():
    notebook = nbformat.read(TOUR, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream", "execute_result"}
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert ast.literal_eval(outputs[0].data["text/plain"]) == em.__all__
    assert TOUR.stat().st_size < 30_000 and "Warning" not in TOUR.read_text()
