"""Arithmetic on native histograms, many at once: the flat arrays of ``model.histograms``.

``buckets`` knows the bounds of buckets, ``combine`` forms weighted sums of histograms, ``compare``
tells whether one equals another or comes after a counter reset, ``ladder`` and ``measure`` estimate
quantiles, fractions and variances, ``trim`` cuts observations off. On these stand ``ranges``
(functions over windows), ``groups`` (aggregations) and ``operators``. All are pure.
"""
