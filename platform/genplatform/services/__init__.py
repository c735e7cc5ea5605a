"""Use cases, one a file: each is one transaction, its effects on Redis after the commit."""
