"""The README's performance tables are those of the committed results."""

from benchmarks.readme import README, with_tables


def test_the_tables_of_the_readme_are_those_of_the_results():
    readme = README.read_text(encoding="utf-8")
    assert with_tables(readme) == readme
