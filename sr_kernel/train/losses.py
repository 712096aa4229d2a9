"""What is minimised. All take batches (N, C, H, W) and give means in fp32."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sr_kernel.train.plan import LayerWeights
from sr_kernel.train.vgg import VggFeatures


def pixel_loss(made: Tensor, good: Tensor) -> Tensor:
    """L1."""
    return F.l1_loss(made.float(), good)


def perceptual_loss(vgg: VggFeatures, layers: LayerWeights, made: Tensor, good: Tensor) -> Tensor:
    """L1 between features, weighted by layer (Johnson et al., 2016; before the activation as ESRGAN has it)."""
    of_made, of_good = vgg(made), vgg(good.detach())
    parts = [F.l1_loss(of_made[name].float(), of_good[name].float()) * weight for name, weight in layers]
    return sum(parts[1:], parts[0])


def adversarial_loss(verdict: Tensor, *, real: bool) -> Tensor:
    """Cross-entropy of logits against one answer for all (vanilla)."""
    verdict = verdict.float()
    return F.softplus(-verdict if real else verdict).mean()


def relative_verdict(verdict: Tensor, others: Tensor) -> Tensor:
    """How much more real than the mean of the others (relativistic average GAN, Jolicoeur-Martineau, 2018)."""
    return verdict.float() - others.float().mean()
