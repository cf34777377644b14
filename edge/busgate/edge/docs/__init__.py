"""The documentation page of an edge, made at start from the OpenAPI document of its contracts. It needs no network."""
