"""The local platform: started, supervised, looked at and stopped on one machine, under one folder."""
