"""The Python side of a worker: a process that imports once, and the models it forks off.

Written to a folder by the host and run from there, so nothing of it needs to be installed. Needs what MLflow brings
along (numpy, pandas) and nothing else.
"""
