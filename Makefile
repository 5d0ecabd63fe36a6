.PHONY: setup demo test check bench docs clean

setup demo test check bench docs:
	@scripts/$@

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache
