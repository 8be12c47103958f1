"""The error of the server.

```
EncoreError
└── QueryError                    a query that can't be answered (ValueError)
```
"""

from __future__ import annotations

from encore_events.errors import EncoreError


class QueryError(EncoreError, ValueError):
    """A query that can't be answered; the message says what can be asked."""
