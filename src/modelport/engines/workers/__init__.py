"""Runs an engine in a process of its own, with another Python where it has an environment of its own.

`wire` says what travels, `child` is the process, `process` its parent's side, `remote` the session.
"""
