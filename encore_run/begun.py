"""A module without content. Encore starts while a process of a run imports it.

So other threads wait for the start as they wait for any module, and Python resolves deadlocks.
"""
