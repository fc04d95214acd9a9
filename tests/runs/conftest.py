from lifelike_run import make_run, metrics  # noqa: F401
