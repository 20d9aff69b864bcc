"""What a result says about where it was made."""

import importlib.metadata

from emnat_jax.runtime import environment as module
from emnat_jax.runtime.environment import environment


def test_devices_and_versions_are_those_of_this_process(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("jax", "no-such-package"))
    found = environment()
    assert found.devices == "4 x cpu"
    assert found.versions == {"jax": importlib.metadata.version("jax"), "no-such-package": None}
