"""Tests a worker in any language against docs/wire.md, over the broker and with nothing but what an edge can see."""
