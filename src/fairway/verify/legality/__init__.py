"""What static rules about legality share.

- ``c_code``: statements, loops and functions of C, C++ and CUDA text, without comments.
- ``expressions``: small questions to Python expressions.
- ``hint_loops``: loops that give a hint at each position, and what it depends on.
- ``sentencepiece``: the pieces of a tokenizer, from its bytes.
- ``sources``: the programs of a submission in every language, and sentences of its texts.
- ``table_keys``: keys of hash tables, of a context and of a context with one token more.
"""
