"""Requests that their callers sign: HTTP Message Signatures (RFC 9421) over head and body (RFC 9530)."""
