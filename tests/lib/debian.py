"""Files of Debian packages that are fetched, not installed (scripts/fetch-debian), for guests."""
import importlib.machinery
import importlib.util
import os

from vmrun_test import Skip

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
CACHE = os.environ.get("VMRUN_PACKAGES", os.path.join(ROOT, "build", "packages"))


def _load():
    path = os.path.join(ROOT, "scripts", "fetch-debian")
    loader = importlib.machinery.SourceFileLoader("fetch_debian", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("fetch_debian", loader))
    loader.exec_module(module)
    return module


def debian_files(package, *patterns, arch="amd64"):
    """The files of a package that match; skips the test where there is no mirror."""
    module = _load()
    try:
        return module.fetch(package, *patterns, arch=arch, cache=CACHE)
    except (module.FetchError, OSError) as why:
        raise Skip(f"{package}:{arch} from Debian's mirror: {why}") from why


def debian_file(package, pattern, arch="amd64"):
    return debian_files(package, pattern, arch=arch)[-1]
