"""What TLS the edge speaks: one rule for all of its certificates."""

import ssl

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""Of TLS 1.2: forward secrecy and authenticated encryption alone. Those of 1.3 are all of that kind."""


def plain_context() -> ssl.SSLContext:
    """A context for a server: TLS 1.2 and 1.3, HTTP/1.1, no client certificates, no certificate of its own yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context
