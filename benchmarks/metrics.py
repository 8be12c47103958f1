"""The cost of metrics in a get and at a scrape, compared with prometheus_client and with private memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.values import MultiProcessValue

from benchmarks.harness import Bench, Snippet
from encore_events import EventManager
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber
from encore_storage.subscribers.catalogue import OPERATION_DURATION, VALUE_SIZE
from encore_storage.subscribers.metrics import collectors
