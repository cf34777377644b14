"""TLS at the edge: certificates and how they are checked, renewed and chosen; clients that have some of their own."""
