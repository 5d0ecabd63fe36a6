.PHONY: setup demo test check bench clean

setup demo test check bench:
	@scripts/$@

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache
