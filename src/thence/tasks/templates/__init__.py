"""Word problems from templates with typed variables: the built-in ones, their variants, and published ones."""
