# The commands of this project, the same by hand and in CI. All they need is git, make and Python >= 3.11 with venv.
.PHONY: help demo test check format bench
ARGS ?=

help:
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile

demo: .venv/.edge ## the example shop; BUS=amqp://user:password@host/vhost runs it on that RabbitMQ
	@.venv/bin/busgate demo $(if $(BUS),--bus '$(BUS)') $(ARGS)

test: .venv/.dev ## all tests on the checkout, then all but the slow ones on the built wheel; ARGS="-k lane"
	.venv/bin/pytest $(ARGS)
	scripts/test-wheel -m 'not slow' $(ARGS)

check: .venv/.dev ## lint, format, types, import layers
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.dev ## put the code into the form that check wants
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: .venv/.dev ## rates, latencies, CPU and memory; never part of the tests
	.venv/bin/python bench/run.py $(ARGS)

.venv/.edge .venv/.dev: .venv/.%: pyproject.toml
	@scripts/set-up $*
