"""Muon whose ranks divide the matrices among them: each keeps the momentum of its share and orthogonalises that."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fairway.optim.muon import Muon
from fairway.runtime.ranks import Ranks
from fairway.spec.optim import MuonSpec


class _BankShare:
    """One rank's part of one bank: as many matrices on every rank, the surplus ones zero and staying so."""

    def __init__(self, name: str, bank: nn.Parameter, spec: MuonSpec, ranks: Ranks) -> None:
        self.bank = bank
        self.rate = spec.lr * {"up_bank": spec.up_rate, "down_bank": spec.down_rate}.get(name, 1.0)
        self.decay = spec.weight_decay
        self.count = -(-bank.shape[0] // ranks.world)
        # On a GPU the update has no more digits than bfloat16 anyway (kernels.polar), and gradients travel as they did
        # in the published stacks; on a CPU nothing is lost on the way.
        self.wire = torch.bfloat16 if bank.is_cuda else torch.float32
        self.matrices = nn.Parameter(bank.new_zeros(self.count, *bank.shape[1:]))
        self.matrices.grad = torch.zeros_like(self.matrices)
        # From zero, with rate 1 and no decay, a step of Muon leaves the direction alone.
        self._muon = Muon({name: self.matrices}, replace(spec, lr=1.0, weight_decay=0.0))

    @property
    def gradient(self) -> Tensor:
        """Mean gradient of the share's matrices; to be written."""
        assert self.matrices.grad is not None
        return self.matrices.grad

    @torch.no_grad()
    def direction(self, momentum: float) -> Tensor:
        """What the share's matrices move by at rate 1, as it travels."""
        self.matrices.zero_()
        self._muon.step(lr_scale=1.0, momentum=momentum)
        return self.matrices.to(self.wire)

    @torch.no_grad()
    def move(self, direction: Tensor, lr_scale: float) -> None:
        """Decay the whole bank, then move it by everybody's directions, in the bank's order."""
        rate = self.rate * lr_scale
        self.bank.mul_(1.0 - rate * self.decay)
        self.bank.add_(direction[: len(self.bank)].to(self.bank.dtype), alpha=rate)

    def reset(self) -> None:
        """Forget the momentum."""
        self._muon.reset()

    def state_tensors(self) -> list[Tensor]:
        """Momentum of the share."""
        return self._muon.state_tensors()


class SharedMuon:
    """What both ways of dividing have in common: banks with their shares, the largest first."""

    def __init__(self, banks: Mapping[str, nn.Parameter], spec: MuonSpec, ranks: Ranks) -> None:
        self._ranks = ranks
        largest_first = sorted(banks, key=lambda name: -banks[name].numel())
        self._shares = [_BankShare(name, banks[name], spec, ranks) for name in largest_first]

    def reset(self) -> None:
        """Forget the momentum of every share, which the published stacks leave behind (recipes C.1)."""
        for share in self._shares:
            share.reset()

    def state_tensors(self) -> list[Tensor]:
        """Momentum buffers of this rank's shares."""
        return [tensor for share in self._shares for tensor in share.state_tensors()]


class RoundRobinMuon(SharedMuon):
    """Rank r orthogonalises matrices r, r + world, ... of each bank; one sum brings everybody's updates together."""

    @torch.no_grad()
    def step(self, *, lr_scale: float, momentum: float) -> None:
        """Move by the gradients that the banks hold, which are the same on every rank."""
        rank, world = self._ranks.rank, self._ranks.world
        directions: list[Tensor] = []
        for share in self._shares:
            assert share.bank.grad is not None
            mine = share.bank.grad[rank::world]
            share.gradient[: len(mine)] = mine
            whole = torch.zeros_like(share.bank, dtype=share.wire)
            whole[rank::world] = share.direction(momentum)[: len(mine)]
            directions.append(whole)
        self._ranks.sum_(directions)
        for share, whole in zip(self._shares, directions, strict=True):
            share.move(whole, lr_scale)


class ShardedMuon(SharedMuon):
    """Parallel Muon (#399): rank r owns consecutive matrices of each bank.

    ``start_reduce`` sends the local gradients off, bank by bank; ``finish_reduce`` returns their means, a share a
    bank; ``step`` orthogonalises a share while the updates of the one before are gathered.
    """

    def start_reduce(self) -> None:
        """Begin to bring the mean gradient of each share to its rank; the banks' own gradients stay local."""
        self._received: list[tuple[Tensor, dist.Work | None]] = []
        for share in self._shares:
            assert share.bank.grad is not None
            local = _padded(share.bank.grad, share.count * self._ranks.world).to(share.wire)
            if self._ranks.world == 1:
                self._received.append((local, None))
                continue
            mean = local.new_empty(share.gradient.shape)
            self._received.append((mean, dist.reduce_scatter_tensor(mean, local, async_op=True)))

    @torch.no_grad()
    def finish_reduce(self) -> list[Tensor]:
        """Wait for the gradients; those returned are what ``step`` will use, and may be scaled."""
        for share, (mean, work) in zip(self._shares, self._received, strict=True):
            if work is not None:
                work.wait()
            share.gradient.copy_(mean).div_(self._ranks.world)
        self._received = []
        return [share.gradient for share in self._shares]

    @torch.no_grad()
    def step(self, *, lr_scale: float, momentum: float) -> None:
        """Move by the reduced gradients of the shares."""
        before: tuple[_BankShare, Tensor, dist.Work | None] | None = None
        for share in self._shares:
            direction, work = share.direction(momentum), None
            if self._ranks.world > 1:
                whole = direction.new_empty(share.count * self._ranks.world, *direction.shape[1:])
                work = dist.all_gather_into_tensor(whole, direction, async_op=True)
                direction = whole
            if before is not None:
                _arrive(*before, lr_scale)
            before = share, direction, work
        if before is not None:
            _arrive(*before, lr_scale)


def norm_over_ranks(shared: Sequence[Tensor], everywhere: Sequence[Tensor], ranks: Ranks) -> Tensor:
    """Norm of gradients of which each rank has a share, and of others that are the same on every rank."""
    square = torch.nn.utils.get_total_norm(list(shared)).square()
    ranks.sum_([square])
    return (square + torch.nn.utils.get_total_norm(list(everywhere)).square()).sqrt()


def _arrive(share: _BankShare, direction: Tensor, work: dist.Work | None, lr_scale: float) -> None:
    if work is not None:
        work.wait()
    share.move(direction, lr_scale)


def _padded(gradient: Tensor, count: int) -> Tensor:
    if len(gradient) == count:
        return gradient
    return torch.cat([gradient, gradient.new_zeros(count - len(gradient), *gradient.shape[1:])])
