"""The dynamics as arithmetic on arrays: coordinates in, numbers out. Nothing here knows the theory.

A method has a module with two functions, ``prepare(problem) -> coordinates``, which the caller keeps, and
``tile(coordinates, params, run) -> (cells, trace)`` (`olsbn.engine.bngd.tile`).
"""
