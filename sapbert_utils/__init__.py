"""Helpers of the course: import from the modules, for example ``from sapbert_utils.profiles import get_profile``."""
