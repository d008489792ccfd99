"""Methods: one file of data for each dynamics, and the registry of them. Only here do theory and kernels meet.

The package is not called `methods`, which is the name of a public function: importing it would hide the function.
"""
