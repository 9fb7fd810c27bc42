"""Systems by name that others have published as a repository: what each needs to be driven, as data.

A recipe (``NAME.toml`` beside this module) says which command renders one turn, which files it reads, what it leaves
where, and what a reader of its row has to know. The harness gives it a private folder per turn, the reply's words and
sound, and a process per GPU. ``docs/recipes.md`` says how to write one.
"""
