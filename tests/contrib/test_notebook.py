"""In a notebook: the tutorial runs, and an interrupted cell costs nothing but itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("ipykernel")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

pytestmark = [
    pytest.mark.slow,
    # What the kernel's side of the wire does with event loops is not ours.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that runs a notebook in a kernel of this Python, and returns it."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))

    def run(notebook: Any) -> Any:
        client = nbclient.NotebookClient(
            notebook, timeout=50, resources={"metadata": {"path": str(tmp_path)}}
        )
        return client.execute()

    return run


def test_tutorial(run: Any, tmp_path: Path) -> None:
    """Every cell runs; what should be a table, a picture or a bar is one."""
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pytest.importorskip("PIL")
    pytest.importorskip("tqdm")
    notebook = nbformat.read(ROOT / "docs/howto/notebook.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells)  # kept without outputs
    run(notebook)
    kinds = [{kind for out in cell.outputs for kind in out.get("data", {})} for cell in cells]
    assert ["text/html" in kind for kind in kinds] == [
        *(True, True, False, True),
        *(True, True, True, False),
    ]
    assert "image/png" in kinds[2]
    assert not list(tmp_path.glob("noise.bin"))


INTERRUPTED = [
    """
import os, threading, signal, objstore
client = objstore.local()
store = client.create_object_store("b")
store.put("large", bytes(64 << 20))
""",
    """
# As the button does it: a signal for the process group of the kernel, in the middle of a read.
def press(count, pressed=[]):
    if not pressed:
        pressed.append(count)
        os.killpg(os.getpgid(0), signal.SIGINT)
try:
    reader = store.get("large", callback=press)
    while reader.read(1 << 20):
        pass
except KeyboardInterrupt:
    print("interrupted")
""",
    """
assert client.is_connected
print(len(store.get_bytes("large")))
client.close()
""",
]


def test_interrupted_cell(run: Any) -> None:
    """The client can be used as before, and its server is alive."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in INTERRUPTED]
    run(notebook)
    printed = ["".join(out.get("text", "") for out in cell.outputs) for cell in notebook.cells]
    assert printed == ["", "interrupted\n", f"{64 << 20}\n"]
