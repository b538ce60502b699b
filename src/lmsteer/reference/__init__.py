"""Differences of the original implementation of LM-Steer, to measure their effect and to read its files.

padded_batches: it counts the padding of a batch in the loss (``data=padded``).
descent_map: it fits the map of a transfer by gradient descent on 4000 words (``kind=legacy`` of ``src.transfer``).
reference_checkpoint: it stores steers as torch checkpoints.

It also leaves samples whose perplexity exceeds 1e4 out of the mean, which is an argument of
``lmsteer.metrics.functional.perplexity`` (``protocol.legacy_perplexity_limit``).
"""
