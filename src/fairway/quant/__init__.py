"""Weights to an artifact and back; one verb a file.

- ``plan``: which tensor gets which treatment, by role; none left over.
- ``grid``: row steps, encode, decode (pure).
- ``hessian``: observe the inputs of the linears, sum their outer products.
- ``own_text``: text that the model writes itself, to calibrate on.
- ``sensitivity``: bits by how much the loss feels each matrix.
- ``rotation``: seeded Hadamard rotations of those inputs; bake, fold back, or apply online.
- ``gptq``: weight, Hessian and steps to integers (pure).
- ``trellis``: symbols as one path of least error.
- ``trellis_compiled``: such paths by a C compiler's code.
- ``trellis_columns``: columns of matrices along such paths.
- ``rounding``: a matrix to its grid, with its error.
- ``batches``: many matrices to their grids, over threads, GPUs and ranks.
- ``lqer``: low-rank corrections of the matrices that rounding hurt most.
- ``gates``: head gates in eight bits.
- ``triangle``: symmetric matrices as one triangle each.
- ``packing``: tensors to streams of bytes and back (pure).
- ``codecs``: bytes to fewer bytes and back, by name, bounded.
- ``deflate``: zlib, for recipes that name it.
- ``classes``: range coding with a model for each class of rows or columns.
- ``trellis_codec``: range coding of such paths' symbols, by parity and class.
- ``pergroup``: rows in an order of likeness, and the program lrzip.
- ``artifact``: the file format: header, streams, digest.
- ``streams``: the streams of any artifact, unpacked.
- ``pipeline``: the order of all that, its gates and events.
- ``pruning``: ones set to zero until the file fits.
- ``describe``: what lies in an artifact, tensor by tensor.
- ``forecast``: bytes of the artifact before anything is trained.
"""
