"""Drawing codes from priors and upsamplers, and picture embeddings from embedding priors."""

from vqclip.priors.embeddings import sample_embeddings
from vqclip.priors.sampling import Sampling, guided, likelihood, sample, upsample, windowed

__all__ = ["Sampling", "guided", "likelihood", "sample", "sample_embeddings", "upsample", "windowed"]
