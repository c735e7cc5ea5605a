"""genctl: the command line and the Python client."""
