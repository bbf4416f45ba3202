"""What trained weights show, each number beside that of a null model; no study knows another.

- ``result``: what a study hands back: tables, a figure, a paragraph, numbers.
- ``checkpoint``: weights of fairway and of the official scripts, as single matrices.
- ``inputs``: what a study may look at.
- ``catalogue``: the studies, by name.
- ``chance``: matrices that nobody trained.
- ``alignment``, ``transport``: what a rotation lays onto what; what it would cost in bytes.
- ``scoring``: bits per byte of weights that a study has changed.
- ``subspaces``, ``forced``: shares of energy and their law; what symmetry after training costs.
- ``symmetry``: symmetric, banded and circulant parts, and whether they emerge.
- ``procrustes``: rotations between layers and between seeds.
- ``spectra``, ``embedding_svd``: singular values, ranks, and how much few directions hold.
- ``weights``: matrices of a checkpoint, Gaussian twins of them, and what their symbols take.
- ``outliers``: tails of the weights, and whether they make a matrix sensitive.
- ``rounding_error``: what each way of rounding loses, with the scale floor and without.
- ``averaging``: raw weights, EMA, SWA and LAWA of one run.
- ``embedding_rows``: rows in half precision by their entropy.
- ``pruning``: magnitude pruning, fraction by codec.
- ``codebook``: k-means against uniform steps of the same rate.
- ``codec_gain``: bytes by role, codec and layout against entropy.
- ``write``: a study's result as files that are the same for the same numbers.
- ``resampling``: lines through documents, drawn again or with labels swapped.
- ``roundings``: one checkpoint rounded in several ways, and what each document then costs.
- ``doc_length``: score by document length for float, rounded and rotated weights (#1695).
- ``acceptance``: how often a rule for claims says yes.
- ``seed_noise``: spread over seeds, seeds that a claim needs, false accepts.
- ``claims``: what the pull requests claim, and what the numbers make of it (``claims.toml``).
- ``page``: one page of all studies, beside those claims.
"""
