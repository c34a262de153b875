"""Steps of a script's own that change more than `optimizer.apply` does, as people write them in torch and in Keras."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from slice_runs import Task
from torch import Tensor, nn
from torch.optim import lr_scheduler

import disttrain as dt
from disttrain import layers

ROWS = 11  # in batches of 7: four slices, the last batch with three of one or two samples


def net(out: int = 1) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, out))


class Base(dt.Model):
    """A module of torch's, trained by torch's own optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()
        self.start()

    def start(self) -> None:
        self.opt = torch.optim.SGD(self.net.parameters(), lr=0.05, momentum=0.9)

    def loss_of(self, data: Any) -> Tensor:
        x, y = data
        return ((self.net(x) - y) ** 2).mean()

    def update(self, data: Any) -> Tensor:
        loss = self.loss_of(data)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return loss

    def train_step(self, data: Any) -> dict[str, Any]:
        return {"loss": self.update(data)}

    def call(self, x: Tensor) -> Tensor:
        return self.net(x)


class ZeroGradAfter(Base):
    def start(self) -> None:
        self.opt = torch.optim.AdamW(self.net.parameters(), lr=0.02)

    def update(self, data: Any) -> Tensor:
        loss = self.loss_of(data)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 0.5)
        self.opt.step()
        self.opt.zero_grad(set_to_none=False)
        return loss


class Groups(Base):
    """Parameter groups of their own rates and decay, one of a frozen weight."""

    def start(self) -> None:
        self.net[0].bias.requires_grad_(False)
        first, last = self.net[0], self.net[2]
        self.opt = torch.optim.Adam(
            [{"params": first.parameters(), "lr": 0.01}, {"params": last.parameters(), "weight_decay": 0.1, "amsgrad": True}], lr=0.1
        )


class Scheduled(Base):
    """Schedulers stepped in each step: one that counts, one that measures."""

    def start(self) -> None:
        super().start()
        self.warmup = lr_scheduler.LinearLR(self.opt, 0.1, total_iters=2)
        self.decay = lr_scheduler.StepLR(self.opt, 2, 0.5)
        self.schedule = lr_scheduler.SequentialLR(self.opt, [self.warmup, self.decay], [2])
        self.plateau = lr_scheduler.ReduceLROnPlateau(self.opt, patience=0, factor=0.7)

    def train_step(self, data: Any) -> dict[str, Any]:
        loss = self.update(data)
        self.schedule.step()
        self.plateau.step(loss.detach())
        return {"loss": loss, "rate": self.opt.param_groups[0]["lr"]}


class Gan(dt.Model):
    """Two optimizers of torch's in a dict, the weights of one clamped, noise on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = nn.Linear(2, 3), net()
        self.opts = {
            "critic": torch.optim.RMSprop(self.critic.parameters(), lr=0.01, centered=True),
            "generator": torch.optim.Adam(self.generator.parameters(), lr=0.02, betas=(0.5, 0.9)),
        }

    def call(self, x: Tensor) -> Tensor:
        return self.generator(x[:, :2])

    def train_step(self, data: Any) -> dict[str, Any]:
        real = data[0]
        z = real[:, :2] * 0.5
        d_loss = self.critic(self.generator(z).detach()).mean() - self.critic(real).mean()
        self.opts["critic"].zero_grad()
        d_loss.backward()
        self.opts["critic"].step()
        for p in self.critic.parameters():
            p.data.clamp_(-0.3, 0.3)
        g_loss = -self.critic(self.generator(z)).mean()
        self.opts["generator"].zero_grad()
        g_loss.backward()
        self.opts["generator"].step()
        return {"loss": d_loss, "g_loss": g_loss}


class Target(Base):
    """A target network that nobody trains: moved a little in each step, and in place of the weights every third."""

    def __init__(self) -> None:
        super().__init__()
        self.target, self.hard = copy.deepcopy(self.net), copy.deepcopy(self.net)
        self.hard.requires_grad_(False)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def loss_of(self, data: Any) -> Tensor:
        x, y = data
        with torch.no_grad():
            aim = y + 0.1 * self.target(x) + 0.1 * self.hard(x)
        return ((self.net(x) - aim) ** 2).mean()

    def train_step(self, data: Any) -> dict[str, Any]:
        loss = self.update(data)
        with torch.no_grad():
            for p, q in zip(self.target.parameters(), self.net.parameters(), strict=True):
                p.mul_(0.9).add_(q, alpha=0.1)
        self.count += 1
        due = (self.count % 3 == 0).float()
        for p, q in zip(self.hard.parameters(), self.net.parameters(), strict=True):
            p.data.copy_(torch.where(due > 0, q.data, p.data))
        return {"loss": loss}


class LoadedTeacher(Base):
    """`load_state_dict` in every step, and an average by hand in a buffer that is set anew."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(self.net)
        self.register_buffer("mean_loss", torch.zeros(()))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, _ = data
        loss = self.update((x, self.teacher(x).detach() + data[1]))
        self.teacher.load_state_dict({k: 0.5 * v + 0.5 * self.net.state_dict()[k] for k, v in self.teacher.state_dict().items()})
        self.mean_loss = 0.9 * self.mean_loss + 0.1 * loss.detach()
        return {"loss": loss, "mean": self.mean_loss}


class KerasTeacher(dt.Model):
    """A mean teacher with Keras's own words, synced every other step by the optimizer's count."""

    def __init__(self) -> None:
        super().__init__()
        self.student = dt.Sequential([dt.Input((3,)), layers.Dense(4, "tanh"), layers.BatchNormalization(), layers.Dense(1)])
        self.teacher = dt.Sequential([dt.Input((3,)), layers.Dense(4, "tanh"), layers.BatchNormalization(), layers.Dense(1)])
        self.teacher.set_weights(self.student.get_weights())
        self.teacher.trainable = False

    def call(self, x: Tensor) -> Tensor:
        return self.student(x)

    def train_step(self, data: Any) -> dict[str, Any]:
        logs = super().train_step(data)
        if self.optimizer.iterations % 2 == 0:
            pairs = zip(self.teacher.get_weights(), self.student.get_weights(), strict=True)
            self.teacher.set_weights([0.7 * old + 0.3 * new for old, new in pairs])
        return {**logs, "apart": (self.teacher(data[0]) - self.student(data[0])).square().mean()}


class Codes(Base):
    """Parameters that follow the samples without any gradient, each slice by its own; and new memory for one."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.ones(3), requires_grad=False)
        self.other = nn.Parameter(torch.ones(3))

    def train_step(self, data: Any) -> dict[str, Any]:
        loss = self.update(data)
        self.codes.data.lerp_(data[0].mean(0), 0.1)
        self.other.data = self.other.data * 0.9
        with torch.no_grad():
            self.net[0].weight += 0.01 * self.codes
        return {"loss": loss, "codes": self.codes.sum()}


class Scratch(Base):
    """Attributes that a step sets before it reads them, which are no state; and an optimizer of ours beside torch's, in a list."""

    def start(self) -> None:
        super().start()
        self.head = layers.Dense(1)
        self.head.build((None, 1))
        self.ours = [dt.optimizers.Adam(0.01)]

    def loss_of(self, data: Any) -> Tensor:
        x, y = data
        self.last = self.net(x)
        self.seen = {"size": len(x)}
        return ((self.head(self.last) - y) ** 2).mean()

    def train_step(self, data: Any) -> dict[str, Any]:
        loss = self.update(data)
        weights = self.head.trainable_weights
        self.ours[0].apply([w.grad for w in weights], weights)
        return {"loss": loss, "last": self.last.mean()}


class RateByHand(Base):
    """A rate that the step computes, and one that it halves after each update."""

    def start(self) -> None:
        first, last = self.net[0], self.net[2]
        self.opt = torch.optim.SGD([{"params": first.parameters()}, {"params": last.parameters(), "lr": 0.2}], lr=0.1, momentum=0.5)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def train_step(self, data: Any) -> dict[str, Any]:
        self.count += 1
        self.opt.param_groups[0]["lr"] = 0.1 / int(self.count)
        loss = self.update(data)
        self.opt.param_groups[1]["lr"] *= 0.5
        return {"loss": loss}


class OwnArithmetic(Base):
    """Gradients measured and scaled by hand; and weights that lie elsewhere for a second pass."""

    def update(self, data: Any) -> Tensor:
        loss = self.loss_of(data)
        self.opt.zero_grad()
        loss.backward()
        weights = list(self.net.parameters())
        with torch.no_grad():
            moves = [0.1 * weight.grad / weight.grad.abs().max() for weight in weights]
            for weight, move in zip(weights, moves, strict=True):
                weight.add_(move)
        self.loss_of(data).backward()
        with torch.no_grad():
            for weight, move in zip(weights, moves, strict=True):
                weight.sub_(move)
        length = torch.sqrt(sum((weight.grad**2).sum() for weight in weights))
        for weight in weights:
            weight.grad = weight.grad * torch.clamp(0.3 / length, max=1.0)
        self.opt.step()
        return loss


class CompiledTorch(Base):
    """torch's optimizer from `compile`, in a step of torch's style."""

    def start(self) -> None:
        self.compile(torch.optim.NAdam(self.net.parameters(), lr=0.02))

    def update(self, data: Any) -> Tensor:
        self.opt = None
        loss = self.loss_of(data)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


STEPS: dict[str, Callable[[], Any]] = {
    "SGD in a step": Base,
    "clipping, zero_grad after the step": ZeroGradAfter,
    "parameter groups": Groups,
    "schedulers in a step": Scheduled,
    "a GAN, clamped": Gan,
    "target networks": Target,
    "load_state_dict, a buffer set anew": LoadedTeacher,
    "a mean teacher in Keras's words": KerasTeacher,
    "codes that follow the samples": Codes,
    "what a step computes for itself": Scratch,
    "compile and step": CompiledTorch,
    "rates set by hand": RateByHand,
    "gradients measured by hand": OwnArithmetic,
}


def step_task(name: str) -> Task:
    """A step of this kind; batches that do not divide evenly."""
    _start()
    model = STEPS[name]()
    if name == "a mean teacher in Keras's words":
        model.compile("sgd", "mse")
    elif not model.compiled:
        model.compile()
    return _task(model, validates=False)


# Optimizers of torch's, each with what may go wrong: state that comes later, of another shape, that is no tensor.
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "ASGD": lambda params: torch.optim.ASGD(params, lr=0.02),
    "Adadelta": lambda params: torch.optim.Adadelta(params, lr=0.5),
    "Adafactor": lambda params: torch.optim.Adafactor(params, lr=0.02),
    "Adagrad": lambda params: torch.optim.Adagrad(params, lr=0.05),
    "Adam": lambda params: torch.optim.Adam(params, lr=0.02, amsgrad=True, weight_decay=0.01),
    "AdamW": lambda params: torch.optim.AdamW(params, lr=0.02),
    "Adamax": lambda params: torch.optim.Adamax(params, lr=0.02),
    "NAdam": lambda params: torch.optim.NAdam(params, lr=0.02),
    "RAdam": lambda params: torch.optim.RAdam(params, lr=0.02),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=0.5),
    "Rprop": lambda params: torch.optim.Rprop(params, lr=0.01),
    "SGD": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True),
    "SGD without momentum": lambda params: torch.optim.SGD(params, lr=0.05),
    "fused Adam": lambda params: torch.optim.Adam(params, lr=torch.tensor(0.02), fused=True),
}


def optimizer_task(name: str) -> Task:
    """A plain fit by an optimizer of torch's; one weight is no part of it, one is frozen."""
    _start()
    model = dt.Sequential([dt.Input((3,)), layers.TorchModule(net(2)), layers.Dense(1)])
    weights = list(model.parameters())
    weights[0].requires_grad_(False)
    model.compile(OPTIMIZERS[name](weights[:-1]), "mse", metrics=["mae"])
    return _task(model)


def _task(model: Any, *, validates: bool = True) -> Task:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(ROWS, 3)).astype("float32"), random.normal(size=(ROWS, 1)).astype("float32")
    return Task(model, x, y, validates=validates)


def _start() -> None:
    dt.clear_session()
    dt.set_random_seed(11)
    torch.manual_seed(3)
