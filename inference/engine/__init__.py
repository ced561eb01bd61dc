"""The engine: token ids in, text out. Plain Python that never imports Django.

`base` is the contract, `batching` the real engine on transformers' continuous batching, `fake` one with the same
contract for fast tests and fault injection. `tests/inference/engine/test_contract.py` holds both to it.
"""
