"""Most tests here compile the same few programs: do it once."""

import jax
import pytest

OPTIONS = {"jax_persistent_cache_min_compile_time_secs": 0.0, "jax_persistent_cache_min_entry_size_bytes": -1}


@pytest.fixture(scope="package", autouse=True)
def compilation_cache(tmp_path_factory):
    """A cache for these tests and the processes they start, unless there is one already."""
    if jax.config.jax_compilation_cache_dir is not None:
        yield
        return
    options = {"jax_compilation_cache_dir": str(tmp_path_factory.mktemp("cache")), **OPTIONS}
    before = {name: getattr(jax.config, name) for name in options}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        yield
    for name, value in before.items():
        jax.config.update(name, value)
