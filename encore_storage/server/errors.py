"""The errors of the server.

```
EncoreError
└── QueryError                    an invalid query (ValueError)
```
"""

from __future__ import annotations

from encore_events.errors import EncoreError


class QueryError(EncoreError, ValueError):
    """An invalid query; the message says what is valid."""
