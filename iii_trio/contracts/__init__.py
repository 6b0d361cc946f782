"""What adapters must do, as classes of tests: inherit from one, say how to open the adapter, and let pytest-trio run it.

Each test takes real time and gets a `tmp_path` of its own:

    class TestMine(ConfigurationAdapterContract):
        def open(self, place: Path) -> AbstractAsyncContextManager[ConfigurationAdapter]:
            return open_mine(place)
"""

from .configuration import ConfigurationAdapterContract

__all__ = ["ConfigurationAdapterContract"]
