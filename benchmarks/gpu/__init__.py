"""The sections of gpu_check.py, a room each."""
