"""The package as one file for one recipe.

- ``collect``: the modules that the file needs, in import order, without their imports.
- ``edits``: source as text with a tree over it, changed by node.
- ``knowledge``: what a recipe settles: classes that occur, fields that are constants, tests that are decided.
- ``specialise``: settled tests taken out, round after round.
- ``prune``: definitions that nothing reachable names.
- ``emit``: one text from many sections, with the recipe as a literal.
- ``shrink``: the text minified, compressed, and wrapped so that it unpacks itself.
- ``optimise``: what a compiler would do and a reader would not like, in the minified form alone.
- ``terse``: without promises that the code alone can break, and with short messages.
- ``inline``: functions and locals that are used once, taken in.
- ``letters``: names of variables, chosen for the compressor.
- ``names``: short names for what is the program's own.
- ``build``: all of that, from a resolved recipe to two files.
- ``compare``: package and bundle side by side, to the last bit.
- ``sizes``: the table of bytes for every recipe.
"""
