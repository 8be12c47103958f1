# Starts Encore in each Python process of `encore run`, and then runs the sitecustomize that this one shadows.
# It is valid in every version of Python, and silent in those that Encore does not support.
import os
import sys

_folder = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [_entry for _entry in sys.path if _entry != _folder]
try:
    if sys.version_info < (3, 11):
        raise ImportError("Encore needs Python 3.11 or newer")
    from encore_run.starting import await_libraries
except ImportError as _error:
    _directory = os.environ.get("ENCORE_RUN_DIRECTORY")
    if _directory and os.environ.get("ENCORE_RUN_PROCESS") == str(os.getpid()):
        _line = "encore run: %s is not observed (%s): run %s -m pip install . in a clone of Encore\n"
        try:
            os.write(2, (_line % (sys.executable, _error, sys.executable)).encode("utf-8", "replace"))
        except OSError:  # it is closed
            pass
else:
    await_libraries()

_own = sys.modules.pop(__name__)
try:
    import sitecustomize  # type: ignore[import-not-found]
except ImportError as _error:
    if getattr(_error, "name", None) not in (None, "sitecustomize"):
        raise
finally:
    sys.modules.setdefault(__name__, _own)
