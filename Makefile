.PHONY: setup demo test check bench docs engines clean

setup demo test check bench docs engines:
	@scripts/$@

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache
