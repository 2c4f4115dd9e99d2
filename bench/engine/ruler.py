"""One ruler for all of history: packages of the tree that this ``bench`` stands in.

asv installs the project of the commit under test. What is measured comes from there (``impl``,
``correctness``); what it is measured by must not, or each commit would be held to its own tasks.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

from .checkout import TREE


def from_tree(name: str) -> ModuleType:
    """The module ``name`` of this tree, whichever version of the project is installed."""
    package = name.partition(".")[0]
    folder = TREE / package
    loaded = sys.modules.get(package)
    if loaded is None or str(folder) not in map(str, loaded.__path__):
        # whoever imported another version keeps it; a class pickles by the name that is found here
        for other in [each for each in sys.modules if each.partition(".")[0] == package]:
            del sys.modules[other]
        spec = importlib.util.spec_from_file_location(
            package, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    return importlib.import_module(name)
