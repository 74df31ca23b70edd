"""The calls, noun by noun. A script runs from top to bottom on both servers in step; every name in it has `<u>`."""

from . import artifacts, experiments, http_quirks, logged_models, metrics, registry, runs, search

SCRIPTS = {
    **experiments.SCRIPTS,
    **runs.SCRIPTS,
    **search.SCRIPTS,
    **metrics.SCRIPTS,
    **logged_models.SCRIPTS,
    **registry.SCRIPTS,
    **artifacts.SCRIPTS,
    **http_quirks.SCRIPTS,
}
