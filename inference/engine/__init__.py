"""Engines: they take token ids and produce text. This package never imports Django.

`base` has the interface. `batching` is the real engine, on transformers' continuous batching. `fake` is an engine for
fast tests and fault injection. `tests/inference/engine/test_contract.py` tests both against the interface.
"""
