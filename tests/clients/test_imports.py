"""Encore imports no client library; it only meets those that the program has imported."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import encore_storage, encore_storage.clients
for module in pkgutil.iter_modules(encore_storage.clients.__path__, "encore_storage.clients."):
    importlib.import_module(module.name)
encore_storage.observe()
encore_storage.unobserve()
print(sorted({"aiobotocore", "boto3", "botocore", "fsspec", "sqlalchemy"} & set(sys.modules)))
"""


def test_importing_and_observing_imports_no_client_library() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("[]\n", "")
