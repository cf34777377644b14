# The commands of this project, the same by hand and in CI. All they need is git, make and Python >= 3.11 with venv.
.PHONY: help demo test check format docs bench bench-serve
ARGS ?=

help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

demo: .venv/.edge ## the example shop; BUS=amqp://user:password@host/vhost runs it on that RabbitMQ
	@.venv/bin/busgate demo $(if $(BUS),--bus '$(BUS)') $(ARGS)

test: .venv/.dev ## all tests on the checkout, then all but the slow ones on the built wheel; ARGS="-k lane": a few, no wheel
	.venv/bin/pytest $(ARGS)
	$(if $(ARGS),,scripts/test-wheel -m 'not slow')

check: .venv/.dev ## lint, format, types, import layers
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.dev ## put the code into the form that check wants
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

docs: .venv/.dev ## write what docs/config.md says of each value anew, from the models
	@scripts/write-docs

bench: .venv/.dev ## rates, times, CPU and memory, never part of the tests; ONLY="rate overload", BUS=amqp://...
	@.venv/bin/python -m bench.run $(ONLY) $(if $(BUS),--bus '$(BUS)') $(ARGS)

bench-serve: .venv/.dev ## the echo of the benchmark and a token, to be measured by others; BUS=amqp://... PORT=8090
	@.venv/bin/python -m bench.serve --bus '$(BUS)' $(if $(PORT),--port '$(PORT)') $(ARGS)

.venv/.edge .venv/.dev: .venv/.%: pyproject.toml
	@scripts/set-up $*
