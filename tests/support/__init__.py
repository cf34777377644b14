"""What the tests share: brokers that the suite owns, vhosts, and a TCP proxy that breaks links."""
